//! What can be asked of a store, and how it is answered.

use std::sync::Arc;

use engine::error::{CommitError, Remedy};
use engine::flags::{FlagList, Keyword, SystemFlags};
use engine::ids::{Uid, UnixSeconds};
use engine::seal::Secret;
use engine::{
    Account, AccountEntry, AliasEntry, Announcement, Appended, DeliverTo, Mailbox, NewAccount,
    NewMessage, Resolution, Store, Ticket, Upgrade,
};
use serde::{Deserialize, Serialize};

use super::beside::{self, Beside};
use super::index::{self, IndexLine, IndexRequest};
use super::keys::{self, KeyRequest, RetiredLine, ShownKey};
use super::numbered::{self, NumberedAnswer, NumberedRequest};
use super::pair::{self, PairRequest};
use super::quota::{self, LimitChange, QuotaLine};
use super::retained::{RetentionAnswer, RetentionRequest};
use super::search::{self, FoundAnswer, SearchAsked};
use super::together::{Held, Together};
use super::{reading, retained};
use crate::failure::{Exit, Failure};
use crate::mail_files::RightsLine;
use crate::pair::{Compared, MissingLine, Pair, PairStatus};
use crate::store_access::{self, CheckOutcome, OpenMode, StoreStatus};

/// One request. Not `Debug`: some carry passwords.
#[derive(Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Makes an account.
    AccountAdd { name: String, password: String, quota_bytes: Option<u64> },
    /// Lists accounts.
    AccountList,
    /// Replaces a password.
    AccountPassword { name: String, password: String },
    /// Changes what an account may hold, and shows it.
    AccountQuota { name: String, bytes: LimitChange, messages: LimitChange },
    /// Deletes an account and destroys its key.
    AccountDelete { name: String },
    /// Makes a domain.
    DomainAdd { domain: String },
    /// Lists domains.
    DomainList,
    /// Removes a domain.
    DomainDelete { domain: String },
    /// Makes or replaces an alias.
    AliasAdd { address: String, targets: Vec<String> },
    /// Lists aliases.
    AliasList,
    /// Removes an alias.
    AliasDelete { address: String },
    /// Verifies everything.
    Check,
    /// How the store is.
    Status,
    /// Raises the volume's format level to the newest.
    UpgradeFinish,
    /// Something about keys.
    Key { request: KeyRequest },
    /// Delivers the body to whoever takes mail for `recipient`.
    Deliver { recipient: String, mailbox: Option<String>, body_bytes: u64 },
    /// Makes a mailbox unless it is there.
    MailboxEnsure { account: String, mailbox: String },
    /// Sees to it that a special use, such as `\\Sent`, is that mailbox's.
    SpecialUse { account: String, mailbox: String, special_use: String },
    /// What stands beside a mailbox, or beside the account itself.
    Beside { account: String, mailbox: Option<String> },
    /// Sets an entry of metadata.
    Entry { account: String, mailbox: Option<String>, name: String, value: String },
    /// Sets entries of a mailbox's access control list.
    Rights { account: String, mailbox: String, lines: Vec<RightsLine> },
    /// Appends the body to a mailbox.
    Append {
        account: String,
        mailbox: String,
        flags: Vec<String>,
        received: i64,
        body_bytes: u64,
        /// Whether it may wait for others like it, to be committed with them.
        #[serde(default)]
        together: bool,
    },
    /// Commits the appends that wait for others.
    AppendCommit,
    /// Subscribes to a mailbox, or ends that.
    Subscribe { account: String, mailbox: String, subscribed: bool },
    /// Lists an account's mailboxes and subscriptions.
    MailboxList { account: String },
    /// Lists some of a mailbox's messages, from a UID on.
    MessageList { account: String, mailbox: String, from_uid: u32 },
    /// Mail that brings its numbers along.
    Numbered { request: NumberedRequest },
    /// What is kept after it was expunged, and for how long.
    Retention(RetentionRequest),
    /// Searches an account's mailboxes.
    Search { account: String, asked: SearchAsked },
    /// How far the full-text index is, or making it anew.
    Index(IndexRequest),
    /// Something about the second node.
    Replica(PairRequest),
    /// A piece of a message, from `offset` on.
    MessageRead { account: String, mailbox: String, uid: u32, offset: u64 },
}

