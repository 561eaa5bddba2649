//! `import imap`: mail from a server that goes on serving, again and again until somebody switches
//! over.
//!
//! ```text
//! wire, trust ─► response ─► source          the server there: commands that only read
//! names, pairs                               which mailbox is which
//! account ─► mailbox, fetch ─► here          one account made as it is there
//!            compare                         --final: whether both are equal
//! ```
//! UIDVALIDITY, UIDs, flags, dates and bytes stay what they are, so that mail programs go on with
//! what they have. What a run remembers is in the store (`remembered.rs`), and the next takes what
//! has changed. Nothing is changed there.

mod account;
mod compare;
mod fetch;
mod here;
mod mailbox;
mod names;
mod pace;
mod pairs;
mod remembered;
mod response;
mod source;
mod trust;
mod users;
mod wire;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;

use engine::seal::Secret;
use indicatif::ProgressBar;

pub(crate) use self::response::fuzz_imap_response;

use self::account::bring_account;
use self::source::Login;
use self::users::User;
use self::wire::{Address, Privacy};
use crate::admin::Connection;
use crate::failure::{Exit, Failure};
use crate::{progress, secrets};

/// Letters of a server's words that are shown.
const SHOWN_LETTERS_MAX: usize = 300;

/// What an import is to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Patterns of mailboxes to bring; none: all.
    pub(crate) include: Vec<String>,
    /// Patterns of mailboxes not to bring.
    pub(crate) exclude: Vec<String>,
    /// Mailboxes that are in the way are put aside.
    pub(crate) allow_reset: bool,
    /// Messages that cannot be brought are left out for ever.
    pub(crate) skip_bad: bool,
    /// Flags that were changed here become what they are there.
    pub(crate) overwrite_flags: bool,
    /// Nothing is changed.
    pub(crate) dry_run: bool,
    /// Both sides are compared in the end.
    pub(crate) is_final: bool,
    pub(crate) messages_per_second: Option<u64>,
    pub(crate) bytes_per_second: Option<u64>,
}

impl Options {
    /// Whether a mailbox is to be brought.
    fn chooses(&self, name: &str) -> bool {
        let is_in =
            |patterns: &[String]| patterns.iter().any(|pattern| names::matches(pattern, name));
        (self.include.is_empty() || is_in(&self.include)) && !is_in(&self.exclude)
    }
}

/// How the source is reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) starttls: bool,
    pub(crate) plain: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) fingerprint: Option<String>,
}

/// Who logs in there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who {
    /// The account here and the user there; none with a list.
    pub(crate) one: Option<(String, String)>,
    pub(crate) list: Option<PathBuf>,
    pub(crate) master: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
}

impl Reach {
    fn address(self) -> Result<Address, Failure> {
        let privacy = match (self.plain, self.starttls) {
            (true, _) => Privacy::Plain,
            (_, true) => Privacy::StartTls,
            _ => Privacy::Tls,
        };
        let usual = if privacy == Privacy::Tls { 993 } else { 143 };
        let fingerprint = match self.fingerprint {
            None => None,
            Some(text) => Some(trust::fingerprint(&text).ok_or_else(|| {
                let sentence =
                    "--fingerprint wants the SHA-256 of the certificate in 64 hex digits";
                Failure::new(Exit::Usage, sentence)
            })?),
        };
        let trust = trust::Trust { ca_file: self.ca_file, fingerprint };
        Ok(Address { host: self.host, port: self.port.unwrap_or(usual), privacy, trust })
    }
}

impl Who {
    /// The accounts, each with whoever logs in for it.
    fn logins(&self) -> Result<Vec<(String, Login)>, Failure> {
        let users = match (&self.one, &self.list) {
            (_, Some(list)) => users::read(list)?,
            (Some((account, user)), None) => {
                vec![User { account: account.clone(), user: user.clone(), password: None }]
            }
            (None, None) => Vec::new(),
        };
        let mut common = None;
        let mut logins = Vec::with_capacity(users.len());
        for User { account, user, password } in users {
            let password = match (password, &self.master) {
                (Some(password), None) => password,
                _ => {
                    if common.is_none() {
                        common = Some(self.password()?);
                    }
                    let common = common.as_ref().map(Secret::expose).unwrap_or_default();
                    Secret::new(common.to_owned())
                }
            };
            logins.push((account, Login { user, master: self.master.clone(), password }));
        }
        Ok(logins)
    }

