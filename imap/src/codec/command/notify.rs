//! What NOTIFY asks to be told (RFC 5465).

use super::{FetchItem, Source};

/// NOTIFY
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotifyRequest {
    /// NONE
    None,
    /// SET
    Set(NotifySet),
    /// SET with an event that we do not have: it is answered with those that we have.
    Unsupported,
}

/// NOTIFY SET
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NotifySet {
    /// STATUS: the mailboxes as they are now are told first.
    pub status: bool,
    /// At least one.
    pub groups: Vec<EventGroup>,
}

/// Mailboxes and what of them is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventGroup {
    /// Which.
    pub filter: EventFilter,
    /// What.
    pub events: Events,
}

/// Whose events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventFilter {
    /// selected: the mailbox that is selected, its expunges at any time.
    Selected,
    /// selected-delayed: its expunges when a command is answered that may tell them.
    SelectedDelayed,
    /// Mailboxes that are not selected; never [`Source::Selected`] or [`Source::SubtreeOne`].
    Others(Source),
}

/// Kinds of events; all of them false is NONE.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Events {
    /// MessageNew and MessageExpunge, which come together only.
    pub messages: bool,
    /// What MessageNew tells of messages in the selected mailbox.
    pub items: Vec<FetchItem>,
    /// FlagChange
    pub flags: bool,
    /// MailboxName
    pub names: bool,
    /// SubscriptionChange
    pub subscriptions: bool,
    /// MailboxMetadataChange
    pub mailbox_metadata: bool,
    /// ServerMetadataChange
    pub server_metadata: bool,
}