impl Request {
    /// Whether it may change the store.
    pub(crate) fn mode(&self) -> OpenMode {
        use LimitChange::Keep;
        match self {
            Request::AccountList
            | Request::DomainList
            | Request::AliasList
            | Request::Check
            | Request::Status
            | Request::MailboxList { .. }
            | Request::Beside { .. }
            | Request::MessageList { .. }
            | Request::Search { .. }
            | Request::Replica(_)
            | Request::MessageRead { .. } => OpenMode::Read,
            Request::AccountQuota { bytes: Keep, messages: Keep, .. } => OpenMode::Read,
            Request::Numbered { request } if request.is_reading() => OpenMode::Read,
            Request::Index(request) if request.is_reading() => OpenMode::Read,
            Request::Retention(request) if request.is_reading() => OpenMode::Read,
            _ => OpenMode::ReadWrite,
        }
    }

    /// Bytes that follow the request's line.
    pub(crate) fn body_bytes(&self) -> u64 {
        match self {
            Request::Deliver { body_bytes, .. } | Request::Append { body_bytes, .. } => *body_bytes,
            Request::Numbered { request } => request.body_bytes(),
            _ => 0,
        }
    }
}

/// One answer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// Done; there is nothing to say.
    Done,
    /// How far long work is: `done` of `total` in the unit of the work.
    Progress { done: u64, total: u64 },
    /// The accounts.
    Accounts { accounts: Vec<AccountLine> },
    /// What an account holds and may hold.
    Quota(QuotaLine),
    /// The domains.
    Domains { domains: Vec<String> },
    /// The aliases.
    Aliases { aliases: Vec<AliasLine> },
    /// How the store is.
    Status(StoreStatus),
    /// What `check` found.
    Checked(CheckOutcome),
    /// A recovery key, shown once.
    RecoveryKey { text: ShownKey },
    /// Retired keys, and what became of them.
    Rewrapped { keys: Vec<RetiredLine> },
    /// The format level before and now.
    Upgraded { before: u32, now: u32 },
    /// An account's mailboxes, and the names it is subscribed to.
    Mailboxes { mailboxes: Vec<MailboxLine>, subscribed: Vec<String> },
    /// What stands beside a mailbox.
    Beside(Beside),
    /// Whose entries of an access control list were left out.
    MeanNobody { whom: Vec<String> },
    /// Messages by ascending UID; none when there are no more.
    Messages { uid_validity: u32, messages: Vec<MessageLine> },
    /// Bytes of a message, which follow the line; at least one, except at the message's end.
    Piece {
        body_bytes: u64,
        #[serde(skip)]
        body: Vec<u8>,
    },
    /// About mail that brings its numbers along.
    Numbered { found: NumberedAnswer },
    /// About retention.
    Retention(RetentionAnswer),
    /// What a search found.
    Found(FoundAnswer),
    /// How far the full-text index is.
    Index { lines: Vec<IndexLine> },
    /// A token for a second node.
    Invitation { token: String },
    /// How the pair is.
    Pair(PairStatus),
    /// What differs between both nodes.
    Compared { volumes: Vec<Compared> },
    /// This node is primary now.
    Promoted { epoch: u16, missing: Option<MissingLine> },
    /// The message was expunged meanwhile.
    Gone,
    /// Not done.
    Failed(Failure),
}

/// A line of `account list`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountLine {
    /// Login name.
    pub(crate) name: String,
    /// Messages in all mailboxes.
    pub(crate) message_count: u64,
    /// Bytes of them.
    pub(crate) message_bytes: u64,
    /// The limit.
    pub(crate) quota_bytes: Option<u64>,
}