    /// The password that is not in the list.
    fn password(&self) -> Result<Secret, Failure> {
        match (&self.password_file, &self.master, &self.one) {
            (Some(file), ..) => secrets::from_file(file),
            (None, Some(master), _) => secrets::ask(&format!("Password of {master}: ")),
            (None, None, Some((_, user))) => {
                secrets::ask(&format!("Password of {user} at the source: "))
            }
            (None, None, None) => {
                let sentence = "a line of the list has no password; give --password-file";
                Err(Failure::new(Exit::Usage, sentence))
            }
        }
    }
}

/// Brings all accounts, `jobs` at a time; `connect` opens a way to the store for each of these.
pub(crate) fn import_live(
    reach: Reach,
    who: &Who,
    options: &Options,
    jobs: usize,
    connect: &(dyn Fn() -> Result<Connection, Failure> + Sync),
) -> Result<String, Failure> {
    let address = reach.address()?;
    let logins = who.logins()?;
    let count = logins.len();
    let queue = Mutex::new(VecDeque::from(logins));
    let outcomes = Mutex::new(Vec::new());
    let bar = progress::bar("Importing", 0);
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..jobs.clamp(1, count.max(1)) {
            workers.push(scope.spawn(|| {
                let mut connection = connect()?;
                while let Some((account, login)) = next_of(&queue) {
                    let whose = (&address, &login);
                    let bar = bar.clone();
                    let (report, result) =
                        bring_account(&mut connection, &account, whose, options, &bar);
                    let outcome = (account, report, result);
                    tell(&bar, &outcome);
                    lock(&outcomes).push(outcome);
                }
                connection.close();
                Ok(())
            }));
        }
        let ended = workers.into_iter().map(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect::<Result<Vec<()>, Failure>>()
    })?;
    bar.finish_and_clear();
    let outcomes = std::mem::take(&mut *lock(&outcomes));
    sum_up(&outcomes, options)
}

type Outcome = (String, account::Report, Result<(), Failure>);

fn next_of(queue: &Mutex<VecDeque<(String, Login)>>) -> Option<(String, Login)> {
    lock(queue).pop_front()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What was done to an account, at once.
fn tell(bar: &ProgressBar, (account, report, result): &Outcome) {
    bar.suspend(|| {
        println!("{account}:");
        for line in &report.lines {
            println!("{line}");
        }
        if let Err(failure) = result {
            println!("  stopped: {}", failure.sentence);
        }
    });
}

/// The last line, and how the command ends: what stopped an account goes first.
fn sum_up(outcomes: &[Outcome], options: &Options) -> Result<String, Failure> {
    let messages: u64 = outcomes.iter().map(|(_, report, _)| report.messages).sum();
    let stopped = outcomes.iter().find_map(|(_, _, result)| result.as_ref().err());
    let troubled = outcomes.iter().find_map(|(_, report, _)| report.trouble);
    let is_well = |(_, report, result): &&Outcome| report.trouble.is_none() && result.is_ok();
    let well = outcomes.iter().filter(is_well).count();
    let done = format!("imported {messages} messages into {} accounts", outcomes.len());
    match (stopped, troubled) {
        (None, None) if options.is_final => Ok(format!("{done}; both sides are equal")),
        (None, None) if options.dry_run => Ok("nothing was changed".to_owned()),
        (None, None) => Ok(done),
        (Some(failure), _) => {
            let sentence = match outcomes.len() {
                1 => format!("{done}, then stopped: {}", failure.sentence),
                count => format!("{done}; {} of them have trouble (named above)", count - well),
            };
            Err(Failure::new(failure.exit, sentence))
        }
        (None, Some(exit)) => {
            let count = outcomes.len() - well;
            Err(Failure::new(exit, format!("{done}; {count} of them have trouble (named above)")))
        }
    }
}

/// What a server says, fit for a terminal.
fn shown(text: &str) -> String {
    let letters = text.chars().map(|letter| if letter.is_control() { '?' } else { letter });
    letters.take(SHOWN_LETTERS_MAX).collect()
}
