//! The table of commands, and one file per command.
//!
//! A handler gets what the grammar made of the client's bytes, talks to the engine, writes untagged
//! answers to the wire, and hands back the tagged one. [`carry_out`] does what all have in common:
//! the state that a command needs, and the news of the selected mailbox before the tagged answer.

mod acl;
mod across;
mod answer;
mod append;
mod authenticate;
mod by_dialect;
mod catenate;
mod expunge;
mod fetch;
mod idle;
mod language;
mod list;
mod mailbox;
mod message_limit;
mod metadata;
mod notify;
mod place;
mod quota;
mod replace;
mod rights;
pub(crate) mod search;
mod select;
mod session;
mod status;
mod store;
mod transfer;
mod uid_batches;

use engine::Account;
use engine::rights::Rights;
use engine::uid_set::UidSet;
use tokio::sync::watch;

use crate::codec::command::{Sharing, TransferKind};
use crate::codec::mailbox_name::WireName;
use crate::codec::{Command, Request};
use crate::session::{Answered, Expunges, Manner, Selected, Session, Synced, TargetError, sync};
use crate::stream::{Ended, Wire};

pub(crate) use answer::{Answer, Status, Then, printable};
pub(crate) use append::{Incoming, permit_literal, spool_literal};
pub(crate) use notify::{MetadataWatch, Watching, tell_between};
pub(crate) use search::{Compared, Contexts};

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
    /// The tag of the command in progress.
    pub(crate) tag: String,
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
    /// Whether its OK tells HIGHESTMODSEQ to a client with QRESYNC (RFC 7162 section 3.2.7).
    tells_modseq: bool,
}