/// A line of `alias list`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AliasLine {
    /// `name@domain`, or `@domain`.
    pub(crate) address: String,
    /// Where it leads.
    pub(crate) targets: Vec<String>,
}

/// A mailbox of `mailbox-list`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MailboxLine {
    /// Full name, levels by `/`.
    pub(crate) name: String,
    /// Messages in it.
    pub(crate) message_count: u64,
}

/// A message of `message-list`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MessageLine {
    /// Its number in the mailbox.
    pub(crate) uid: u32,
    /// Flags and keywords by their IMAP names.
    pub(crate) flags: Vec<String>,
    /// INTERNALDATE in seconds since 1970 UTC.
    pub(crate) received: i64,
    /// Bytes as stored.
    pub(crate) message_bytes: u64,
}

impl From<AccountEntry> for AccountLine {
    fn from(entry: AccountEntry) -> AccountLine {
        AccountLine {
            name: entry.name,
            message_count: entry.message_count,
            message_bytes: entry.message_bytes,
            quota_bytes: entry.quota_bytes,
        }
    }
}

/// A request that was begun; several may be in flight.
pub(crate) enum Begun {
    /// Answered already.
    Answered(Answer),
    /// An append on its way to the log, announced, so that many share groups and flushes.
    Append(Ticket<Result<Appended, CommitError>>, Announcement),
    /// An append that waits for others.
    Held(Held),
    /// A delivery on its way to the log.
    Delivery(Ticket<Vec<Result<Appended, CommitError>>>),
}

impl Begun {
    /// Whether the answer comes only after the client has sent more: all answers before it must
    /// have reached the client, who may be waiting for one of them.
    pub(crate) fn waits_for_client(&mut self) -> bool {
        match self {
            Begun::Held(held) => !held.is_handed(),
            _ => false,
        }
    }

    /// Waits for the answer.
    pub(crate) fn finish(self) -> Answer {
        let committed = match self {
            Begun::Answered(answer) => return answer,
            Begun::Append(ticket, _announced) => ticket.wait().map(drop),
            Begun::Held(held) => match held.wait() {
                Some(outcome) => outcome.map(drop),
                None => {
                    let sentence = "the conversation ended before the message was committed";
                    return Answer::Failed(Failure::new(Exit::Later, sentence));
                }
            },
            // One bad recipient of an alias fails the delivery: whoever sends it again may make a
            // second copy for the others, which is better than none for this one.
            Begun::Delivery(ticket) => {
                let failures = ticket.wait().into_iter().filter_map(Result::err);
                worst(failures).map_or(Ok(()), Err)
            }
        };
        match committed {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(error.into()),
        }
    }
}

/// An open store, and how mail is delivered to it by command: as the configuration says it for the
/// other ways in.
#[derive(Clone)]
pub(crate) struct Desk {
    /// The store.
    pub(crate) store: Store,
    /// Whether mail for `user+detail` goes to the mailbox `detail` where that exists.
    pub(crate) detail_mailboxes: bool,
    /// The pair, where there is one.
    pub(crate) pair: Option<Arc<Pair>>,
}

/// Begins a request on an open store. `together`: the appends of this conversation that are held.
/// `progress` hears how far long work is.
pub(crate) fn begin(
    desk: &Desk,
    together: &mut Together,
    request: Request,
    body: &[u8],
    progress: &mut dyn FnMut(u64, u64),
) -> Begun {
    let begun = match request {
        Request::Append { account, mailbox, flags, received, together: true, .. } => {
            let into = (account.as_str(), mailbox.as_str());
            let held = |(mailbox, message)| Begun::Held(together.hold(mailbox, message));
            let received = UnixSeconds(received);
            prepare(&desk.store, into, &flags, received, body).map(held)
        }
        Request::Numbered { request: request @ NumberedRequest::Append { .. } } => {
            let held = numbered::hold(&desk.store, together, &request, body);
            if held.is_err() {
                together.refuse();
            }
            held
        }
        other => {
            // Whatever comes between appends commits those that are held.
            together.end();
            dispatch(desk, other, body, progress)
        }
    };
    match begun {
        Ok(begun) => begun,
        Err(failure) => Begun::Answered(Answer::Failed(failure)),
    }
}

