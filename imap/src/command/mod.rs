//! The table of commands, and one file per command.
//!
//! A handler gets what the grammar made of the client's bytes, talks to the engine, writes untagged
//! answers to the wire, and hands back the tagged one. [`carry_out`] does what all have in common:
//! the state that a command needs, and the news of the selected mailbox before the tagged answer.

mod answer;
mod append;
mod authenticate;
mod expunge;
mod fetch;
mod idle;
mod list;
mod mailbox;
mod search;
mod select;
mod session;
mod status;
mod store;
mod transfer;

use engine::Account;
use tokio::sync::watch;

use crate::codec::mailbox_name::WireName;
use crate::codec::{Command, Request};
use crate::session::{Answered, Expunges, Selected, Session, Synced, TargetError, sync};
use crate::stream::{Ended, Wire, blocking};

pub(crate) use answer::{Answer, Status, Then, printable};
pub(crate) use append::{Incoming, permit_literal, spool_literal};

/// One client: its state and its bytes.
pub(crate) struct Talk {
    pub(crate) session: Session,
    pub(crate) wire: Wire,
    /// Becomes true when the server stops.
    pub(crate) shutdown: watch::Receiver<bool>,
    /// Which changes of flags the command in progress answers itself.
    pub(crate) answered: Answered,
    /// What the literals of the command in progress take.
    pub(crate) incoming: Incoming,
}

/// In which states a command is valid (RFC 3501 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Always,
    BeforeLogin,
    LoggedIn,
    Selected,
}

/// A row of the table of commands.
#[derive(Clone, Copy, Debug)]
struct Rule {
    name: &'static str,
    when: When,
    /// Whether expunges may be told before its tagged answer (RFC 3501 section 7.4.1).
    expunges: Expunges,
}

/// The table of commands.
fn rule(command: &Command) -> Rule {
    use crate::codec::command::Numbers::Uid;
    let row = |name, when| Rule { name, when, expunges: Expunges::Tell };
    let numbered = |name, numbers| match numbers {
        Uid => Rule { name, when: When::Selected, expunges: Expunges::Tell },
        _ => Rule { name, when: When::Selected, expunges: Expunges::Hold },
    };
    match command {
        Command::Capability => row("Capability", When::Always),
        Command::Noop => row("Noop", When::Always),
        Command::Logout => row("Logout", When::Always),
        Command::Id(_) => row("ID", When::Always),
        Command::StartTls => row("STARTTLS", When::BeforeLogin),
        Command::Authenticate { .. } => row("Authenticate", When::BeforeLogin),
        Command::Login { .. } => row("Login", When::BeforeLogin),
        Command::Unauthenticate => row("Unauthenticate", When::LoggedIn),
        Command::Compress => row("Compress", When::LoggedIn),
        Command::Enable(_) => row("Enable", When::LoggedIn),
        Command::Select { .. } => row("Select", When::LoggedIn),
        Command::Create { .. } => row("Create", When::LoggedIn),
        Command::Delete(_) => row("Delete", When::LoggedIn),
        Command::Rename { .. } => row("Rename", When::LoggedIn),
        Command::Subscribe(_) => row("Subscribe", When::LoggedIn),
        Command::Unsubscribe(_) => row("Unsubscribe", When::LoggedIn),
        Command::List(_) => row("List", When::LoggedIn),
        Command::Lsub { .. } => row("Lsub", When::LoggedIn),
        Command::Namespace => row("Namespace", When::LoggedIn),
        Command::Status { .. } => row("Status", When::LoggedIn),
        Command::Append { .. } => row("Append", When::LoggedIn),
        Command::Idle => row("Idle", When::LoggedIn),
        Command::Check => row("Check", When::Selected),
        Command::Close => row("Close", When::Selected),
        Command::Unselect => row("Unselect", When::Selected),
        Command::Expunge | Command::UidExpunge(_) => row("Expunge", When::Selected),
        Command::Search { numbers, .. } => numbered("Search", *numbers),
        Command::Fetch { numbers, .. } => numbered("Fetch", *numbers),
        Command::Store { numbers, .. } => numbered("Store", *numbers),
        // Numbers of COPY and MOVE have been resolved before any expunge is told.
        Command::Transfer { .. } => row("Transfer", When::Selected),
    }
}

/// In which states a command is valid, for `docs/imap.md`.
#[cfg(test)]
pub(crate) fn valid_when(command: &Command) -> &'static str {
    match rule(command).when {
        When::Always => "always",
        When::BeforeLogin => "before login",
        When::LoggedIn => "after login",
        When::Selected => "in a selected mailbox",
    }
}

