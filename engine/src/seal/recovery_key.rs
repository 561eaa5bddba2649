//! The recovery key: what an operator writes down once, and types when all else is lost.
//!
//! ```text
//! 20 random bytes, and 20 bits of their BLAKE3, as 36 letters and digits in groups of four:
//! 0123-4567-89AB-CDEF-GHJK-MNPQ-RSTV-WXYZ-0123
//! ```
//!
//! The alphabet is Crockford's base32: no I, L, O or U, so nothing looks like something else. Read
//! back in either case, with any spaces and hyphens, O as 0, I and L as 1. A typing error passes
//! the checksum once in a million, and then still opens nothing.

use zeroize::Zeroizing;

use super::derive::{Purpose, Randomness};
use super::error::KeyError;
use super::key::Key;
use super::secret::Secret;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SECRET_BYTES: usize = 20;
const SECRET_DIGITS: usize = 32;
const CHECK_DIGITS: usize = 4;
const GROUP_DIGITS: usize = 4;
const CHECK_CONTEXT: &str = "Pillarbox 2026 v1 recovery key checksum";
const _: () = assert!(SECRET_BYTES * 8 == SECRET_DIGITS * 5);

/// A recovery key, in memory.
pub struct RecoveryKey(Zeroizing<[u8; SECRET_BYTES]>);

impl RecoveryKey {
    /// A fresh one.
    pub(super) fn random(random: &dyn Randomness) -> RecoveryKey {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        random.fill(secret.as_mut_slice());
        RecoveryKey(secret)
    }

    /// The text to be written down.
    pub fn show(&self) -> Secret {
        let mut digits = digits_of(self.0.as_slice());
        digits.extend_from_slice(&self.check_digits());
        let mut text = String::with_capacity(64);
        for (place, digit) in digits.iter().enumerate() {
            if place > 0 && place % GROUP_DIGITS == 0 {
                text.push('-');
            }
            text.extend(ALPHABET.get(usize::from(*digit)).map(|letter| char::from(*letter)));
        }
        Secret::new(text)
    }

    /// Reads what somebody typed.
    ///
    /// # Errors
    /// [`KeyError::MistypedRecoveryKey`] with what is wrong.
    pub fn parse(typed: &str) -> Result<RecoveryKey, KeyError> {
        let mistyped = |reason| KeyError::MistypedRecoveryKey { reason };
        let mut digits = Zeroizing::new(Vec::with_capacity(SECRET_DIGITS + CHECK_DIGITS));
        for letter in typed.chars().filter(|letter| !letter.is_whitespace() && *letter != '-') {
            let digit =
                digit_of(letter).ok_or(mistyped("it holds a sign that no recovery key has"))?;
            if digits.len() == SECRET_DIGITS + CHECK_DIGITS {
                return Err(mistyped("it is too long: it has nine groups of four"));
            }
            digits.push(digit);
        }
        if digits.len() < SECRET_DIGITS + CHECK_DIGITS {
            return Err(mistyped("it is too short: it has nine groups of four"));
        }
        let (secret_digits, check) = digits.split_at(SECRET_DIGITS);
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        for (group, bytes) in secret_digits.chunks_exact(8).zip(secret.chunks_exact_mut(5)) {
            let number = group.iter().fold(0_u64, |sum, digit| (sum << 5) | u64::from(*digit));
            let [_, _, _, low @ ..] = number.to_be_bytes();
            bytes.copy_from_slice(&low);
        }
        let key = RecoveryKey(secret);
        if key.check_digits() != check {
            return Err(mistyped("a letter or digit in it is wrong"));
        }
        Ok(key)
    }

    pub(super) fn kek(&self, salt: &[u8; 16]) -> Key {
        Purpose::RECOVERY.key(&[salt, self.0.as_slice()])
    }

    fn check_digits(&self) -> [u8; CHECK_DIGITS] {
        let hash = blake3::derive_key(CHECK_CONTEXT, self.0.as_slice());
        let [a, b, c, d, ..] = hash;
        [a & 31, b & 31, c & 31, d & 31]
    }
}

fn digits_of(secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(SECRET_DIGITS + CHECK_DIGITS));
    for bytes in secret.chunks_exact(5) {
        let number = bytes.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        for place in (0..8).rev() {
            let [digit, ..] = (number >> (5 * place)).to_le_bytes();
            digits.push(digit & 31);
        }
    }
    digits
}

fn digit_of(letter: char) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let place = ALPHABET.iter().position(|known| char::from(*known) == letter)?;
    u8::try_from(place).ok()
}

impl std::fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryKey(…)")
    }
}
