//! The names of things: positions in the log, accounts, mailboxes, messages, times.
//!
//! Every number that could be swapped with another is a type of its own, and offers only the
//! arithmetic that means something. All of them are little-endian on disk, but big-endian inside
//! keys of the table store, so that keys sort as numbers do.

use std::fmt;

/// A position in a volume's log: `epoch (16 bits) ‖ sequence (47 bits)`; the top bit is zero.
///
/// Doubles as MODSEQ (RFC 7162), as the id of blobs, and as the position of every reader.
/// `Lsn::ZERO` is before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// Bits of the sequence part.
    pub const SEQUENCE_BITS: u32 = 47;
    /// Before every record.
    pub const ZERO: Lsn = Lsn(0);
    /// The highest possible position.
    pub const MAX: Lsn = Lsn((1 << 63) - 1);

    /// The position `sequence` of `epoch`; `None` if the sequence has more than 47 bits.
    pub const fn new(epoch: u16, sequence: u64) -> Option<Lsn> {
        if sequence >> Self::SEQUENCE_BITS != 0 {
            return None;
        }
        Some(Lsn(widen(epoch) << Self::SEQUENCE_BITS | sequence))
    }

    /// From its 64 bits; `None` if the top bit is set.
    pub const fn from_bits(bits: u64) -> Option<Lsn> {
        if bits >> 63 != 0 { None } else { Some(Lsn(bits)) }
    }

    /// All 64 bits: what IMAP shows as MODSEQ.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The epoch part.
    #[expect(clippy::as_conversions, reason = "63 - 47 = 16 bits are left")]
    pub const fn epoch(self) -> u16 {
        (self.0 >> Self::SEQUENCE_BITS) as u16
    }

    /// The sequence part.
    pub const fn sequence(self) -> u64 {
        self.0 & ((1 << Self::SEQUENCE_BITS) - 1)
    }

    /// The position `count` further in the same epoch; `None` at the end of the epoch.
    pub const fn advance(self, count: u64) -> Option<Lsn> {
        match self.sequence().checked_add(count) {
            Some(sequence) => Lsn::new(self.epoch(), sequence),
            None => None,
        }
    }

    /// The next position.
    pub const fn next(self) -> Option<Lsn> {
        self.advance(1)
    }
}

#[expect(clippy::as_conversions, reason = "widening; From is not const")]
const fn widen(number: u16) -> u64 {
    number as u64
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// As people and messages write it: `epoch.sequence`.
impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.sequence())
    }
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

id128!(
    /// A node's identity, random, made by `init`.
    NodeId
);
id128!(
    /// A volume's identity, random, made with it.
    VolumeId
);
id128!(
    /// An epoch's identity: two epochs of equal number but different history differ here.
    EpochId
);
id128!(
    /// A mailbox: MAILBOXID of RFC 8474, stable over rename, failover and restore.
    MailboxId
);
id128!(
    /// A message's content as such: EMAILID of RFC 8474, shared by its copies.
    EmailId
);
id128!(
    /// One appearance of a message in one mailbox; what a merge goes by.
    InstanceId
);
id128!(
    /// Names a request across nodes, so that it takes effect once. All zero: none.
    RequestId
);
id128!(
    /// Random, drawn by whoever seals a blob, repeated in its record and row, bound as associated
    /// data.
    BlobTag
);
/// Bytes of a part that messages of an account share, hashed under a key of the account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartHash(pub [u8; 32]);

id128!(
    /// A running process: random at every start, part of every key derivation.
    Incarnation
);

/// An account: 64 random bits drawn before its key is made; 0 is the volume itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AccountNumber(pub u64);

impl AccountNumber {
    /// The volume: epochs, policy, key ids, account creation.
    pub const VOLUME: AccountNumber = AccountNumber(0);
}

impl fmt::Display for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A generation of an account's data key, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyGeneration(pub u32);

/// Version of a volume's key table: `epoch (16) ‖ counter (48)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct KeyTableVersion(pub u64);

impl KeyTableVersion {
    /// The epoch in which it was written.
    pub fn epoch(self) -> u16 {
        u16::try_from(self.0 >> 48).unwrap_or(u16::MAX)
    }
}

/// A blob: the position at which it entered the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlobId(pub Lsn);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A message's number in its mailbox (RFC 9051 section 2.3.1.1), never 0 and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub u32);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Rises strictly per account; with a mailbox's name it makes UIDs valid (RFC 9051 section
/// 2.3.1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UidValidity(pub u32);

/// A conversation: THREADID of RFC 8474.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ThreadId(pub u64);

/// Hybrid logical clock: `milliseconds since 1970 (48) ‖ counter (16)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Stamp(pub u64);

/// A time in whole seconds since 1970, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixSeconds(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_order_by_epoch_first() {
        let old = Lsn::new(1, (1 << 47) - 1).unwrap();
        let new = Lsn::new(2, 0).unwrap();
        assert!(old < new);
        assert_eq!(old.next(), None);
        assert_eq!(new.epoch(), 2);
        assert_eq!(new.advance(5).unwrap().to_string(), "2.5");
    }
}
