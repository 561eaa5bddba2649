//! A password as every program would prepare it: SASLprep (RFC 4013), as SCRAM demands (RFC 5802
//! section 2.2, RFC 7677).
//!
//! One password reaches us in several forms: é as one character or as e with an accent, a blank as
//! U+0020 or U+00A0, letters of full width. A SCRAM client hashes the prepared form, and we never
//! see what was typed; so what is stored, and what LOGIN and PLAIN send, is prepared as well.
//!
//! RFC 8265 (PRECIS) would prepare some characters otherwise, but RFC 7677 did not take it up, and
//! clients follow RFC 7677. What is printable ASCII is the same in all of them.

use super::secret::Secret;
use crate::error::UnfitPassword;

/// A password that was prepared, and is not empty.
#[derive(Debug)]
pub struct PreparedPassword(Secret);

impl PreparedPassword {
    /// Prepares what somebody typed.
    ///
    /// # Errors
    /// [`UnfitPassword`]: it may neither be set nor open anything.
    pub fn new(typed: &Secret) -> Result<PreparedPassword, UnfitPassword> {
        let prepared = stringprep::saslprep(typed.expose());
        // The error names the character, which is a part of a password.
        let prepared = Secret::new(prepared.map_err(|_| UnfitPassword::Prohibited)?.into_owned());
        if prepared.expose().is_empty() {
            return Err(UnfitPassword::Empty);
        }
        Ok(PreparedPassword(prepared))
    }

    /// The bytes that are hashed.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(typed: &str) -> Result<String, UnfitPassword> {
        let password = PreparedPassword::new(&Secret::new(typed.into()))?;
        Ok(password.0.expose().to_owned())
    }

    #[test]
    fn passwords_are_prepared_as_the_examples_of_rfc_4013_say() {
        // Section 3 of the RFC; below the line, what people type.
        let table = [
            ("I\u{ad}X", Ok("IX"), "a soft hyphen is mapped to nothing"),
            ("user", Ok("user"), "no transformation"),
            ("USER", Ok("USER"), "case is preserved"),
            ("\u{aa}", Ok("a"), "output is NFKC"),
            ("\u{2168}", Ok("IX"), "output is NFKC"),
            ("\u{7}", Err(UnfitPassword::Prohibited), "a prohibited character"),
            ("\u{627}\u{31}", Err(UnfitPassword::Prohibited), "the bidirectional check"),
            // -----
            ("cafe\u{301}\u{a0}1", Ok("café 1"), "composed, and a no-break space is a space"),
            ("\u{627}1\u{628}", Ok("\u{627}1\u{628}"), "one writing direction"),
            ("a\u{1f600}", Err(UnfitPassword::Prohibited), "an emoji is not in Unicode 3.2"),
            ("a\0b", Err(UnfitPassword::Prohibited), "NUL"),
            ("\u{ad}", Err(UnfitPassword::Empty), "nothing is left"),
            ("", Err(UnfitPassword::Empty), "nothing was there"),
            (" x ", Ok(" x "), "blanks count"),
        ];
        for (typed, expected, reason) in table {
            assert_eq!(prepared(typed), expected.map(str::to_owned), "{reason}: {typed:?}");
        }
    }

    #[test]
    fn a_prepared_password_prints_nothing() {
        let password = PreparedPassword::new(&Secret::new("correct horse".into())).unwrap();
        assert_eq!(format!("{password:?}"), "PreparedPassword(Secret(…))");
    }

    proptest::proptest! {
        #[test]
        fn what_is_prepared_stays_as_it_is(typed in "\\PC{0,40}") {
            if let Ok(once) = prepared(&typed) {
                proptest::prop_assert_eq!(prepared(&once), Ok(once.clone()));
            }
        }
    }
}
