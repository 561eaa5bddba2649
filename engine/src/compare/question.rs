//! What one node asks the other while they compare, and the answers; as bytes of a message.
//!
//! ```text
//! question  u8 1 Begin │ 2 At: lsn │ 3 Parts: whole, from (length, bytes) │ 4 End
//! whole     u8 1 accounts │ 2 account u64 │ 3 account u64, mailbox 16 │
//!           4 account u64, mailbox 16, bucket u32 │ 5 blobs │ 6 bucket u64
//! answer    u8 1 ready │ 2 kept │ 3 not kept │
//!           4 parts: list(name (length, bytes), hash 32), option(next (length, bytes))
//! ```

use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{AccountNumber, Lsn, MailboxId};

/// Bytes of a part's name.
const NAME_BYTES_MAX: usize = 64;

/// What has parts. Beside each: what a part's name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whole {
    /// All accounts, and the volume as account 0: account u64, big-endian.
    Accounts,
    /// An account: 1 and the rest of the key of one of its rows; 2 and a mailbox; 3: kept messages;
    /// of the volume also 4 and the key of a row.
    Account(AccountNumber),
    /// A mailbox: 1: what its row says; 2: UIDs that went; 3 and a bucket u32: messages.
    Mailbox(AccountNumber, MailboxId),
    /// Messages of a bucket: UID u32.
    Messages(AccountNumber, MailboxId, u32),
    /// All blobs, with those who name them: a bucket u64.
    Blobs,
    /// Blobs of a bucket: blob u64.
    BlobsOf(u64),
}

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// Keep your tables behind the next mark.
    Begin,
    /// Have you kept them at that position?
    At(Lsn),
    /// The parts of something, from that name on.
    Parts(Whole, Vec<u8>),
    /// That was all.
    End,
}

/// Parts of something.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Parts {
    /// Name and hash of each, by name.
    pub(crate) list: Vec<(Vec<u8>, [u8; 32])>,
    /// Where to go on, if there are more.
    pub(crate) next: Option<Vec<u8>>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Ready,
    Kept,
    NotKept,
    Parts(Parts),
}

impl Question {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        match self {
            Question::Begin => out.u8(1),
            Question::At(lsn) => {
                out.u8(2);
                out.lsn(*lsn);
            }
            Question::Parts(whole, from) => {
                out.u8(3);
                whole.encode(&mut out);
                out.blob(from);
            }
            Question::End => out.u8(4),
        }
        out.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Question, Broken> {
        let mut from = Decoder::new(bytes);
        let question = match from.u8()? {
            1 => Question::Begin,
            2 => Question::At(from.lsn()?),
            3 => Question::Parts(Whole::decode(&mut from)?, name(&mut from)?),
            4 => Question::End,
            _ => return Err("it is a question that this version does not know"),
        };
        from.end()?;
        Ok(question)
    }
}

impl Whole {
    fn encode(self, out: &mut Encoder) {
        match self {
            Whole::Accounts => out.u8(1),
            Whole::Account(account) => {
                out.u8(2);
                out.u64(account.0);
            }
            Whole::Mailbox(account, mailbox) => {
                out.u8(3);
                out.u64(account.0);
                out.raw(&mailbox.0);
            }
            Whole::Messages(account, mailbox, bucket) => {
                out.u8(4);
                out.u64(account.0);
                out.raw(&mailbox.0);
                out.varint(u64::from(bucket));
            }
            Whole::Blobs => out.u8(5),
            Whole::BlobsOf(bucket) => {
                out.u8(6);
                out.u64(bucket);
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Whole, Broken> {
        let kind = from.u8()?;
        Ok(match kind {
            1 => Whole::Accounts,
            2 => Whole::Account(AccountNumber(from.u64()?)),
            3 => Whole::Mailbox(AccountNumber(from.u64()?), MailboxId(from.array()?)),
            4 => {
                let (account, mailbox) = (AccountNumber(from.u64()?), MailboxId(from.array()?));
                Whole::Messages(account, mailbox, from.u32()?)
            }
            5 => Whole::Blobs,
            6 => Whole::BlobsOf(from.u64()?),
            _ => return Err("it asks for what this version does not know"),
        })
    }
}

fn name(from: &mut Decoder<'_>) -> Result<Vec<u8>, Broken> {
    let name = from.blob()?;
    if name.len() > NAME_BYTES_MAX {
        return Err("a name is too long");
    }
    Ok(name.to_vec())
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        match self {
            Answer::Ready => out.u8(1),
            Answer::Kept => out.u8(2),
            Answer::NotKept => out.u8(3),
            Answer::Parts(Parts { list, next }) => {
                out.u8(4);
                out.count(list.len());
                for (name, hash) in list {
                    out.blob(name);
                    out.raw(hash);
                }
                out.option(next.as_ref(), |out, next| out.blob(next));
            }
        }
        out.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Answer, Broken> {
        let mut from = Decoder::new(bytes);
        let answer = match from.u8()? {
            1 => Answer::Ready,
            2 => Answer::Kept,
            3 => Answer::NotKept,
            4 => {
                let list = from.list(|from| Ok((name(from)?, from.array()?)))?;
                let next = from.option(name)?;
                Answer::Parts(Parts { list, next })
            }
            _ => return Err("it is an answer that this version does not know"),
        };
        from.end()?;
        Ok(answer)
    }
}
