//! The account that mail comes into, as an import asks for it.

use engine::uid_set::UidSet;

use crate::admin::{
    Answer, Connection, NumberedAnswer, NumberedMailbox, NumberedMessage, NumberedRequest, Request,
    ranges_of, set_of,
};
use crate::failure::{Exit, Failure};

/// An account of the store, running or not.
pub(super) struct Here<'a> {
    connection: &'a mut Connection,
    pub(super) account: &'a str,
}

/// All mailboxes of an account.
pub(super) struct Listing {
    pub(super) mailboxes: Vec<NumberedMailbox>,
    pub(super) subscribed: Vec<String>,
    /// Kept of the account itself.
    pub(super) remembered: Option<String>,
}

/// A mailbox, by its name and UIDVALIDITY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) uid_validity: u32,
}

/// A message on its way in.
pub(super) struct Brought<'a> {
    /// What the mailbox gives next, if all before were taken.
    pub(super) next: u32,
    pub(super) uid: u32,
    pub(super) flags: Vec<String>,
    pub(super) received: i64,
    pub(super) body: &'a [u8],
}

impl<'a> Here<'a> {
    pub(super) fn new(connection: &'a mut Connection, account: &'a str) -> Here<'a> {
        Here { connection, account }
    }

    fn ask(&mut self, request: NumberedRequest) -> Result<Answer, Failure> {
        self.connection.call(&Request::Numbered { request }, b"", &mut |_, _| {})
    }

    fn tell(&mut self, request: NumberedRequest) -> Result<(), Failure> {
        self.ask(request).map(drop)
    }

    fn account(&self) -> String {
        self.account.to_owned()
    }

    pub(super) fn list(&mut self) -> Result<Listing, Failure> {
        let account = self.account();
        match self.ask(NumberedRequest::List { account })? {
            Answer::Numbered {
                found: NumberedAnswer::List { mailboxes, subscribed, remembered },
            } => Ok(Listing { mailboxes, subscribed, remembered }),
            _ => Err(strange()),
        }
    }

    /// A mailbox with that UIDVALIDITY; `empty`: in the place of one that was used and is empty.
    pub(super) fn create(
        &mut self,
        place: &Place,
        special_use: Option<String>,
        empty: bool,
    ) -> Result<(), Failure> {
        // Levels above it are mailboxes here, or none: both can be.
        let (account, mailbox) = (self.account(), place.name.clone());
        let uid_validity = place.uid_validity;
        self.tell(NumberedRequest::Create { account, mailbox, uid_validity, special_use, empty })
    }

    /// Sends a message ahead; each is owed one [`Here::taken`].
    pub(super) fn append(&mut self, place: &Place, message: Brought<'_>) -> Result<(), Failure> {
        let request = NumberedRequest::Append {
            account: self.account(),
            mailbox: place.name.clone(),
            uid_validity: place.uid_validity,
            next: message.next,
            uid: message.uid,
            flags: message.flags,
            received: message.received,
            body_bytes: engine::width::u64_of(message.body.len()),
        };
        self.connection.submit(&Request::Numbered { request }, message.body)
    }

    /// Has all that was sent ahead committed; owed one [`Here::taken`] behind the others.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        self.connection.submit(&Request::AppendCommit, b"")
    }

    /// The next answer to what was sent ahead.
    pub(super) fn taken(&mut self) -> Result<(), Failure> {
        self.connection.answer(&mut |_, _| {}).map(drop)
    }

    pub(super) fn leave_out(
        &mut self,
        place: &Place,
        expected: u32,
        next: u32,
    ) -> Result<(), Failure> {
        let (account, mailbox) = (self.account(), place.name.clone());
        let uid_validity = place.uid_validity;
        self.tell(NumberedRequest::LeaveOut { account, mailbox, uid_validity, expected, next })
    }

    /// Sets flags; answers the messages that changed after `unchanged_since`.
    pub(super) fn set_flags(
        &mut self,
        place: &Place,
        uids: &UidSet,
        flags: Vec<String>,
        unchanged_since: u64,
    ) -> Result<UidSet, Failure> {
        let (account, mailbox) = (self.account(), place.name.clone());
        let (uid_validity, uids) = (place.uid_validity, ranges_of(uids));
        let request =
            NumberedRequest::Flags { account, mailbox, uid_validity, uids, flags, unchanged_since };
        match self.ask(request)? {
            Answer::Numbered { found: NumberedAnswer::LeftAlone { uids } } => {
                set_of(&uids).ok_or_else(strange)
            }
            _ => Err(strange()),
        }
    }

    pub(super) fn remove(&mut self, place: &Place, uids: &UidSet) -> Result<(), Failure> {
        let (account, mailbox) = (self.account(), place.name.clone());
        let (uid_validity, uids) = (place.uid_validity, ranges_of(uids));
        self.tell(NumberedRequest::Remove { account, mailbox, uid_validity, uids })
    }

    /// Moves messages into a mailbox, which is made if there is none of that name.
    pub(super) fn put_aside(
        &mut self,
        place: &Place,
        uids: &UidSet,
        to: &str,
    ) -> Result<(), Failure> {
        let (account, mailbox) = (self.account(), place.name.clone());
        let (uid_validity, uids, to) = (place.uid_validity, ranges_of(uids), to.to_owned());
        self.tell(NumberedRequest::Aside { account, mailbox, uid_validity, uids, to })
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let (account, from, to) = (self.account(), from.to_owned(), to.to_owned());
        self.tell(NumberedRequest::Rename { account, from, to })
    }

    pub(super) fn delete(&mut self, place: &Place) -> Result<(), Failure> {
        let (account, mailbox) = (self.account(), place.name.clone());
        let uid_validity = place.uid_validity;
        self.tell(NumberedRequest::Delete { account, mailbox, uid_validity })
    }

    /// Every message from a UID on, by ascending UID.
    pub(super) fn messages(
        &mut self,
        place: &Place,
        from: u32,
    ) -> Result<Vec<NumberedMessage>, Failure> {
        let mut all = Vec::new();
        let mut from_uid = from;
        loop {
            let (account, mailbox) = (self.account(), place.name.clone());
            let uid_validity = place.uid_validity;
            let request = NumberedRequest::Messages { account, mailbox, uid_validity, from_uid };
            let Answer::Numbered { found: NumberedAnswer::Messages { messages } } =
                self.ask(request)?
            else {
                return Err(strange());
            };
            let last = messages.last().map(|message| message.uid);
            all.extend(messages);
            match last.and_then(|last| last.checked_add(1)) {
                Some(next) => from_uid = next,
                None => return Ok(all),
            }
        }
    }

    /// The mailbox's MODSEQ, and what came or changed after `since`.
    pub(super) fn changed(&mut self, place: &Place, since: u64) -> Result<(u64, UidSet), Failure> {
        let (account, mailbox) = (self.account(), place.name.clone());
        let uid_validity = place.uid_validity;
        let request = NumberedRequest::Changed { account, mailbox, uid_validity, since };
        match self.ask(request)? {
            Answer::Numbered { found: NumberedAnswer::Changed { modseq, uids } } => {
                Ok((modseq, set_of(&uids).ok_or_else(strange)?))
            }
            _ => Err(strange()),
        }
    }

    /// Keeps what is remembered of a mailbox, or of the account itself.
    pub(super) fn remember(&mut self, mailbox: Option<&str>, text: String) -> Result<(), Failure> {
        let (account, mailbox) = (self.account(), mailbox.map(str::to_owned));
        self.tell(NumberedRequest::Remember { account, mailbox, text })
    }

    pub(super) fn subscribe(&mut self, name: &str, subscribed: bool) -> Result<(), Failure> {
        let (account, mailbox) = (self.account(), name.to_owned());
        let request = Request::Subscribe { account, mailbox, subscribed };
        self.connection.call(&request, b"", &mut |_, _| {}).map(drop)
    }
}

fn strange() -> Failure {
    Failure::new(Exit::Later, "the running store is another version; restart it, and try again")
}
