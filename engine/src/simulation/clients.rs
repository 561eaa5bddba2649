//! The clients of a simulated store: they draw operations, submit them, and read what is there.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Beside, Model, Moves, Operation, Outcome, SeenAccount, Shown, Sight, text};
use crate::disk::simulated::Dice;
use crate::error::{CommitError, ReadError};
use crate::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use crate::ids::{MailboxId, Uid, UnixSeconds};
use crate::message::{StoredSummary, Summary};
use crate::rights::{Identifier, Rights};
use crate::seal::Secret;
use crate::store::{
    Account, Appended, Copied, DeliverTo, FlagsStored, MetadataChange, MetadataScope, NewAccount,
    NewMessage, Store, Undeleted,
};
use crate::ticket::Ticket;
use crate::uid_set::UidSet;

const ACCOUNTS: [&str; 3] = ["anna@example.org", "bert@example.org", "carl@example.org"];
const NAMES: [&str; 6] = ["INBOX", "Archive", "Lists", "Lists/rust", "Work", "Work/2026"];
const KEYWORDS: [&str; 3] = ["$Work", "$Later", "Junk"];

/// An operation on its way.
pub(super) struct Pending {
    pub(super) operation: Operation,
    answer: Answer,
}

enum Answer {
    Appended(Ticket<Result<Appended, CommitError>>),
    Delivered(Ticket<Vec<Result<Appended, CommitError>>>),
    Copied(Ticket<Result<Copied, CommitError>>),
    Stored(Ticket<Result<FlagsStored, CommitError>>),
    Expunged(Ticket<Result<UidSet, CommitError>>),
    Undeleted(Ticket<Result<Undeleted, CommitError>>),
    Purged(Ticket<Result<u64, CommitError>>),
    Made(Ticket<Result<MailboxId, CommitError>>),
    Done(Ticket<Result<(), CommitError>>),
    /// Waited for already.
    Known(Result<(), CommitError>),
}

/// What a client was told.
pub(super) enum Told {
    /// How it ended.
    Outcome(Outcome),
    /// That the store takes no changes: it may have happened or not.
    Unknown,
    /// That there is no room, before anything was begun.
    NotDone,
    /// That it is to try again: nothing was begun.
    TryAgain,
    /// No, without regard to what waits for the committer.
    RefusedAtOnce,
}

/// Draws an operation that makes sense for what the model has.
pub(super) fn draw(dice: &mut Dice, model: &Model, next_text: &mut u64) -> Option<Operation> {
    let pick = |dice: &mut Dice, count: usize| -> usize {
        usize::try_from(dice.below(u64::try_from(count.max(1)).unwrap())).unwrap()
    };
    let account = ACCOUNTS[pick(dice, ACCOUNTS.len())].to_owned();
    let name = NAMES[pick(dice, NAMES.len())].to_owned();
    let kind = dice.below(100);
    let mut fresh = || {
        *next_text += 1;
        *next_text
    };
    if kind < 20 {
        let count = 1 + pick(dice, 3);
        let mut draw = |at: usize| (ACCOUNTS[at].to_owned(), NAMES[pick(dice, 6)].to_owned());
        let mut to: Vec<_> = (0..count).map(&mut draw).collect();
        to.retain(|(account, _)| model.accounts.contains_key(account));
        return (!to.is_empty()).then(|| Operation::Deliver { to, text: fresh() });
    }
    if kind >= 98 {
        let is_there = model.accounts.contains_key(&account);
        return Some(if is_there && dice.below(3) == 0 {
            Operation::DeleteAccount { account }
        } else {
            Operation::AddAccount { account }
        });
    }
    let state = model.accounts.get(&account)?;
    let known: Vec<_> = state.mailboxes.iter().filter(|mailbox| mailbox.id.is_some()).collect();
    let mailbox = *known.get(pick(dice, known.len()))?;
    let id = mailbox.id?;
    let some = dice.next();
    let uids: Vec<u32> =
        mailbox.messages.keys().copied().filter(|uid| some.rotate_left(*uid) & 3 == 0).collect();
    Some(match kind {
        34..38 if !uids.is_empty() => {
            let to = known[pick(dice, known.len())].id?;
            Operation::Replace { account, from: id, uid: uids[0], to, text: fresh() }
        }
        20..38 => {
            let texts = (0..1 + pick(dice, 4)).map(|_| fresh()).collect();
            let flags = u8::try_from(some % 32).unwrap();
            Operation::Append { account, mailbox: id, texts, flags }
        }
        38..45 => super::kept::draw(dice, account, state),
        45..60 => {
            let to = known[pick(dice, known.len())].id?;
            let moves = if some & 64 == 0 { Moves::Copy } else { Moves::Move };
            Operation::Transfer { moves, account, from: id, to, uids }
        }
        60..75 => draw_flags(dice, account, id, uids),
        75..84 => {
            let uids = mailbox.messages.keys().copied().collect();
            Operation::Expunge { account, mailbox: id, uids }
        }
        84..88 => Operation::Create { account, name },
        88..90 => {
            let to = NAMES[pick(dice, NAMES.len())].to_owned();
            Operation::Rename { account, from: name, to }
        }
        90..93 => Operation::Delete { account, name },
        93..95 => draw_beside(dice, account, id, some),
        95 => Operation::Subscribe { account, name, subscribed: some & 1 == 0 },
        _ => {
            let limit = (some & 3 == 0).then_some(20_000 + some % 60_000);
            Operation::Quota { account, limit }
        }
    })
}

