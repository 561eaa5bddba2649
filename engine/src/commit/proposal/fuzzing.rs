//! Fuzz bodies of what travels between nodes; see [`crate::fuzzing`].

use std::sync::Arc;

use super::collected::Collected;
use super::command;
use super::outcome::{Outcome, Told, begin, decode_result, encode_result};
use crate::encoding::Decoder;
use crate::ids::{Lsn, MailboxId};
use crate::store::{Appended, Copied, FlagsStored, Undeleted};
use crate::uid_set::UidSet;

/// A change that another node proposes.
pub(crate) fn proposal(bytes: &[u8]) {
    let collected = Arc::new(Collected::default());
    let Ok(change) = command::decode(bytes, &collected) else { return };
    let encoded = command::encode(&change).expect("it came as a proposal");
    assert!(encoded.len() <= bytes.len(), "our own form is the shortest");
    let again = command::decode(&encoded, &collected).expect("it was just written");
    assert_eq!(command::encode(&again).as_deref(), Some(encoded.as_slice()));
    assert!(change.into_proposal().is_ok());
}

/// What a proposed change was answered: every kind of answer tries the bytes.
pub(crate) fn outcome(bytes: &[u8]) {
    let Ok(Outcome::One(_)) = begin(bytes) else {
        if let Ok(Outcome::List(mut from)) = begin(bytes) {
            let _ = from.list(decode_result::<Appended>);
        }
        return;
    };
    one::<()>(bytes);
    one::<Lsn>(bytes);
    one::<MailboxId>(bytes);
    one::<UidSet>(bytes);
    one::<FlagsStored>(bytes);
    one::<Appended>(bytes);
    one::<Copied>(bytes);
    one::<Undeleted>(bytes);
}

fn one<T: Told>(bytes: &[u8]) {
    let Ok(Outcome::One(mut from)) = begin(bytes) else { return };
    let Ok(result) = decode_result::<T>(&mut from) else { return };
    let encoded = encode_result(&result);
    let again = decode_result::<T>(&mut Decoder::new(&encoded)).expect("it was just written");
    assert_eq!(encode_result(&again), encoded);
}
