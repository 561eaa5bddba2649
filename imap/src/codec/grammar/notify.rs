//! NOTIFY (RFC 5465 section 8).

use super::fetch::listed_items;
use super::search::mailboxes;
use crate::codec::command::{
    Command, EventFilter, EventGroup, Events, FetchItem, NotifyRequest, NotifySet, Sharing, Source,
};
use crate::codec::cursor::{Cursor, SyntaxError};

/// Groups of one NOTIFY.
const GROUPS_MAX: usize = 100;
/// Events of one group: there are eight.
const EVENTS_MAX: usize = 100;

/// `notify = "NOTIFY" SP ("SET" [SP "STATUS"] 1*(SP event-group) / "NONE")`
pub(super) fn notify(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    cursor.space()?;
    if cursor.take_word("NONE") {
        return Ok(Command::Sharing(Sharing::Notify(NotifyRequest::None)));
    }
    if !cursor.take_word("SET") {
        return cursor.expected("SET or NONE");
    }
    cursor.space()?;
    let status = cursor.take_word("STATUS");
    if status {
        cursor.space()?;
    }
    let mut set = NotifySet { status, groups: Vec::new() };
    let mut support = Support::All;
    loop {
        let start = cursor.clone();
        let group = event_group(cursor, &mut support)?;
        let is_selected = |group: &EventGroup| !matches!(group.filter, EventFilter::Others(_));
        if is_selected(&group) && set.groups.iter().any(is_selected) {
            return start.expected("selected or selected-delayed, and once");
        }
        set.groups.push(group);
        if set.groups.len() > GROUPS_MAX {
            return start.expected("at most 100 groups of events");
        }
        if cursor.at_end() {
            break;
        }
        cursor.space()?;
    }
    Ok(Command::Sharing(Sharing::Notify(match support {
        Support::All => NotifyRequest::Set(set),
        Support::Some => NotifyRequest::Unsupported,
    })))
}

/// Whether we have the events that are asked for.
#[derive(Clone, Copy)]
enum Support {
    All,
    Some,
}

/// `event-group = "(" filter-mailboxes SP events ")"`
fn event_group(cursor: &mut Cursor<'_>, support: &mut Support) -> Result<EventGroup, SyntaxError> {
    cursor.expect(b'(', "a group of events in parentheses")?;
    let filter = filter(cursor)?;
    cursor.space()?;
    let start = cursor.clone();
    let events = events(cursor, support)?;
    let beyond =
        events.names || events.subscriptions || events.mailbox_metadata || events.server_metadata;
    if beyond && !matches!(filter, EventFilter::Others(_)) {
        return start.expected("only events of messages for the selected mailbox");
    }
    cursor.expect(b')', "the end of a group of events")?;
    Ok(EventGroup { filter, events })
}

/// `filter-mailboxes`
fn filter(cursor: &mut Cursor<'_>) -> Result<EventFilter, SyntaxError> {
    let start = cursor.clone();
    Ok(match cursor.word()?.to_ascii_uppercase().as_slice() {
        b"SELECTED" => EventFilter::Selected,
        b"SELECTED-DELAYED" => EventFilter::SelectedDelayed,
        b"INBOXES" => EventFilter::Others(Source::Inboxes),
        b"PERSONAL" => EventFilter::Others(Source::Personal),
        b"SUBSCRIBED" => EventFilter::Others(Source::Subscribed),
        b"SUBTREE" => EventFilter::Others(Source::Subtree(mailboxes(cursor)?)),
        b"MAILBOXES" => EventFilter::Others(Source::Mailboxes(mailboxes(cursor)?)),
        _ => return start.expected("mailboxes such as selected or personal"),
    })
}

/// `events = ("(" event *(SP event) ")") / "NONE"`. Section 5: of new and expunged messages both
/// are told or none, and flags with them only.
fn events(cursor: &mut Cursor<'_>, support: &mut Support) -> Result<Events, SyntaxError> {
    let mut events = Events::default();
    if cursor.take_word("NONE") {
        return Ok(events);
    }
    let start = cursor.clone();
    let (mut added, mut expunged, mut annotations) = (false, false, false);
    let listed = cursor.list(|cursor| {
        match cursor.word()?.to_ascii_uppercase().as_slice() {
            b"MESSAGENEW" => {
                added = true;
                events.items = new_items(cursor)?;
            }
            b"MESSAGEEXPUNGE" => expunged = true,
            b"FLAGCHANGE" => events.flags = true,
            b"MAILBOXNAME" => events.names = true,
            b"SUBSCRIPTIONCHANGE" => events.subscriptions = true,
            b"MAILBOXMETADATACHANGE" => events.mailbox_metadata = true,
            b"SERVERMETADATACHANGE" => events.server_metadata = true,
            name => {
                annotations |= name == b"ANNOTATIONCHANGE";
                *support = Support::Some;
            }
        }
        Ok(())
    })?;
    if listed.is_empty() || listed.len() > EVENTS_MAX {
        return start.expected("at least one event, and not hundreds");
    }
    if added != expunged {
        return start.expected("MessageNew and MessageExpunge together");
    }
    if (events.flags || annotations) && !added {
        return start.expected("MessageNew and MessageExpunge with changes of flags");
    }
    events.messages = added;
    Ok(events)
}

/// `"MessageNew" [SP "(" fetch-att *(SP fetch-att) ")"]`
fn new_items(cursor: &mut Cursor<'_>) -> Result<Vec<FetchItem>, SyntaxError> {
    if cursor.peek() == Some(b' ') && cursor.peek_second() == Some(b'(') {
        cursor.space()?;
        return listed_items(cursor);
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<NotifyRequest, SyntaxError> {
        let line = format!(" {text}");
        let mut cursor = Cursor::new(line.as_bytes(), &[]);
        match notify(&mut cursor)? {
            Command::Sharing(Sharing::Notify(request)) => Ok(request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn groups_say_which_mailboxes_and_what() {
        let text = "set status (selected (MessageNew (uid flags uid) messageexpunge)) \
                    (subtree (a b) (MailboxName)) (mailboxes c NONE)";
        let NotifyRequest::Set(set) = parsed(text).unwrap() else { panic!() };
        assert!(set.status);
        assert_eq!(set.groups[0].events.items, [FetchItem::Uid, FetchItem::Flags]);
        assert!(set.groups[1].events.names && !set.groups[1].events.messages);
        assert_eq!(set.groups[2].events, Events::default());
        assert_eq!(parsed("none").unwrap(), NotifyRequest::None);
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        for (text, reason) in [
            ("SET (personal (MessageNew))", "MessageExpunge is missing"),
            ("SET (personal (MessageExpunge))", "MessageNew is missing"),
            ("SET (personal (FlagChange))", "flags alone"),
            ("SET (selected (MailboxName))", "no event of messages"),
            ("SET (selected NONE) (selected-delayed NONE)", "selected twice"),
            ("SET (personal ())", "no event"),
            ("SET", "no group"),
            ("SET (inboxes (MessageNew () MessageExpunge))", "no item"),
        ] {
            assert!(parsed(text).is_err(), "{reason}");
        }
        let unsupported = "SET (personal (MessageNew MessageExpunge AnnotationChange))";
        assert_eq!(parsed(unsupported).unwrap(), NotifyRequest::Unsupported);
    }
}
