//! Retention by requests: settings, lists of what is kept, and bringing it back.
//!
//! Lists come in answers of bounded size; who asks goes on where the last one ended. Bringing back
//! is done here, record by record, so that one request serves however much is kept.

use std::collections::BTreeMap;

use engine::ids::{MailboxId, UnixSeconds};
use engine::message::decode_words;
use engine::width::u64_of;
use engine::{Account, RetainedEntry, RetainedKey, RetentionSetting, Store, VolumeRetention};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

/// Messages in one answer, and looked at for it.
const LIST_MESSAGES_MAX: usize = 512;
/// Messages that one record brings back.
const UNDELETE_MESSAGES: usize = 1000;
/// Messages that are gathered before the first of them comes back.
const GATHER_MESSAGES_MAX: usize = 100_000;
/// Letters of a subject that are shown.
const SUBJECT_LETTERS_MAX: usize = 200;

/// A request about retention.
#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum RetentionRequest {
    /// The settings of the store, and of an account if one is named.
    Show { account: Option<String> },
    /// Sets an account's.
    Account { account: String, setting: Setting },
    /// Sets the store's. `shortened`: low space may shorten it; `None` leaves that as it is.
    Store { setting: Option<Setting>, shortened: Option<bool> },
    /// Lists what is kept, from `from` on.
    List { account: String, wanted: Wanted, from: Option<String> },
    /// Brings back what is kept.
    Undelete { account: String, wanted: Wanted, dry_run: bool },
}

/// For how long expunged mail is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Setting {
    /// As the store says.
    Store,
    /// Not at all.
    Off,
    /// So many seconds.
    Seconds(u64),
    /// Until the hold is lifted.
    Hold,
}

/// Which kept messages.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Only those of mailboxes that were called so.
    pub(crate) mailbox: Option<String>,
    /// Only those that were expunged from then on, in seconds since 1970.
    pub(crate) since: Option<i64>,
}

/// An answer about retention.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub(crate) enum RetentionAnswer {
    /// The settings.
    Settings {
        store: Setting,
        shortened: bool,
        /// Its own setting, and what is kept of the account.
        account: Option<AccountLine>,
    },
    /// Kept messages; `next`: from where the list goes on.
    Kept { messages: Vec<KeptLine>, next: Option<String> },
    /// What came back, or would, by mailbox; and how many are kept no more.
    Back { mailboxes: Vec<(String, u64)> },
}

/// An account's retention.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountLine {
    pub(crate) setting: Setting,
    pub(crate) message_count: u64,
    pub(crate) message_bytes: u64,
}

/// A kept message.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptLine {
    pub(crate) mailbox: String,
    pub(crate) uid: u32,
    /// Seconds since 1970; `until` is none under a hold.
    pub(crate) expunged_at: i64,
    pub(crate) until: Option<i64>,
    pub(crate) received: i64,
    pub(crate) message_bytes: u64,
    pub(crate) subject: String,
}

impl RetentionRequest {
    /// Whether it changes nothing.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(
            self,
            RetentionRequest::Show { .. }
                | RetentionRequest::List { .. }
                | RetentionRequest::Undelete { dry_run: true, .. }
        )
    }
}

impl From<Setting> for RetentionSetting {
    fn from(setting: Setting) -> RetentionSetting {
        match setting {
            Setting::Store => RetentionSetting::Volume,
            Setting::Off => RetentionSetting::Off,
            Setting::Seconds(seconds) => RetentionSetting::Seconds(seconds),
            Setting::Hold => RetentionSetting::Hold,
        }
    }
}

impl From<RetentionSetting> for Setting {
    fn from(setting: RetentionSetting) -> Setting {
        match setting {
            RetentionSetting::Volume => Setting::Store,
            RetentionSetting::Off => Setting::Off,
            RetentionSetting::Seconds(seconds) => Setting::Seconds(seconds),
            RetentionSetting::Hold => Setting::Hold,
        }
    }
}

impl Wanted {
    fn has(&self, entry: &RetainedEntry) -> bool {
        let is_inbox = |name: &str| name.eq_ignore_ascii_case("INBOX");
        let is_called =
            |name: &String| *name == entry.mailbox || is_inbox(name) && is_inbox(&entry.mailbox);
        self.mailbox.as_ref().is_none_or(is_called)
            && self.since.is_none_or(|since| entry.expunged_at >= UnixSeconds(since))
    }
}