fn dispatch(
    desk: &Desk,
    request: Request,
    body: &[u8],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Begun, Failure> {
    let store = &desk.store;
    let mut answer = Answer::Done;
    match request {
        Request::AccountAdd { name, password, quota_bytes } => {
            let password = Secret::new(password);
            store.create_account(NewAccount { name, password, quota_bytes })?;
        }
        Request::AccountList => answer = accounts(store)?,
        Request::AccountPassword { name, password } => {
            let password = Secret::new(password);
            store.set_password(find_account(store, &name)?.number(), &password)?;
        }
        Request::AccountQuota { name, bytes, messages } => {
            let account = find_account(store, &name)?;
            answer = Answer::Quota(quota::answer(store, &account, bytes, messages)?);
        }
        Request::AccountDelete { name } => {
            store.delete_account(find_account(store, &name)?.number())?
        }
        Request::DomainAdd { domain } => store.add_domain(&domain)?,
        Request::DomainList => answer = Answer::Domains { domains: store.domains()? },
        Request::DomainDelete { domain } => store.delete_domain(&domain)?,
        Request::AliasAdd { address, targets } => {
            store.add_alias(AliasEntry { address, targets })?
        }
        Request::AliasDelete { address } => store.delete_alias(&address)?,
        Request::Check => answer = Answer::Checked(store_access::check(store, progress)?),
        Request::Status => answer = Answer::Status(store_access::status(store)),
        Request::Key { request } => answer = keys::answer(store, request, progress)?,
        Request::UpgradeFinish => answer = upgraded(desk)?,
        Request::Deliver { recipient, mailbox, .. } => {
            return deliver(desk, &recipient, mailbox.as_deref(), body);
        }
        Request::MailboxEnsure { account: name, mailbox } => {
            ensure_mailbox(&find_account(store, &name)?, &mailbox)?;
        }
        Request::Append { account: name, mailbox, flags, received, .. } => {
            return append(store, (&name, &mailbox), &flags, UnixSeconds(received), body);
        }
        Request::AppendCommit => {}
        Request::Subscribe { account: name, mailbox, subscribed } => {
            let account = find_account(store, &name)?;
            let change = if subscribed { Account::subscribe } else { Account::unsubscribe };
            change(&account, &mailbox).wait()?;
        }
        Request::MailboxList { account: name } => {
            answer = reading::mailboxes(&find_account(store, &name)?)?;
        }
        Request::MessageList { account: name, mailbox, from_uid } => {
            answer = reading::messages(&find_account(store, &name)?, &mailbox, Uid(from_uid))?;
        }
        Request::Retention(request) => {
            let find = |name: &str| find_account(store, name);
            answer = Answer::Retention(retained::answer(store, request, find, progress)?);
        }
        Request::Index(request) => answer = index::answer(store, request, progress)?,
        Request::Replica(request) => answer = pair::answer(desk.pair.as_ref(), request, progress)?,
        Request::MessageRead { account: name, mailbox, uid, offset } => {
            answer = reading::piece(&find_account(store, &name)?, &mailbox, Uid(uid), offset)?;
        }
        other => answer = beside_mail(store, other)?,
    }
    Ok(Begun::Answered(answer))
}

/// What stands beside mail, mail that brings its numbers along, and searches.
fn beside_mail(store: &Store, request: Request) -> Result<Answer, Failure> {
    let find = |name: &str| find_account(store, name);
    match request {
        Request::AliasList => return aliases(store),
        Request::SpecialUse { account, mailbox, special_use } => {
            let account = find(&account)?;
            let Some(office) = beside::special_use(&special_use) else {
                let sentence = format!("{special_use} is no special use");
                return Err(Failure::new(Exit::Refused, sentence));
            };
            ensure_above(&account, &mailbox)?;
            beside::give_use(&account, &mailbox, office)?;
            account.subscribe(&mailbox).wait()?;
        }
        Request::Beside { account, mailbox } => {
            return beside::read(&find(&account)?, mailbox.as_deref());
        }
        Request::Entry { account, mailbox, name, value } => {
            beside::set_entry(&find(&account)?, mailbox.as_deref(), (&name, &value))?;
        }
        Request::Rights { account, mailbox, lines } => {
            return beside::set_rights(store, &find(&account)?, &mailbox, lines);
        }
        Request::Numbered { request } => return numbered::answer(store, request),
        Request::Search { account, asked } => {
            return search::answer(store, &account, &asked);
        }
        _ => {}
    }
    Ok(Answer::Done)
}

fn accounts(store: &Store) -> Result<Answer, Failure> {
    let accounts = store.accounts()?.into_iter().map(AccountLine::from).collect();
    Ok(Answer::Accounts { accounts })
}

fn aliases(store: &Store) -> Result<Answer, Failure> {
    let line = |AliasEntry { address, targets }| AliasLine { address, targets };
    Ok(Answer::Aliases { aliases: store.aliases()?.into_iter().map(line).collect() })
}

/// In a pair, only to what both nodes read.
fn upgraded(desk: &Desk) -> Result<Answer, Failure> {
    if let Some(pair) = &desk.pair {
        pair.may_raise_level()?;
    }
    let Upgrade { before, now } = desk.store.finish_upgrade()?;
    Ok(Answer::Upgraded { before, now })
}

/// Of several failures the one to answer with: one that may pass goes first, so that the sender
/// tries again and nobody is left without.
fn worst(failures: impl Iterator<Item = CommitError>) -> Option<CommitError> {
    let mut found: Option<CommitError> = None;
    for failure in failures {
        if failure.remedy() != Remedy::Refuse {
            return Some(failure);
        }
        found = found.or(Some(failure));
    }
    found
}

/// The account of that name.
pub(super) fn find_account(store: &Store, name: &str) -> Result<Account, Failure> {
    store
        .account(name)?
        .ok_or_else(|| Failure::new(Exit::NoUser, format!("there is no account {name}")))
}

/// Resolves the recipient as LMTP does: by name, detail, alias or catch-all.
fn deliver(
    desk: &Desk,
    recipient: &str,
    mailbox: Option<&str>,
    message: &[u8],
) -> Result<Begun, Failure> {
    let store = &desk.store;
    let nobody = |why: &str| {
        Failure::new(Exit::NoUser, format!("nobody here takes mail for {recipient}: {why}"))
    };
    let (accounts, detail) = match store.resolve(recipient)? {
        Resolution::Accounts { accounts, detail } => (accounts, detail),
        Resolution::NoSuchUser if !recipient.contains('@') => {
            return Err(nobody("an address is written user@domain"));
        }
        Resolution::NoSuchUser => return Err(nobody("no account or alias has that address")),
        Resolution::NoSuchDomain => return Err(nobody("its domain is not one of ours")),
    };
    let mut recipients = Vec::with_capacity(accounts.len());
    for &account in &accounts {
        let mailbox = match (mailbox, &detail) {
            (Some(mailbox), _) => mailbox.to_owned(),
            (None, Some(detail)) if desk.detail_mailboxes => {
                smtp_ingest::mailbox_of_detail(store, account, detail)?
            }
            _ => "INBOX".to_owned(),
        };
        recipients.push(DeliverTo { account, mailbox, flags: FlagList::default() });
    }
    let prepared = store.prepare(message, &accounts)?;
    Ok(Begun::Delivery(store.deliver(prepared, now(), recipients)))
}

/// Announced before it is prepared, so that many callers share a group.
fn append(
    store: &Store,
    into: (&str, &str),
    flags: &[String],
    received: UnixSeconds,
    message: &[u8],
) -> Result<Begun, Failure> {
    let announced = store.announce();
    let (mailbox, message) = prepare(store, into, flags, received, message)?;
    Ok(Begun::Append(mailbox.append(vec![message]), announced))
}

/// A message for a mailbox of an account, ready to be appended.
fn prepare(
    store: &Store,
    (account, mailbox): (&str, &str),
    flags: &[String],
    received: UnixSeconds,
    message: &[u8],
) -> Result<(Mailbox, NewMessage), Failure> {
    let account = find_account(store, account)?;
    let mailbox = account.mailbox(mailbox)?.ok_or(CommitError::NoSuchMailbox)?;
    let prepared = store.prepare(message, &[account.number()])?;
    Ok((mailbox, NewMessage { prepared, flags: flag_list(flags), received }))
}

/// Makes a mailbox with the levels above it, and subscribes to it: what was seen before the move
/// should be seen after it.
fn ensure_mailbox(account: &Account, name: &str) -> Result<(), Failure> {
    ensure_above(account, name)?;
    ensure_level(account, name)
}

/// Makes the levels above a mailbox.
fn ensure_above(account: &Account, name: &str) -> Result<(), Failure> {
    let mut above = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
    above.try_for_each(|level| ensure_level(account, level))
}

fn ensure_level(account: &Account, level: &str) -> Result<(), Failure> {
    if account.mailbox(level)?.is_some() {
        return Ok(());
    }
    match account.create_mailbox(level, None).wait() {
        Ok(_) | Err(CommitError::AlreadyExists { .. }) => Ok(account.subscribe(level).wait()?),
        Err(error) => Err(error.into()),
    }
}

/// Flags by their IMAP names; what is none is left out, for a flag is never worth a message.
pub(crate) fn flag_list(names: &[String]) -> FlagList {
    let mut flags = FlagList::default();
    for name in names {
        let system = SystemFlags::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        if let Some((flag, _)) = system {
            flags.system = flags.system.union(*flag);
        } else if let Some(keyword) = Keyword::new(name)
            && !flags.keywords.contains(&keyword)
        {
            flags.keywords.push(keyword);
        }
    }
    flags
}

/// The time of day.
fn now() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.map(|duration| duration.as_secs()).unwrap_or(0);
    UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::error::CommitError::{NoSuchMailbox, OutOfUids, QueueFull};

    #[test]
    fn requests_and_answers_survive_the_wire() {
        let request = Request::Append {
            account: "u@example.org".to_owned(),
            mailbox: "Töpfe/alt".to_owned(),
            flags: vec!["\\Seen".to_owned()],
            received: -1,
            body_bytes: 7,
            together: true,
        };
        let line = serde_json::to_string(&request).unwrap();
        assert!(line.starts_with("{\"verb\":\"append\""), "{line}");
        let back: Request = serde_json::from_str(&line).unwrap();
        assert_eq!(back.body_bytes(), 7);
        let failed = Answer::Failed(Failure::new(Exit::NoUser, "nobody"));
        let line = serde_json::to_string(&failed).unwrap();
        assert_eq!(line, "{\"answer\":\"failed\",\"exit\":\"no-user\",\"sentence\":\"nobody\"}");
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), failed);
    }

    #[test]
    fn of_several_failures_the_one_that_may_pass_is_answered() {
        let said = |failures: Vec<CommitError>| worst(failures.into_iter()).map(|e| e.to_string());
        assert_eq!(said(vec![OutOfUids, QueueFull]), Some(QueueFull.to_string()));
        assert_eq!(said(vec![OutOfUids, NoSuchMailbox]), Some(OutOfUids.to_string()));
        assert_eq!(said(vec![]), None);
    }

    #[test]
    fn flags_are_read_by_name_and_nonsense_is_left_out() {
        let names = ["\\seen", "$Forwarded", "$forwarded", "\\Recent", "a b"];
        let flags = flag_list(&names.map(str::to_owned));
        assert_eq!(flags.system, SystemFlags::SEEN);
        assert_eq!(flags.keywords, [Keyword::new("$Forwarded").unwrap()]);
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in "\\PC{0,200}") {
            let _ = serde_json::from_str::<Request>(&line);
        }
    }
}