/// Metadata, or rights of everybody.
fn draw_beside(dice: &mut Dice, account: String, mailbox: MailboxId, some: u64) -> Operation {
    let is_given = some & 1 == 0;
    if dice.below(2) == 0 {
        let (entry, value) = (format!("/e{}", some % 5), some.to_le_bytes().to_vec());
        return Operation::Annotate { account, mailbox, entry, value: is_given.then_some(value) };
    }
    let letters = if some & 2 == 0 { "lr" } else { "lrswi" };
    let anyone = is_given.then(|| Rights::from_letters(letters).unwrap());
    Operation::Share { account, mailbox, anyone }
}

fn draw_flags(dice: &mut Dice, account: String, mailbox: MailboxId, uids: Vec<u32>) -> Operation {
    let some = dice.next();
    let change = match some % 3 {
        0 => FlagChange::Add,
        1 => FlagChange::Remove,
        _ => FlagChange::Replace,
    };
    let keywords = (0..3u8).filter(|keyword| some >> (40 + keyword) & 1 == 1).collect();
    let flags = u8::try_from(some >> 50 & 31).unwrap();
    Operation::Flags { account, mailbox, uids, change, flags, keywords }
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().map(|&uid| Uid(uid)).collect()
}

fn list(flags: u8, keywords: &BTreeSet<u8>) -> FlagList {
    let keyword = |keyword: &u8| Keyword::new(KEYWORDS[usize::from(*keyword)]).unwrap();
    FlagList { system: SystemFlags(flags), keywords: keywords.iter().map(keyword).collect() }
}

/// Submits an operation; `None` if the store does not have what it is about.
pub(super) fn submit(store: &Store, operation: Operation) -> Option<Pending> {
    let answer = match answer_of(store, &operation)? {
        Ok(answer) => answer,
        Err(error) => Answer::Known(Err(error)),
    };
    Some(Pending { operation, answer })
}

/// Of every other append of several messages: submits them as appends that come together, of which
/// each is judged for itself. `None` of anything else.
pub(super) fn submit_together(store: &Store, operation: &Operation) -> Option<Vec<Pending>> {
    let Operation::Append { account: name, mailbox, texts, flags } = operation else { return None };
    if texts.len() < 2 || texts.iter().fold(0, |sum, number| sum ^ number) % 2 == 0 {
        return None;
    }
    let account = store.account(name).unwrap()?;
    let to = account.mailbox_by_id(*mailbox).unwrap()?;
    let messages = new_messages(store, &account, texts, *flags).ok()?;
    let pending = texts.iter().zip(to.append_each(messages)).map(|(number, ticket)| {
        let (account, texts) = (name.clone(), vec![*number]);
        let operation = Operation::Append { account, mailbox: *mailbox, texts, flags: *flags };
        Pending { operation, answer: Answer::Appended(ticket) }
    });
    Some(pending.collect())
}