/// Answers a request.
pub(super) fn answer(
    store: &Store,
    request: RetentionRequest,
    account: impl Fn(&str) -> Result<Account, Failure>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<RetentionAnswer, Failure> {
    match request {
        RetentionRequest::Show { account: name } => {
            let line = name.map(|name| account_line(store, &account(&name)?)).transpose()?;
            Ok(settings(store, line))
        }
        RetentionRequest::Account { account: name, setting } => {
            let account = account(&name)?;
            store.set_account_retention(account.number(), setting.into())?;
            Ok(settings(store, Some(account_line(store, &account)?)))
        }
        RetentionRequest::Store { setting, shortened } => {
            let before = store.retention();
            store.set_retention(VolumeRetention {
                setting: setting.map_or(before.setting, Setting::into),
                shortened: shortened.unwrap_or(before.shortened),
            })?;
            Ok(settings(store, None))
        }
        RetentionRequest::List { account: name, wanted, from } => {
            list(&account(&name)?, &wanted, from.as_deref())
        }
        RetentionRequest::Undelete { account: name, wanted, dry_run } => {
            undelete(&account(&name)?, &wanted, dry_run, progress)
        }
    }
}

fn account_line(store: &Store, account: &Account) -> Result<AccountLine, Failure> {
    let (setting, _) = store.account_retention(account.number())?;
    let (message_count, message_bytes) = account.retained_usage();
    Ok(AccountLine { setting: setting.into(), message_count, message_bytes })
}

fn settings(store: &Store, account: Option<AccountLine>) -> RetentionAnswer {
    let VolumeRetention { setting, shortened } = store.retention();
    RetentionAnswer::Settings { store: setting.into(), shortened, account }
}

fn list(
    account: &Account,
    wanted: &Wanted,
    from: Option<&str>,
) -> Result<RetentionAnswer, Failure> {
    let from = match from {
        None => RetainedKey::FIRST,
        Some(text) => RetainedKey::from_text(text).ok_or_else(|| {
            Failure::new(Exit::Usage, "a list goes on where another answer says that it does")
        })?,
    };
    let entries = account.retained(from, LIST_MESSAGES_MAX)?;
    let next = entries.last().filter(|_| entries.len() == LIST_MESSAGES_MAX);
    let next = next.map(|entry| entry.key.after().to_text());
    let lines = entries.iter().filter(|entry| wanted.has(entry)).map(|entry| KeptLine {
        mailbox: entry.mailbox.clone(),
        uid: entry.uid.0,
        expunged_at: entry.expunged_at.0,
        until: entry.until.map(|until| until.0),
        received: entry.received.0,
        message_bytes: u64::from(entry.size),
        subject: subject(account, entry),
    });
    Ok(RetentionAnswer::Kept { messages: lines.collect(), next })
}

/// A damaged message is listed all the same: bringing it back says what is wrong.
fn subject(account: &Account, entry: &RetainedEntry) -> String {
    let Ok(summary) = account.retained_summary(entry) else { return "(unreadable)".to_owned() };
    let subject = decode_words(summary.envelope().subject.unwrap_or_default());
    let shown = subject.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    shown.take(SUBJECT_LETTERS_MAX).collect()
}

/// Brings back what is wanted, mailbox by mailbox in the order of UIDs.
fn undelete(
    account: &Account,
    wanted: &Wanted,
    dry_run: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<RetentionAnswer, Failure> {
    let mut back: BTreeMap<String, u64> = BTreeMap::new();
    let mut from = RetainedKey::FIRST;
    let mut done = 0;
    let (total, _) = account.retained_usage();
    loop {
        let (gathered, next) = gather(account, wanted, from)?;
        for ((_, name), keys) in gathered {
            for piece in keys.chunks(UNDELETE_MESSAGES) {
                let (mailbox, count) = if dry_run {
                    (name.clone(), u64_of(piece.len()))
                } else {
                    let returned = account.undelete(piece.to_vec()).wait()?;
                    (returned.mailbox, u64_of(returned.uids.len()))
                };
                done += count;
                progress(done, total.max(done));
                if count > 0 {
                    *back.entry(mailbox).or_default() += count;
                }
            }
        }
        match next {
            Some(next) => from = next,
            None => return Ok(RetentionAnswer::Back { mailboxes: back.into_iter().collect() }),
        }
    }
}

/// Kept messages by mailbox and its name, in the order of their UIDs.
type Gathered = BTreeMap<(MailboxId, String), Vec<RetainedKey>>;

/// What is wanted from `from` on, and where to go on.
fn gather(
    account: &Account,
    wanted: &Wanted,
    mut from: RetainedKey,
) -> Result<(Gathered, Option<RetainedKey>), Failure> {
    let mut gathered = Gathered::new();
    let mut count = 0;
    loop {
        let entries = account.retained(from, LIST_MESSAGES_MAX)?;
        let next = entries.last().filter(|_| entries.len() == LIST_MESSAGES_MAX);
        let next = next.map(|entry| entry.key.after());
        for entry in entries.into_iter().filter(|entry| wanted.has(entry)) {
            count += 1;
            gathered.entry((entry.mailbox_id, entry.mailbox)).or_default().push(entry.key);
        }
        match next {
            Some(next) if count < GATHER_MESSAGES_MAX => from = next,
            next => {
                gathered.values_mut().for_each(|keys| keys.sort_by_key(|key| key.uid()));
                return Ok((gathered, next));
            }
        }
    }
}
