//! Passwords: what is stored, and what of it opens the door.

use std::num::NonZeroU32;

use super::sealer;
use crate::seal::*;

fn secret(text: &str) -> PreparedPassword {
    PreparedPassword::new(&Secret::new(text.into())).unwrap()
}

fn stored(text: &str) -> StoredPassword {
    StoredPassword::make(&sealer(), &secret(text), Argon2Cost::CHEAP).unwrap()
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0_u32;
    let mut bytes = Vec::new();
    for (count, letter) in text.trim_end_matches('=').chars().enumerate() {
        bits = bits << 6 | ALPHABET.find(letter).unwrap() as u32;
        if count % 4 > 0 {
            bytes.push((bits >> (6 - 2 * (count % 4))) as u8);
        }
    }
    bytes
}

#[test]
fn only_the_password_itself_is_accepted() {
    let stored = stored("correct horse");
    assert!(stored.verify(&secret("correct horse")));
    assert!(!stored.verify(&secret("correct horse ")));
    assert!(!stored.verify(&secret("Correct horse")));
    assert!(!dummy_verify(Argon2Cost::CHEAP));
}

#[test]
fn a_stored_password_survives_encoding_and_shows_nothing() {
    let stored = stored("correct horse");
    let encoded = stored.encode();
    let decoded = StoredPassword::decode(&encoded).unwrap();
    assert!(decoded == stored && decoded.verify(&secret("correct horse")));
    assert_eq!(format!("{stored:?}"), "StoredPassword(…)");
    for length in 0..encoded.len() {
        assert!(StoredPassword::decode(&encoded[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_hash_that_asks_for_too_much_memory_is_not_tried() {
    let stored = stored("x");
    let text = stored.encode().to_vec();
    let place = text.windows(4).position(|window| window == b"m=8,").unwrap();
    let mut greedy = text.clone();
    greedy.splice(place..place + 3, *b"m=4294967");
    let phc_len = u16::from_le_bytes([text[2], text[3]]) + 6;
    greedy[2..4].copy_from_slice(&phc_len.to_le_bytes());
    assert!(!StoredPassword::decode(&greedy).is_ok_and(|stored| stored.verify(&secret("x"))));
}

/// The example of RFC 7677 section 3.
#[test]
fn scram_gives_the_published_answers() {
    let salt = base64("W22ZaJ0SNY7soEsUEjb6gQ==");
    let iterations = NonZeroU32::new(4096).unwrap();
    let keys = ScramKeys::derive(&secret("pencil"), &salt, iterations);
    let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                   r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                   s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
                   r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let mut proof = base64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    let signature = keys.check_proof(message.as_bytes(), &proof).expect("the proof is right");
    assert_eq!(signature.to_vec(), base64("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    proof[0] ^= 1;
    assert_eq!(keys.check_proof(message.as_bytes(), &proof), None);
    assert_eq!(keys.check_proof(message.as_bytes(), b"short"), None);
}