/// Carries a command out and answers it.
pub(crate) async fn carry_out(
    talk: &mut Talk,
    request: Request,
    literals: Vec<Vec<u8>>,
) -> Result<Then, Ended> {
    let rule = rule(&request.command);
    let answer = match refused_by_state(&talk.session, rule) {
        Some(answer) => answer,
        // Apart from the others: a box is as large as the largest command in it, and many idle.
        None if matches!(request.command, Command::Idle) => Box::pin(idle::idle(talk)).await?,
        None => Box::pin(run(talk, request.command, literals)).await?,
    };
    talk.incoming.release();
    let answered = std::mem::replace(&mut talk.answered, Answered::Nothing);
    if let Some(selected) = &mut talk.session.selected {
        let synced = sync(selected, &mut talk.wire, rule.expunges, answered).await?;
        if synced == Synced::Gone {
            talk.wire.line(&answer.line(&request.tag));
            talk.wire.line("* BYE [UNAVAILABLE] The selected mailbox was deleted");
            return Ok(Then::Close);
        }
    }
    talk.wire.line(&answer.line(&request.tag));
    talk.wire.relieve().await?;
    Ok(answer.then)
}

fn refused_by_state(session: &Session, rule: Rule) -> Option<Answer> {
    let sentence = match rule.when {
        When::BeforeLogin if session.account.is_some() => "You are logged in already",
        When::LoggedIn | When::Selected if session.account.is_none() => "Log in first",
        When::Selected if session.selected.is_none() => "Select a mailbox first",
        _ => return None,
    };
    Some(Answer::bad(format!("{} is not valid now: {sentence}", rule.name)))
}

async fn run(talk: &mut Talk, command: Command, literals: Vec<Vec<u8>>) -> Result<Answer, Ended> {
    match command {
        Command::Capability => Ok(session::capability(talk)),
        Command::Noop => Ok(Answer::ok("Nothing done")),
        Command::Check => Ok(Answer::ok("All is on disk")),
        Command::Logout => Ok(session::logout(talk)),
        Command::Id(fields) => Ok(session::id(talk, &fields)),
        Command::StartTls => Ok(session::start_tls(talk)),
        Command::Enable(names) => Ok(session::enable(talk, &names)),
        Command::Namespace => Ok(session::namespace(talk)),
        Command::Authenticate { mechanism, initial } => {
            authenticate::authenticate(talk, &mechanism, initial).await
        }
        Command::Unauthenticate => Ok(session::unauthenticate(talk)),
        Command::Compress => Ok(session::compress(talk)),
        Command::Login { name, password } => authenticate::login(talk, &name, password).await,
        Command::Select { mailbox, access } => select::select(talk, &mailbox, access).await,
        Command::Close => select::close(talk).await,
        Command::Unselect => Ok(select::unselect(talk)),
        Command::Create { mailbox, special_use } => {
            mailbox::create(talk, &mailbox, special_use).await
        }
        Command::Delete(name) => mailbox::delete(talk, &name).await,
        Command::Rename { from, to } => mailbox::rename(talk, &from, &to).await,
        Command::Subscribe(name) => mailbox::subscribe(talk, &name).await,
        Command::Unsubscribe(name) => mailbox::unsubscribe(talk, &name).await,
        Command::List(request) => list::list(talk, &request).await,
        Command::Lsub { reference, pattern } => list::lsub(talk, &reference, &pattern).await,
        Command::Status { mailbox, items } => Ok(status::status(talk, &mailbox, &items)),
        Command::Append { mailbox, messages } => {
            append::append(talk, &mailbox, messages, literals).await
        }
        Command::Idle => idle::idle(talk).await,
        Command::Expunge => expunge::expunge(talk, None).await,
        Command::UidExpunge(set) => expunge::expunge(talk, Some(&set)).await,
        Command::Search { numbers, charset, key } => {
            search::search(talk, numbers, charset.as_deref(), &key).await
        }
        Command::Fetch { numbers, set, items } => fetch::fetch(talk, numbers, &set, items).await,
        Command::Store { numbers, set, change, answer, flags } => {
            store::store(talk, numbers, &set, store::Wanted { change, answer, flags }).await
        }
        Command::Transfer { kind, numbers, set, mailbox } => {
            transfer::transfer(talk, kind, numbers, &set, &mailbox).await
        }
    }
}

impl Talk {
    /// Who is logged in; the table of commands has seen to it that somebody is.
    fn account(&self) -> Result<Account, Answer> {
        self.session.account.clone().ok_or_else(|| Answer::bad("Log in first"))
    }

    /// What is selected; the table of commands has seen to it that something is.
    fn selected(&self) -> Result<&Selected, Answer> {
        self.session.selected.as_ref().ok_or_else(|| Answer::bad("Select a mailbox first"))
    }

    /// The mailbox of that name, or `absent`.
    fn mailbox(
        &self,
        name: &WireName,
        absent: fn() -> Answer,
    ) -> Result<(engine::Mailbox, String), Answer> {
        let account = self.account()?;
        let name = name.decode().ok_or_else(absent)?;
        match blocking(|| account.mailbox(&name)) {
            Ok(Some(mailbox)) => Ok((mailbox, name)),
            Ok(None) => Err(absent()),
            Err(error) => Err(Answer::unreadable(&self.session, &error)),
        }
    }
}

impl Talk {
    /// Why a set named no messages.
    fn untargeted(&self, error: &TargetError) -> Answer {
        match error {
            TargetError::TooHigh { number, count } => {
                Answer::bad(format!("There is no message {number}: the mailbox has {count}"))
            }
            TargetError::Read(error) => Answer::unreadable(&self.session, error),
        }
    }
}
