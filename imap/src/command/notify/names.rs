//! What a client knows of names, subscriptions and metadata, and what became of them (RFC 5465
//! sections 5.4 to 5.7).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use engine::error::ReadError;
use engine::ids::MailboxId;
use engine::{Account, Listing, MetadataScope, MetadataState};

use super::super::Talk;
use super::super::list::put_changed;
use super::super::rights::{Deed, may_read, needs};
use super::own::Deeds;
use super::{Group, Interest, Watching, put_metadata_names};
use crate::codec::command::{EventFilter, Events, Source, Visibility};
use crate::codec::mailbox_name::WireName;
use crate::codec::put;
use crate::session::Expunges;

/// Which mailboxes a group means, its names in UTF-8.
pub(super) enum Filter {
    /// The selected one; whether its expunges are told at any time.
    Selected(Expunges),
    /// Those of the client's own account.
    Personal,
    Subscribed,
    Subtree(Vec<String>),
    Mailboxes(Vec<String>),
}

impl Filter {
    pub(super) fn new(filter: EventFilter) -> Filter {
        // What is no name means no mailbox.
        let decoded = |names: Vec<WireName>| names.iter().filter_map(WireName::decode).collect();
        match filter {
            EventFilter::Selected => Filter::Selected(Expunges::Tell),
            EventFilter::SelectedDelayed => Filter::Selected(Expunges::Hold),
            EventFilter::Others(Source::Subscribed) => Filter::Subscribed,
            EventFilter::Others(Source::Subtree(names) | Source::SubtreeOne(names)) => {
                Filter::Subtree(decoded(names))
            }
            EventFilter::Others(Source::Mailboxes(names)) => Filter::Mailboxes(decoded(names)),
            // Mail can be delivered into any mailbox: RFC 5465 section 6.3.
            EventFilter::Others(Source::Inboxes | Source::Personal | Source::Selected) => {
                Filter::Personal
            }
        }
    }
}

/// What a client knows.
pub(super) struct Known {
    /// What it may see.
    pub(super) listing: Arc<Listing>,
    /// Whose the mailboxes are that are not its own.
    pub(super) owners: HashMap<MailboxId, Account>,
    /// Their names.
    foreign: BTreeSet<String>,
    /// Metadata of its own account, first, and of those that share something.
    metadata: Vec<(Account, MetadataState)>,
}

impl Known {
    /// As it is now.
    pub(super) fn now(talk: &Talk, account: &Account) -> Result<Known, ReadError> {
        let sharing = account.sharing_with();
        let accounts = std::iter::once(account).chain(&sharing);
        // Before the names: a mailbox is then not newer than its metadata.
        let metadata = accounts.map(|one| (one.clone(), one.metadata_state())).collect();
        let listing = talk.visible(account)?;
        let mut all = talk.owners(account)?;
        let shown = listing.mailboxes.iter();
        let foreign = shown.clone().filter(|entry| all.contains_key(&entry.id));
        let foreign = foreign.map(|entry| entry.name.clone()).collect();
        let owners = shown.filter_map(|entry| Some((entry.id, all.remove(&entry.id)?))).collect();
        Ok(Known { listing, owners, foreign, metadata })
    }

    fn is_subscribed(&self, name: &str) -> bool {
        self.listing.subscribed.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
    }

    fn is_meant(&self, filter: &Filter, name: &str) -> bool {
        match filter {
            Filter::Selected(_) => false,
            Filter::Personal => !self.foreign.contains(name),
            Filter::Subscribed => self.is_subscribed(name),
            Filter::Subtree(tops) => tops.iter().any(|top| is_below(name, top)),
            Filter::Mailboxes(names) => names.iter().any(|wanted| wanted == name),
        }
    }

    /// What of messages is told of a mailbox: several groups add up.
    pub(super) fn interest(&self, groups: &[Group], name: &str) -> Option<Interest> {
        let meant = groups.iter().filter(|group| group.events.messages);
        let mut meant = meant.filter(|group| self.is_meant(&group.filter, name)).peekable();
        meant.peek()?;
        let flags = meant.any(|group| group.events.flags);
        Some(if flags { Interest::MessagesAndFlags } else { Interest::Messages })
    }

    fn by_id(&self) -> HashMap<MailboxId, &str> {
        self.listing.mailboxes.iter().map(|entry| (entry.id, entry.name.as_str())).collect()
    }
}

