//! NOTIFY (RFC 5465): news at any time, of the selected mailbox and of others.
//!
//! ```text
//! commit ─→ callback: marks what changed, wakes the connection ─→ tell_between, tell_others
//! ```
//! A callback marks and wakes, nothing else. Whoever is woken compares what it told last with what
//! there is now: so a mailbox that changes a thousand times while the client does not read is told
//! once, and nothing grows for it.
//!
//! # Invariants
//! 1. A watch begins before the first look, so that nothing falls between them.
//! 2. Only mailboxes that the client may read are watched, at most `notify_mailboxes_max`; what the
//!    rights are is asked again before each telling.
//! 3. What the session did itself is not told, and hides nothing that somebody else did.

mod enabled;
mod names;
mod own;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::error::ReadError;
use engine::ids::{Lsn, MailboxId};
use engine::mailbox::View;
use engine::uid_set::UidSet;
use engine::{Account, AccountSubscription, Mailbox, Subscription};
use tokio::sync::Notify;

pub(crate) use self::enabled::MetadataWatch;
pub(super) use self::enabled::{ring_for_metadata, tell_metadata, watch_metadata};
use self::names::{Filter, Known};
use self::own::Deeds;
pub(super) use self::own::{Own, note};
use super::rights::may_read;
use super::status::put_status;
use super::{Answer, Talk, WITHDRAWN, lost_right, tell_selected};
use crate::codec::command::{Events, FetchItem, NotifyRequest, NotifySet, StatusItem};
use crate::codec::put;
use crate::session::{Answered, Dialect, Expunges, FlagNews, Session, Synced};
use crate::stream::{Ended, blocking};

/// The events that there are, for who asks for another.
const EVENTS: &str = "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName \
                      SubscriptionChange MailboxMetadataChange ServerMetadataChange)";
/// A client asks for more than is watched for it.
const TOO_MANY: &str = "So many mailboxes are not watched";

/// What a session wants to be told.
pub(crate) struct Watching {
    groups: Vec<Group>,
    /// Rings when anything is marked.
    news: Arc<Notify>,
    /// Marked when names, subscriptions, metadata or rights changed.
    account_changed: Arc<AtomicBool>,
    _account: AccountSubscription,
    /// Which mailbox is listened to because it is selected.
    selected: Option<(MailboxId, Subscription)>,
    watched: Vec<Watched>,
    known: Known,
    /// What the session did since the last telling.
    own: Deeds,
}

/// Mailboxes and what is told of them.
struct Group {
    filter: Filter,
    events: Events,
}

/// A mailbox whose STATUS is told when it changes, unless it is selected.
struct Watched {
    mailbox: Mailbox,
    owner: Account,
    name: String,
    interest: Interest,
    changed: Arc<AtomicBool>,
    told: Figures,
    _subscription: Subscription,
}

/// Which changes of a mailbox matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interest {
    Messages,
    MessagesAndFlags,
}

/// What a client knows of a mailbox. New UIDs and the count tell whether messages came or went,
/// the MODSEQ whether anything changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Figures {
    uid_next: Option<u32>,
    message_count: u32,
    modseq: u64,
}

impl Figures {
    fn of(view: &View) -> Figures {
        Figures {
            uid_next: view.uid_next().map(|uid| uid.0),
            message_count: view.message_count(),
            modseq: view.highest_modseq().bits(),
        }
    }
}

impl Watching {
    /// Rings when there is something to tell.
    pub(crate) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// What is told of the selected mailbox; `None` if nothing is.
    fn selected_events(&self) -> Option<(&Events, Expunges)> {
        let found = self.groups.iter().find_map(|group| match group.filter {
            Filter::Selected(expunges) => Some((&group.events, expunges)),
            _ => None,
        });
        found.filter(|(events, _)| events.messages)
    }
}

/// Whether the client wants to know of flags that others change in the selected mailbox.
pub(super) fn flag_news(session: &Session) -> FlagNews {
    let Some(watching) = &session.watching else { return FlagNews::Tell };
    match watching.selected_events() {
        Some((events, _)) if events.flags => FlagNews::Tell,
        _ => FlagNews::Skip,
    }
}

/// What is told of messages that come into the selected mailbox; empty for no more than that.
pub(super) fn items_of_new(session: &Session) -> &[FetchItem] {
    let watching = session.watching.as_ref();
    let events = watching.and_then(|watching| watching.selected_events());
    events.map_or(&[], |(events, _)| &events.items)
}