fn new_messages(
    store: &Store,
    account: &Account,
    texts: &[u64],
    flags: u8,
) -> Result<Vec<NewMessage>, CommitError> {
    let new_message = |number: &u64| {
        let prepared = store.prepare(&text(*number), &[account.number()])?;
        let flags = list(flags, &BTreeSet::new());
        Ok(NewMessage { prepared, flags, received: UnixSeconds(7) })
    };
    texts.iter().map(new_message).collect()
}

fn answer_of(store: &Store, operation: &Operation) -> Option<Result<Answer, CommitError>> {
    Some(Ok(match operation {
        Operation::Deliver { to, text: number } => {
            let find = |(account, mailbox): &(String, String)| {
                let account = store.account(account).unwrap()?.number();
                let (mailbox, flags) = (mailbox.clone(), FlagList::default());
                Some(DeliverTo { account, mailbox, flags })
            };
            let recipients: Vec<DeliverTo> = to.iter().map(find).collect::<Option<_>>()?;
            let accounts: Vec<_> = recipients.iter().map(|to| to.account).collect();
            match store.prepare(&text(*number), &accounts) {
                Ok(prepared) => {
                    Answer::Delivered(store.deliver(prepared, UnixSeconds(7), recipients))
                }
                Err(error) => return Some(Err(error)),
            }
        }
        Operation::AddAccount { account } => {
            let password = Secret::new("x".into());
            let new = NewAccount { name: account.clone(), password, quota_bytes: None };
            Answer::Known(store.create_account(new).map(drop))
        }
        Operation::DeleteAccount { account } => {
            let number = store.account(account).unwrap()?.number();
            Answer::Known(store.delete_account(number))
        }
        Operation::Keep { account, keep } => {
            let number = store.account(account).unwrap()?.number();
            Answer::Known(store.set_account_retention(number, keep.setting()))
        }
        Operation::Quota { account, limit } => {
            let number = store.account(account).unwrap()?.number();
            Answer::Known(store.set_quota(number, *limit))
        }
        other => {
            let account = store.account(other.account()).unwrap()?;
            return answer_of_account(store, &account, other);
        }
    }))
}

fn answer_of_account(
    store: &Store,
    account: &Account,
    operation: &Operation,
) -> Option<Result<Answer, CommitError>> {
    let mailbox = |id: &MailboxId| account.mailbox_by_id(*id).unwrap();
    Some(Ok(match operation {
        Operation::Append { mailbox: id, texts, flags, .. } => {
            let mailbox = mailbox(id)?;
            match new_messages(store, account, texts, *flags) {
                Ok(messages) => Answer::Appended(mailbox.append(messages)),
                Err(error) => return Some(Err(error)),
            }
        }
        Operation::Transfer { moves, from, to, uids, .. } => {
            let (from, to) = (mailbox(from)?, mailbox(to)?);
            Answer::Copied(match moves {
                Moves::Copy => from.copy(&set(uids), &to),
                Moves::Move => from.move_to(&set(uids), &to),
            })
        }
        Operation::Flags { mailbox: id, uids, change, flags, keywords, .. } => {
            let flags = list(*flags, keywords);
            Answer::Stored(mailbox(id)?.store_flags(&set(uids), *change, &flags, None))
        }
        Operation::Replace { from, uid, to, text, .. } => {
            let (from, to) = (mailbox(from)?, mailbox(to)?);
            match new_messages(store, account, &[*text], 0).map(|mut new| new.remove(0)) {
                Ok(message) => Answer::Appended(from.replace(Uid(*uid), &to, message)),
                Err(error) => return Some(Err(error)),
            }
        }
        Operation::Expunge { mailbox: id, uids, .. } => {
            Answer::Expunged(mailbox(id)?.expunge(&set(uids)))
        }
        Operation::Undelete { mailbox, uids, .. } => {
            Answer::Undeleted(account.undelete(super::kept::keys(account, *mailbox, uids)))
        }
        Operation::Purge { mailbox, uids, .. } => {
            Answer::Purged(account.purge_retained(super::kept::keys(account, *mailbox, uids)))
        }
        Operation::Create { name, .. } => Answer::Made(account.create_mailbox(name, None)),
        Operation::Rename { from, to, .. } => Answer::Done(account.rename_mailbox(from, to)),
        Operation::Delete { name, .. } => Answer::Done(account.delete_mailbox(name)),
        Operation::Subscribe { name, subscribed: true, .. } => {
            Answer::Done(account.subscribe(name))
        }
        Operation::Subscribe { name, .. } => Answer::Done(account.unsubscribe(name)),
        Operation::Annotate { mailbox, entry, value, .. } => {
            let (name, value) = (entry.clone(), value.clone());
            let change = MetadataChange { scope: MetadataScope::Shared, name, value };
            Answer::Done(account.set_metadata(Some(*mailbox), vec![change]))
        }
        Operation::Share { mailbox, anyone, .. } => {
            Answer::Done(account.set_rights(*mailbox, Identifier::ANYONE, *anyone))
        }
        _ => return None,
    }))
}