fn is_below(name: &str, top: &str) -> bool {
    // The empty name is above all others.
    let rest = name.strip_prefix(top);
    rest.is_some_and(|rest| top.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// `* LIST (\NoAccess)` of mailboxes that the client may see and not read (RFC 5465 section 3.1).
pub(super) fn tell_no_access(talk: &mut Talk, watching: &Watching) {
    let Some(account) = talk.session.account.clone() else { return };
    let known = &watching.known;
    for entry in &known.listing.mailboxes {
        let Some(owner) = known.owners.get(&entry.id) else { continue };
        let meant = known.interest(&watching.groups, &entry.name).is_some();
        if meant && !may_read(owner, entry.id, account.number()) {
            talk.wire.out.extend_from_slice(b"* LIST (\\NoAccess) \"/\" ");
            put::mailbox(&mut talk.wire.out, &entry.name, talk.session.dialect.names());
            talk.wire.line("");
        }
    }
}

/// Tells what became of names, subscriptions and metadata, and watches the mailboxes that are meant
/// now. False if they are too many.
pub(super) fn tell(
    talk: &mut Talk,
    watching: &mut Watching,
    account: &Account,
) -> Result<bool, ReadError> {
    // Before the look: what is done later is told later, or known then.
    let own = watching.own.of_names();
    let now = Known::now(talk, account)?;
    let mut before = std::mem::replace(&mut watching.known, now);
    own.apply_to(Arc::make_mut(&mut before.listing));
    let (now, groups) = (&watching.known, &watching.groups);
    let wants = |kind: fn(&Events) -> bool, name: &str| {
        let meant = |filter: &Filter| match filter {
            // Of others, whether it came or went.
            Filter::Personal => now.is_meant(filter, name) && before.is_meant(filter, name),
            _ => now.is_meant(filter, name) || before.is_meant(filter, name),
        };
        groups.iter().any(|group| kind(&group.events) && meant(&group.filter))
    };
    let mut changed = changed_names(&before, now, &|name| wants(|events| events.names, name));
    let subscriptions: (BTreeSet<&String>, BTreeSet<&String>) =
        (before.listing.subscribed.iter().collect(), now.listing.subscribed.iter().collect());
    for name in subscriptions.0.symmetric_difference(&subscriptions.1) {
        if wants(|events| events.subscriptions, name) {
            changed.entry((*name).clone()).or_insert(None);
        }
    }
    put_changed(&mut talk.wire.out, talk.session.dialect.names(), &now.listing, &changed);
    let wants_server = groups.iter().any(|group| group.events.server_metadata);
    for (name, entries) in changed_metadata(&before, now, account, &own) {
        let wanted = match name.is_empty() {
            true => wants_server,
            false => wants(|events| events.mailbox_metadata, &name),
        };
        if wanted {
            put_metadata_names(talk, &name, &entries);
        }
    }
    watching.watch(talk, account)
}

/// Names that came, went or changed, with their old ones.
fn changed_names(
    before: &Known,
    now: &Known,
    wanted: &dyn Fn(&str) -> bool,
) -> BTreeMap<String, Option<String>> {
    let (old, new) = (before.by_id(), now.by_id());
    let mut changed: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut renamed: Vec<(&str, &str)> = Vec::new();
    for (id, name) in &new {
        match old.get(id) {
            Some(old) if old != name => renamed.push((old, name)),
            _ => {}
        }
    }
    let came = new.iter().filter(|(id, _)| !old.contains_key(*id));
    let went = old.iter().filter(|(id, _)| !new.contains_key(*id));
    for (_, name) in came.chain(went).filter(|(_, name)| wanted(name)) {
        changed.insert((*name).to_owned(), None);
        // Its parent has other children now.
        if let Some((parent, _)) = name.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            changed.entry(parent.to_owned()).or_insert(None);
        }
    }
    let all: HashMap<&str, &str> = renamed.iter().copied().collect();
    for (old, new) in &renamed {
        // What moved with a mailbox above it is told with that.
        let moved_above = old.match_indices('/').any(|(at, _)| {
            let (above, rest) = old.split_at(at);
            all.get(above).is_some_and(|to| new.strip_prefix(to) == Some(rest))
        });
        if !moved_above && (wanted(old) || wanted(new)) {
            changed.insert((*new).to_owned(), Some((*old).to_owned()));
        }
    }
    changed
}

/// Whether an entry is as the session itself has set it.
fn is_own(
    own: &Deeds,
    owner: &Account,
    (mailbox, scope, entry): (Option<MailboxId>, MetadataScope, &str),
    account: &Account,
) -> bool {
    let all = owner.metadata(mailbox, account.number());
    let now = all.iter().find(|one| one.scope == scope && one.name == entry);
    own.has_set((owner.number(), mailbox, scope), entry, now.map(|one| one.value.as_slice()))
}

/// Entries that changed, by mailbox as the client says it; of the server under the empty name.
pub(super) fn changed_metadata(
    before: &Known,
    now: &Known,
    account: &Account,
    own: &Deeds,
) -> BTreeMap<String, Vec<String>> {
    let names = now.by_id();
    let mut changed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (owner, state) in &now.metadata {
        let older = before.metadata.iter().find(|(other, _)| other.number() == owner.number());
        let Some((_, older)) = older else { continue };
        for (mailbox, scope, entry) in state.changed_since(older, account.number()) {
            let name = match mailbox {
                None if owner.number() == account.number() => "",
                None => continue,
                Some(id) => {
                    let rights = owner.rights_of(id, account.number());
                    let seen = rights.contains(needs(Deed::ReadMetadata));
                    let Some(name) = names.get(&id).filter(|_| seen) else { continue };
                    name
                }
            };
            if is_own(own, owner, (mailbox, scope, &entry), account) {
                continue;
            }
            let visibility = match scope {
                MetadataScope::Shared => Visibility::Shared,
                MetadataScope::Private(_) => Visibility::Private,
            };
            let entry = format!("{}{entry}", visibility.prefix());
            changed.entry(name.to_owned()).or_default().push(entry);
        }
    }
    changed
}