/// NOTIFY
pub(super) async fn notify(talk: &mut Talk, request: NotifyRequest) -> Result<Answer, Ended> {
    let set = match request {
        NotifyRequest::None => {
            talk.session.watching = None;
            return Ok(Answer::ok("Nothing is told between commands"));
        }
        NotifyRequest::Unsupported => return Ok(Answer::no(EVENTS, "These events there are")),
        NotifyRequest::Set(set) => set,
    };
    let account = match talk.account() {
        Ok(account) => account,
        Err(answer) => return Ok(answer),
    };
    let wants_status = set.status;
    let mut watching = match blocking(|| begin(talk, &account, set)) {
        Ok(Some(watching)) => watching,
        Ok(None) => return Ok(Answer::no("NOTIFICATIONOVERFLOW", TOO_MANY)),
        Err(error) => return Ok(Answer::unreadable(&talk.session, &error)),
    };
    names::tell_no_access(talk, &watching);
    if wants_status {
        let selected = talk.session.selected.as_ref().map(|selected| selected.mailbox.id());
        for watched in &mut watching.watched {
            if Some(watched.mailbox.id()) != selected
                && let Err(error) = blocking(|| watched.put(talk))
            {
                return Ok(Answer::unreadable(&talk.session, &error));
            }
            talk.wire.relieve().await?;
        }
    }
    talk.session.watching = Some(watching);
    Ok(Answer::ok("You will be told"))
}

/// Listens to all that is asked for; `None` if it is too much.
fn begin(
    talk: &Talk,
    account: &Account,
    set: NotifySet,
) -> Result<Option<Box<Watching>>, ReadError> {
    let news = Arc::new(Notify::new());
    let account_changed = Arc::new(AtomicBool::new(false));
    let subscription = account.on_change(mark(&account_changed, &news));
    let groups = set
        .groups
        .into_iter()
        .map(|group| Group { filter: Filter::new(group.filter), events: group.events });
    let mut watching = Box::new(Watching {
        groups: groups.collect(),
        news,
        account_changed,
        _account: subscription,
        selected: None,
        watched: Vec::new(),
        known: Known::now(talk, account)?,
        own: Deeds::default(),
    });
    let fits = watching.watch(talk, account)?;
    Ok(fits.then_some(watching))
}

/// A callback that marks and rings.
fn mark(changed: &Arc<AtomicBool>, news: &Arc<Notify>) -> Arc<dyn Fn() + Send + Sync> {
    let (changed, news) = (Arc::clone(changed), Arc::clone(news));
    Arc::new(move || {
        changed.store(true, Ordering::Release);
        news.notify_one();
    })
}

impl Watching {
    /// Watches the mailboxes that the groups mean now; those that were watched go on. False if they
    /// are too many.
    fn watch(&mut self, talk: &Talk, account: &Account) -> Result<bool, ReadError> {
        let limit = talk.session.config.limits.notify_mailboxes_max;
        let mut before: std::collections::HashMap<MailboxId, Watched> =
            self.watched.drain(..).map(|watched| (watched.mailbox.id(), watched)).collect();
        for entry in &self.known.listing.mailboxes {
            let Some(interest) = self.known.interest(&self.groups, &entry.name) else { continue };
            let owner = self.known.owners.get(&entry.id).unwrap_or(account);
            if !may_read(owner, entry.id, account.number()) {
                continue;
            }
            if self.watched.len() == limit {
                return Ok(false);
            }
            if let Some(mut watched) = before.remove(&entry.id) {
                watched.name.clone_from(&entry.name);
                watched.interest = interest;
                self.watched.push(watched);
                continue;
            }
            let Some(mailbox) = owner.mailbox_by_id(entry.id)? else { continue };
            let changed = Arc::new(AtomicBool::new(false));
            let subscription = mailbox.on_change(mark(&changed, &self.news));
            let Some(view) = mailbox.view()? else { continue };
            self.watched.push(Watched {
                mailbox,
                owner: owner.clone(),
                name: entry.name.clone(),
                interest,
                changed,
                told: Figures::of(&view),
                _subscription: subscription,
            });
        }
        Ok(true)
    }

    /// Listens to the mailbox that is selected now, if anything of it is told.
    fn listen_to_selected(&mut self, session: &Session) {
        let selected = session.selected.as_ref().filter(|_| self.selected_events().is_some());
        let here = selected.map(|selected| selected.mailbox.id());
        if here == self.selected.as_ref().map(|(id, _)| *id) {
            return;
        }
        self.selected = selected.map(|selected| {
            let news = Arc::clone(&self.news);
            let listening = selected.mailbox.on_change(Arc::new(move || news.notify_one()));
            (selected.mailbox.id(), listening)
        });
    }
}

impl Watched {
    /// Tells the mailbox as it is.
    fn put(&mut self, talk: &mut Talk) -> Result<(), ReadError> {
        let Some(view) = self.mailbox.view()? else { return Ok(()) };
        self.put_view(talk, &view)
    }

    /// The client knows of the selected mailbox what its session has told.
    fn note_told(&mut self, session: &Session) {
        let flags_told =
            flag_news(session) == FlagNews::Tell || self.interest == Interest::Messages;
        if let Some(selected) = session.selected.as_ref().filter(|_| flags_told)
            && selected.ghosts.count() == 0
        {
            self.told = Figures::of(&selected.view);
        }
    }

    fn put_view(&mut self, talk: &mut Talk, view: &View) -> Result<(), ReadError> {
        self.told = Figures::of(view);
        let append_bytes_max = talk.session.config.limits.append_bytes_max;
        let dialect = talk.session.dialect;
        let name = (self.name.as_str(), dialect.names());
        let items = status_items(self.interest, dialect);
        put_status(&mut talk.wire.out, name, (view, append_bytes_max), &items)
    }