fn numbers<'a>(uids: impl IntoIterator<Item = &'a Uid>) -> Outcome {
    Outcome::Uids(uids.into_iter().map(|uid| uid.0).collect())
}

fn told<T>(answer: Result<T, CommitError>, outcome: impl FnOnce(T) -> Outcome) -> Told {
    match answer {
        Ok(answer) => Told::Outcome(outcome(answer)),
        Err(CommitError::ReadOnly { .. } | CommitError::Read(_)) => Told::Unknown,
        Err(CommitError::DiskFull | CommitError::QueueFull) => Told::NotDone,
        Err(CommitError::PartGone) => Told::TryAgain,
        Err(_) => Told::Outcome(Outcome::Refused),
    }
}

impl Pending {
    /// What the client was told; itself if nothing yet.
    pub(super) fn answered(self) -> Result<(Operation, Told), Box<Pending>> {
        let Pending { operation, answer } = self;
        let uids = |uids: UidSet| Outcome::Uids(uids.iter().map(|uid| uid.0).collect());
        match answer {
            Answer::Appended(ticket) => {
                let outcome = |appended: Appended| numbers(&appended.uids);
                settle(operation, ticket, |answer| told(answer, outcome), Answer::Appended)
            }
            Answer::Delivered(ticket) => settle(operation, ticket, delivered, Answer::Delivered),
            Answer::Copied(ticket) => {
                let outcome = |copied: Copied| numbers(&copied.destination);
                settle(operation, ticket, |answer| told(answer, outcome), Answer::Copied)
            }
            Answer::Stored(ticket) => {
                let outcome = |stored: FlagsStored| uids(stored.changed);
                settle(operation, ticket, |answer| told(answer, outcome), Answer::Stored)
            }
            Answer::Expunged(ticket) => {
                settle(operation, ticket, |answer| told(answer, uids), Answer::Expunged)
            }
            Answer::Undeleted(ticket) => {
                let outcome = |back: Undeleted| numbers(&back.uids);
                settle(operation, ticket, |answer| told(answer, outcome), Answer::Undeleted)
            }
            Answer::Purged(ticket) => {
                settle(operation, ticket, |answer| told(answer, Outcome::Count), Answer::Purged)
            }
            Answer::Made(ticket) => {
                settle(operation, ticket, |answer| told(answer, |_| Outcome::Done), Answer::Made)
            }
            Answer::Done(ticket) => {
                settle(operation, ticket, |answer| told(answer, |()| Outcome::Done), Answer::Done)
            }
            Answer::Known(answer) => match told(answer, |()| Outcome::Done) {
                Told::Outcome(Outcome::Refused) => Ok((operation, Told::RefusedAtOnce)),
                other => Ok((operation, other)),
            },
        }
    }
}

