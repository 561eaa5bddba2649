//! What one account may do with a mailbox of another (RFC 4314).
//!
//! An access control list names accounts by their numbers, so it survives their renaming; what it
//! says of an account that was deleted is passed over, for no number comes twice. Whoever owns the
//! mailbox has every right, whatever the list says.
//!
//! ```text
//! identifier  u8: bit 0: an account, else everybody; bit 1: takes rights away; account u64
//! rights      u16: bit n is the n-th letter of "lrswipkxtea"
//! ```

use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::AccountNumber;

/// A set of rights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rights(u16);

/// Who is named by an entry of an access control list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Grantee {
    /// Every account of the store: `anyone`.
    Anyone,
    /// One account.
    Account(AccountNumber),
}

/// Whether an entry gives rights or takes them away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sign {
    /// Gives.
    Positive,
    /// Takes away, whatever others give: written with a `-` before the name.
    Negative,
}

/// The left side of an entry of an access control list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identifier {
    /// Who.
    pub grantee: Grantee,
    /// Gives or takes away.
    pub sign: Sign,
}

/// What of an entry of an access control list changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RightsChange {
    /// These and no others.
    Replace,
    /// These, too.
    Add,
    /// Not these.
    Remove,
}

/// The letters of all rights, in the order of their bits.
const LETTERS: &[u8; 11] = b"lrswipkxtea";

impl Rights {
    /// None.
    pub const NONE: Rights = Rights(0);
    /// `l`: it is seen in lists.
    pub const LOOKUP: Rights = Rights(1);
    /// `r`: it can be selected, and its messages read.
    pub const READ: Rights = Rights(1 << 1);
    /// `s`: `\Seen` can be changed.
    pub const SEEN: Rights = Rights(1 << 2);
    /// `w`: flags but `\Seen` and `\Deleted` can be changed.
    pub const WRITE: Rights = Rights(1 << 3);
    /// `i`: messages can be put into it.
    pub const INSERT: Rights = Rights(1 << 4);
    /// `p`: mail can be posted to its address; nothing here asks for it.
    pub const POST: Rights = Rights(1 << 5);
    /// `k`: mailboxes can be made below it.
    pub const CREATE: Rights = Rights(1 << 6);
    /// `x`: it can be deleted and renamed.
    pub const DELETE_MAILBOX: Rights = Rights(1 << 7);
    /// `t`: `\Deleted` can be changed.
    pub const DELETE_MESSAGES: Rights = Rights(1 << 8);
    /// `e`: deleted messages can be expunged.
    pub const EXPUNGE: Rights = Rights(1 << 9);
    /// `a`: its access control list can be read and changed.
    pub const ADMINISTER: Rights = Rights(1 << 10);
    /// All that there are.
    pub const ALL: Rights = Rights((1 << 11) - 1);

    /// Whether all of `others` are among them.
    pub const fn contains(self, others: Rights) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether one of `others` is among them.
    pub const fn has_any(self, others: Rights) -> bool {
        self.0 & others.0 != 0
    }

    /// These and `others`.
    #[must_use]
    pub const fn with(self, others: Rights) -> Rights {
        Rights(self.0 | others.0)
    }

    /// These without `others`.
    #[must_use]
    pub const fn without(self, others: Rights) -> Rights {
        Rights(self.0 & !others.0)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// After a change.
    #[must_use]
    pub const fn changed(self, change: RightsChange, rights: Rights) -> Rights {
        match change {
            RightsChange::Replace => rights,
            RightsChange::Add => self.with(rights),
            RightsChange::Remove => self.without(rights),
        }
    }

    /// From letters. `c` and `d` are those of RFC 2086 and stand for what they meant then: `kx` and
    /// `xte` (RFC 4314 section 2.1.1).
    ///
    /// # Errors
    /// The first character that is no right.
    pub fn from_letters(letters: &str) -> Result<Rights, char> {
        let mut rights = Rights::NONE;
        for letter in letters.chars() {
            let found = match letter {
                'c' => Rights::CREATE.with(Rights::DELETE_MAILBOX),
                'd' => Rights::DELETE_MAILBOX.with(Rights::DELETE_MESSAGES).with(Rights::EXPUNGE),
                letter => Rights::each()
                    .find(|(known, _)| *known == letter)
                    .map(|(_, right)| right)
                    .ok_or(letter)?,
            };
            rights = rights.with(found);
        }
        Ok(rights)
    }

    /// Every right with its letter.
    pub fn each() -> impl Iterator<Item = (char, Rights)> {
        LETTERS.iter().zip(0u32..).map(|(letter, bit)| (char::from(*letter), Rights(1 << bit)))
    }

    /// Their letters, then `c` and `d` for old clients where one of what they stood for is there.
    pub fn letters(self) -> String {
        let own = Rights::each().filter(|(_, right)| self.contains(*right));
        let mut letters: String = own.map(|(letter, _)| letter).collect();
        if self.has_any(Rights::CREATE.with(Rights::DELETE_MAILBOX)) {
            letters.push('c');
        }
        if self.has_any(Rights::DELETE_MESSAGES.with(Rights::EXPUNGE)) {
            letters.push('d');
        }
        letters
    }

    pub(crate) fn encode(self, out: &mut Encoder) {
        out.u16(self.0);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Rights, Broken> {
        match from.u16()? {
            bits if bits & !Rights::ALL.0 == 0 => Ok(Rights(bits)),
            _ => Err("a right is of no known kind"),
        }
    }
}

impl Identifier {
    /// Rights that this account gets.
    pub const fn account(account: AccountNumber) -> Identifier {
        Identifier { grantee: Grantee::Account(account), sign: Sign::Positive }
    }

    /// Rights that everybody gets.
    pub const ANYONE: Identifier = Identifier { grantee: Grantee::Anyone, sign: Sign::Positive };

    pub(crate) fn encode(self, out: &mut Encoder) {
        let negative = if self.sign == Sign::Negative { 2 } else { 0 };
        match self.grantee {
            Grantee::Anyone => out.u8(negative),
            Grantee::Account(account) => {
                out.u8(negative | 1);
                out.u64(account.0);
            }
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Identifier, Broken> {
        let kind = from.u8()?;
        if kind > 3 {
            return Err("an identifier is of no known kind");
        }
        let sign = if kind & 2 == 0 { Sign::Positive } else { Sign::Negative };
        let grantee = match kind & 1 {
            0 => Grantee::Anyone,
            _ => Grantee::Account(AccountNumber(from.u64()?)),
        };
        Ok(Identifier { grantee, sign })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_what_the_rfc_calls_rights() {
        let rights = Rights::from_letters("rl").unwrap();
        assert_eq!(rights.letters(), "lr");
        assert_eq!(Rights::from_letters("c"), Rights::from_letters("kx"), "RFC 4314 2.1.1");
        assert_eq!(Rights::from_letters("d"), Rights::from_letters("ext"), "RFC 4314 2.1.1");
        assert_eq!(Rights::ALL.letters(), "lrswipkxteacd");
        assert_eq!(Rights::from_letters("lq"), Err('q'));
        assert_eq!(rights.changed(RightsChange::Add, Rights::SEEN).letters(), "lrs");
        assert_eq!(rights.changed(RightsChange::Remove, Rights::READ).letters(), "l");
        assert_eq!(Rights::each().count(), 11);
    }
}