/// The table of commands.
fn rule(command: &Command) -> Rule {
    use crate::codec::command::Numbers::Uid;
    let row = |name, when| Rule { name, when, expunges: Expunges::Tell, tells_modseq: false };
    let numbered = |name, numbers| match numbers {
        Uid => row(name, When::Selected),
        _ => Rule { expunges: Expunges::Hold, ..row(name, When::Selected) },
    };
    match command {
        Command::Capability => row("Capability", When::Always),
        Command::Noop => row("Noop", When::Always),
        Command::Logout => row("Logout", When::Always),
        Command::Id(_) => row("ID", When::Always),
        Command::Language(_) => row("Language", When::Always),
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
        Command::Replace { .. } => row("Replace", When::Selected),
        Command::Idle => row("Idle", When::LoggedIn),
        Command::UidBatches { .. } => row("Uidbatches", When::Selected),
        Command::Sharing(sharing) => row(sharing.name(), When::LoggedIn),
        Command::Check => row("Check", When::Selected),
        Command::Close => row("Close", When::Selected),
        Command::Unselect => row("Unselect", When::Selected),
        Command::Expunge | Command::UidExpunge(_) => {
            Rule { tells_modseq: true, ..row("Expunge", When::Selected) }
        }
        Command::Search(request) => numbered("Search", request.numbers),
        Command::Sort { request, .. } => numbered("Sort", request.numbers),
        Command::Thread { request, .. } => numbered("Thread", request.numbers),
        Command::MultiSearch { .. } => row("Esearch", When::LoggedIn),
        Command::CancelUpdate(_) => row("Cancelupdate", When::Selected),
        Command::Fetch { numbers, .. } => numbered("Fetch", *numbers),
        Command::Store { numbers, .. } => numbered("Store", *numbers),
        // Numbers of COPY and MOVE have been resolved before any expunge is told.
        Command::Transfer { kind, .. } => {
            let tells_modseq = *kind == TransferKind::Move;
            Rule { tells_modseq, ..row("Transfer", When::Selected) }
        }
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
    talk.tag.clone_from(&request.tag);
    if lost_right(&talk.session) {
        talk.wire.line(WITHDRAWN);
        return Ok(Then::Close);
    }
    let refused = refused_by_state(&talk.session, rule)
        .or_else(|| by_dialect::refused(talk.session.dialect, &request.command));
    let answer = match refused {
        Some(answer) => answer,
        // Apart from the others: a box is as large as the largest command in it, and many idle.
        None if matches!(request.command, Command::Idle) => Box::pin(idle::idle(talk)).await?,
        None => Box::pin(run(talk, request.command, literals)).await?,
    };
    talk.incoming.release();
    let answered = std::mem::replace(&mut talk.answered, Answered::Nothing);
    if tell_selected(talk, rule.expunges, answered).await? == Synced::Gone {
        talk.wire.line(&answer.line(&request.tag));
        talk.wire.line("* BYE [UNAVAILABLE] The selected mailbox was deleted");
        return Ok(Then::Close);
    }
    notify::tell_metadata(talk);
    let answer = match talk.session.dialect.qresync && rule.tells_modseq {
        true => answer.with_highest_modseq(talk.session.selected.as_ref()),
        false => answer,
    };
    talk.wire.line(&answer.line(&request.tag));
    talk.wire.relieve().await?;
    Ok(answer.then)
}

/// Brings the client up to date with the selected mailbox, in the order of RFC 5465 section 7:
/// EXISTS, what it asked of new messages, searches that are kept current.
async fn tell_selected(
    talk: &mut Talk,
    expunges: Expunges,
    answered: Answered,
) -> Result<Synced, Ended> {
    let flags = notify::flag_news(&talk.session);
    let items = !notify::items_of_new(&talk.session).is_empty();
    let Some(selected) = &mut talk.session.selected else { return Ok(Synced::Current) };
    let wants_items = items || selected.contexts.ask_of_new();
    match wants_items {
        true if selected.arrived.is_some() => {}
        true => selected.arrived = Some(UidSet::new()),
        false => selected.arrived = None,
    }
    let manner = Manner { dialect: talk.session.dialect, expunges, flags };
    let synced = sync(selected, &mut talk.wire, manner, answered).await?;
    if synced == Synced::Current {
        fetch::tell_arrived(talk).await?;
        search::update_contexts(talk).await?;
    }
    Ok(synced)
}

/// The end of a session whose mailbox is not shared any more.
const WITHDRAWN: &str = "* BYE [UNAVAILABLE] The right to read the selected mailbox is withdrawn";

/// Whether the selected mailbox may not be read any more by whoever has it open.
fn lost_right(session: &Session) -> bool {
    session.selected.as_ref().is_some_and(|selected| !selected.rights().contains(Rights::READ))
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
    if search::uses_condstore(&command) {
        talk.enable_condstore();
    }
    match command {
        Command::Capability => Ok(session::capability(talk)),
        Command::Noop => Ok(Answer::ok("Nothing done")),
        Command::Check => Ok(Answer::ok("All is on disk")),
        Command::Logout => Ok(session::logout(talk)),
        Command::Id(fields) => Ok(session::id(talk, &fields)),
        Command::Language(wishes) => Ok(language::language(talk, &wishes)),
        Command::StartTls => Ok(session::start_tls(talk)),
        Command::Enable(names) => Ok(session::enable(talk, &names)),
        Command::Namespace => Ok(session::namespace(talk)),
        Command::Authenticate { mechanism, initial } => {
            authenticate::authenticate(talk, &mechanism, initial).await
        }
        Command::Unauthenticate => Ok(session::unauthenticate(talk)),
        Command::Compress => Ok(session::compress(talk)),
        Command::Login { name, password } => authenticate::login(talk, &name, password).await,
        Command::Select { mailbox, access, parameter } => {
            select::select(talk, &mailbox, access, &parameter).await
        }
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
        Command::Replace { numbers, old, mailbox, message } => {
            replace::replace(talk, numbers, &old, &mailbox, (*message, literals)).await
        }
        Command::Idle => idle::idle(talk).await,
        Command::UidBatches { messages, wanted } => {
            uid_batches::uid_batches(talk, messages, wanted).await
        }
        Command::Expunge => expunge::expunge(talk, None).await,
        Command::UidExpunge(set) => expunge::expunge(talk, Some(&set)).await,
        Command::Fetch { numbers, set, items, modifier } => {
            fetch::fetch(talk, numbers, &set, (items, modifier)).await
        }
        Command::Store { numbers, set, unchanged_since, change, answer, flags } => {
            let wanted = store::Wanted { unchanged_since, change, answer, flags };
            store::store(talk, numbers, &set, wanted).await
        }
        Command::Transfer { kind, numbers, set, mailbox } => {
            transfer::transfer(talk, kind, numbers, &set, &mailbox).await
        }
        Command::Search(request) => search::search(talk, &request).await,
        Command::Sort { criteria, request } => search::sort(talk, &criteria, &request).await,
        Command::Thread { algorithm, request } => search::thread(talk, algorithm, &request).await,
        Command::MultiSearch { sources, request } => {
            search::multi_search(talk, &sources, &request).await
        }
        Command::CancelUpdate(tags) => Ok(search::cancel_update(talk, &tags)),
        Command::Sharing(sharing) => run_sharing(talk, sharing).await,
    }
}

async fn run_sharing(talk: &mut Talk, command: Sharing) -> Result<Answer, Ended> {
    let answered = match command {
        Sharing::GetAcl(name) => acl::get(talk, &name),
        Sharing::SetAcl { mailbox, identifier, change } => {
            return acl::set(talk, &mailbox, &identifier, change).await;
        }
        Sharing::ListRights { mailbox, identifier } => acl::list(talk, &mailbox, &identifier),
        Sharing::MyRights(name) => acl::mine(talk, &name),
        Sharing::GetMetadata { mailbox, request } => {
            return metadata::get(talk, &mailbox, &request).await;
        }
        Sharing::SetMetadata { mailbox, values } => {
            return metadata::set(talk, &mailbox, values).await;
        }
        Sharing::Notify(request) => return notify::notify(talk, request).await,
        Sharing::GetQuota(root) => quota::get(talk, &root),
        Sharing::GetQuotaRoot(name) => quota::get_root(talk, &name),
        Sharing::SetQuota(root) => quota::set(talk, &root),
    };
    Ok(answered.unwrap_or_else(|refused| refused))
}

impl Talk {
    /// A command that uses CONDSTORE enables it (RFC 7162 section 3.1).
    fn enable_condstore(&mut self) {
        if self.session.dialect.condstore {
            return;
        }
        self.session.dialect.condstore = true;
        if let Some(selected) = &self.session.selected {
            let highest = selected.view.highest_modseq().bits();
            self.wire.line(&format!("* OK [HIGHESTMODSEQ {highest}] Highest"));
        }
    }

    /// Who is logged in; the table of commands has seen to it that somebody is.
    fn account(&self) -> Result<Account, Answer> {
        self.session.account.clone().ok_or_else(|| Answer::bad("Log in first"))
    }

    /// What is selected; the table of commands has seen to it that something is.
    fn selected(&self) -> Result<&Selected, Answer> {
        self.session.selected.as_ref().ok_or_else(|| Answer::bad("Select a mailbox first"))
    }

    /// The mailbox of that name, if the client may read it, or `absent`.
    fn mailbox(
        &self,
        name: &WireName,
        absent: fn() -> Answer,
    ) -> Result<(engine::Mailbox, String), Answer> {
        let found = self.find(name, rights::Deed::Read, absent)?;
        Ok((found.mailbox, found.place.shown))
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