/// What a ticket says, or the operation as it waits on.
fn settle<T>(
    operation: Operation,
    ticket: Ticket<T>,
    told: impl FnOnce(T) -> Told,
    again: impl FnOnce(Ticket<T>) -> Answer,
) -> Result<(Operation, Told), Box<Pending>> {
    match ticket.now() {
        Ok(answer) => Ok((operation, told(answer))),
        Err(ticket) => Err(Box::new(Pending { operation, answer: again(ticket) })),
    }
}

fn delivered(answers: Vec<Result<Appended, CommitError>>) -> Told {
    let mut each = Vec::new();
    let mut others = None;
    for answer in answers {
        match told(answer, |appended| numbers(&appended.uids)) {
            Told::Outcome(outcome) => each.push(outcome),
            other => others = Some(other),
        }
    }
    others.unwrap_or(Told::Outcome(Outcome::Each(each)))
}

/// Everything that readers of the store see, each message read to its last byte.
pub(super) fn sight(store: &Store) -> Result<Sight, ReadError> {
    let mut sight = Sight::new();
    for entry in store.accounts()? {
        let account = store.account(&entry.name)?.expect("an account that is listed has a name");
        let listing = account.listing()?;
        let mut mailboxes = BTreeMap::new();
        for mailbox in &listing.mailboxes {
            let shown = shown(&account, mailbox.id)?;
            mailboxes.extend(shown.map(|shown| (mailbox.name.clone(), shown)));
        }
        let subscribed = listing.subscribed.iter().cloned().collect();
        let (_, quota) = account.quota()?;
        let (keep, kept) = super::kept::seen(store, &account)?;
        let seen = SeenAccount { mailboxes, subscribed, quota, keep, kept };
        sight.insert(entry.name.clone(), seen);
    }
    Ok(sight)
}

fn shown(account: &Account, id: MailboxId) -> Result<Option<Shown>, ReadError> {
    let Some(view) =
        account.mailbox_by_id(id)?.map(|mailbox| mailbox.view()).transpose()?.flatten()
    else {
        return Ok(None);
    };
    let mut messages = BTreeMap::new();
    let rows = view.rows_from(Uid(1), usize::MAX)?;
    let uids = rows.iter().map(|row| row.uid).collect();
    let mut summaries = account.summaries(id, &uids);
    for row in rows {
        if let (Ok(paged), Ok(own)) = (summaries.of(&row), account.summary(&row)) {
            assert_same_summary(&paged, &own);
        }
        let bytes = account.message(&row)?.read_all()?;
        assert_eq!(u64::from(row.size), u64::try_from(bytes.len()).unwrap());
        let keywords = row
            .keywords
            .iter()
            .map(|&index| keyword_number(view.keywords()[usize::from(index)].as_str()));
        let message = super::model::ModelMessage {
            text: number_of(&bytes),
            flags: row.flags.0,
            keywords: keywords.collect(),
        };
        messages.insert(row.uid.0, message);
    }
    assert_eq!(u64::from(view.message_count()), u64::try_from(messages.len()).unwrap());
    let metadata = account.metadata(Some(id), account.number()).into_iter();
    let beside = Beside {
        metadata: metadata.map(|entry| (entry.name, entry.value)).collect(),
        anyone: account.access_list(id).first().map(|entry| entry.rights),
    };
    let uid_next = view.uid_next().map_or(0, |uid| uid.0);
    Ok(Some(Shown { uid_next, messages, beside }))
}

/// All but the preview, which pages do not have.
fn assert_same_summary(paged: &StoredSummary, own: &StoredSummary) {
    let tree = |summary: &StoredSummary| Summary::decode(&summary.without_preview()).unwrap();
    assert_eq!(tree(paged), tree(own), "a page's summary and the message's own");
}

pub(super) fn keyword_number(name: &str) -> u8 {
    u8::try_from(KEYWORDS.iter().position(|known| *known == name).unwrap()).unwrap()
}

/// The number that a text was made from; it must be that text, bit for bit.
pub(super) fn number_of(bytes: &[u8]) -> u64 {
    let line = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
    let digits = line.trim_start_matches("Subject: mail ");
    let number = digits.split('\r').next().unwrap().parse().expect("a text of ours");
    assert!(text(number) == bytes, "mail {number} is not what it was");
    number
}