    /// Tells it if somebody else did something that matters, and the client may still know.
    fn put_change(&mut self, talk: &mut Talk, own: &[(UidSet, Lsn)]) -> Result<(), ReadError> {
        let viewer = talk.session.account.as_ref().map(Account::number);
        if !viewer.is_some_and(|viewer| may_read(&self.owner, self.mailbox.id(), viewer)) {
            return Ok(());
        }
        let Some(view) = self.mailbox.view()? else { return Ok(()) };
        let now = Figures::of(&view);
        let happened = match self.interest {
            Interest::MessagesAndFlags => now != self.told,
            Interest::Messages => Figures { modseq: self.told.modseq, ..now } != self.told,
        };
        if happened && self.is_own(&view, own)? {
            self.told = now;
            return Ok(());
        }
        if happened { self.put_view(talk, &view) } else { Ok(()) }
    }

    /// Whether what happened is that messages came which the session brought, and nothing else.
    fn is_own(&self, view: &View, own: &[(UidSet, Lsn)]) -> Result<bool, ReadError> {
        let brought: UidSet =
            UidSet::from_ranges(own.iter().flat_map(|(uids, _)| uids.ranges().iter().copied()));
        let (Some(last), now) = (brought.last(), Figures::of(view)) else { return Ok(false) };
        let count = u64::from(self.told.message_count) + brought.count();
        if u64::from(now.message_count) != count || now.uid_next != last.0.checked_add(1) {
            return Ok(false);
        }
        let Some(told) = Lsn::from_bits(self.told.modseq) else { return Ok(false) };
        if !self.mailbox.changed_after(view, told)?.without(&brought).is_empty() {
            return Ok(false);
        }
        for (uids, modseq) in own {
            if !self.mailbox.changed_after(view, *modseq)?.intersection(uids).is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What STATUS tells of a mailbox (RFC 5465 sections 3.1 and 5).
fn status_items(interest: Interest, dialect: Dialect) -> Vec<StatusItem> {
    let mut items = vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
    if interest == Interest::MessagesAndFlags {
        items.push(StatusItem::Unseen);
    }
    if interest == Interest::MessagesAndFlags || dialect.condstore {
        items.push(StatusItem::HighestModSeq);
    }
    items
}

/// Tells what happened while no command is in progress.
pub(crate) async fn tell_between(talk: &mut Talk) -> Result<(), Ended> {
    let Some(mut watching) = talk.session.watching.take() else { return Ok(()) };
    watching.listen_to_selected(&talk.session);
    let expunges = watching.selected_events().map(|(_, expunges)| expunges);
    talk.session.watching = Some(watching);
    if lost_right(&talk.session) {
        talk.wire.line(WITHDRAWN);
        return Err(Ended::Said);
    }
    if let Some(expunges) = expunges
        && tell_selected(talk, expunges, Answered::Nothing).await? == Synced::Gone
    {
        talk.wire.line("* BYE [UNAVAILABLE] The selected mailbox was deleted");
        return Err(Ended::Said);
    }
    tell_others(talk).await
}

/// Tells what happened elsewhere than in the selected mailbox.
pub(super) async fn tell_others(talk: &mut Talk) -> Result<(), Ended> {
    let Some(mut watching) = talk.session.watching.take() else { return Ok(()) };
    let account = talk.session.account.clone();
    if watching.account_changed.swap(false, Ordering::AcqRel)
        && let Some(account) = account
    {
        match blocking(|| names::tell(talk, &mut watching, &account)) {
            Ok(true) => {}
            Ok(false) => {
                talk.wire.line(&format!("* OK [NOTIFICATIONOVERFLOW] {TOO_MANY}"));
                return Ok(());
            }
            Err(error) => tracing::error!(%error, "changes of names could not be told"),
        }
        talk.wire.relieve().await?;
    }
    let selected = talk.session.selected.as_ref().map(|selected| selected.mailbox.id());
    for watched in &mut watching.watched {
        // What is selected now is told, if it changed, when it is selected no more.
        if Some(watched.mailbox.id()) == selected {
            watched.note_told(&talk.session);
            continue;
        }
        if !watched.changed.swap(false, Ordering::AcqRel) {
            continue;
        }
        let own = watching.own.brought(watched.mailbox.id());
        if let Err(error) = blocking(|| watched.put_change(talk, &own)) {
            tracing::error!(mailbox = %watched.name, %error, "mailbox could not be read");
        }
        talk.wire.relieve().await?;
    }
    talk.session.watching = Some(watching);
    Ok(())
}

/// `* METADATA name entry …`, without values (RFC 5464 section 4.4.2).
fn put_metadata_names(talk: &mut Talk, name: &str, entries: &[String]) {
    let (names, out) = (talk.session.dialect.names(), &mut talk.wire.out);
    out.extend_from_slice(b"* METADATA ");
    put::mailbox(out, name, names);
    for entry in entries {
        out.push(b' ');
        put::astring(out, entry.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
