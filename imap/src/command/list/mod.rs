//! LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9) with CHILDREN (3348), LIST-EXTENDED (5258),
//! LIST-STATUS (5819) and SPECIAL-USE (6154).
//!
//! Levels above a mailbox that are no mailboxes themselves are shown as `\Noselect`, so that a
//! client that opens the tree level by level finds everything.

mod pattern;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use engine::{Listing, MailboxEntry, SpecialUse};

use self::pattern::Pattern;
use super::rights::Deed;
use super::status::put_status;
use super::{Answer, Talk, acl, metadata};
use crate::codec::command::{ListRequest, StatusItem};
use crate::codec::grammar::SPECIAL_USES;
use crate::codec::mailbox_name::{self, NameEncoding, WireName};
use crate::codec::put;
use crate::stream::{Ended, blocking};

/// LIST
pub(super) async fn list(talk: &mut Talk, request: &ListRequest) -> Result<Answer, Ended> {
    let patterns = patterns(&request.reference, &request.patterns);
    if !request.extended && request.patterns.iter().all(|pattern| pattern.0.is_empty()) {
        talk.wire.line("* LIST (\\Noselect) \"/\" \"\"");
        return Ok(Answer::ok("The separator is /"));
    }
    let listing = match listing(talk) {
        Ok(listing) => listing,
        Err(answer) => return Ok(answer),
    };
    let tree = Tree::new(&listing);
    let names = talk.session.dialect.names();
    for shown in tree.list(request, &patterns) {
        shown.put(&mut talk.wire.out, "LIST", names);
        if shown.exists
            && shown.is_selected
            && let Err(answer) = put_beside(talk, &shown.name, request)
        {
            return Ok(answer);
        }
        talk.wire.relieve().await?;
    }
    Ok(Answer::ok("Listed"))
}

/// LSUB
pub(super) async fn lsub(
    talk: &mut Talk,
    reference: &WireName,
    pattern: &WireName,
) -> Result<Answer, Ended> {
    if pattern.0.is_empty() {
        talk.wire.line("* LSUB (\\Noselect) \"/\" \"\"");
        return Ok(Answer::ok("The separator is /"));
    }
    let patterns = patterns(reference, std::slice::from_ref(pattern));
    let listing = match listing(talk) {
        Ok(listing) => listing,
        Err(answer) => return Ok(answer),
    };
    for shown in Tree::new(&listing).lsub(&patterns) {
        shown.put(&mut talk.wire.out, "LSUB", talk.session.dialect.names());
        talk.wire.relieve().await?;
    }
    Ok(Answer::ok("Listed"))
}

/// What the client may see: its own mailboxes and those that others share.
fn listing(talk: &Talk) -> Result<Arc<Listing>, Answer> {
    let account = talk.account()?;
    let visible = blocking(|| talk.visible(&account));
    visible.map_err(|error| Answer::unreadable(&talk.session, &error))
}

/// STATUS of a mailbox that is listed; nothing of one that was deleted meanwhile, or that the
/// client may see and not read.
fn put_listed(talk: &mut Talk, name: &str, items: &[StatusItem]) -> Result<(), Answer> {
    let Some(place) = talk.place_named(name)? else { return Ok(()) };
    let Ok(found) = talk.find_at(place, Deed::Read, Answer::no_mailbox) else { return Ok(()) };
    let append_bytes_max = talk.session.config.limits.append_bytes_max;
    let (name, out) = ((name, talk.session.dialect.names()), &mut talk.wire.out);
    let put = blocking(|| match found.mailbox.view()? {
        Some(view) => put_status(out, name, (&view, append_bytes_max), items),
        None => Ok(()),
    });
    put.map_err(|error| Answer::unreadable(&talk.session, &error))
}

/// What stands beside a mailbox: STATUS (RFC 5819), rights (RFC 8440) and metadata (RFC 9590).
fn put_beside(talk: &mut Talk, name: &str, request: &ListRequest) -> Result<(), Answer> {
    if !request.return_status.is_empty() {
        put_listed(talk, name, &request.return_status)?;
    }
    if request.return_rights
        && let Some(place) = talk.place_named(name)?
    {
        let rights = blocking(|| place.rights());
        let rights = rights.map_err(|error| Answer::unreadable(&talk.session, &error))?;
        let names = talk.session.dialect.names();
        acl::put_mine(&mut talk.wire.out, (name, names), rights);
    }
    if request.return_metadata.is_empty() {
        return Ok(());
    }
    metadata::put_listed(talk, name, &request.return_metadata)
}

/// Reference and pattern put together. What is no name in any encoding matches none.
fn patterns(reference: &WireName, patterns: &[WireName]) -> Vec<Pattern> {
    let whole = |pattern: &WireName| {
        let wire = [reference.0.as_slice(), pattern.0.as_slice()].concat();
        mailbox_name::decode(&wire).and_then(|text| Pattern::new(&text))
    };
    patterns.iter().filter_map(whole).collect()
}

/// `* LIST` of names that changed, with their old ones (RFC 5465 section 5.4, RFC 9051 section
/// 6.3.9.7).
pub(super) fn put_changed(
    out: &mut Vec<u8>,
    names: NameEncoding,
    listing: &Listing,
    changed: &BTreeMap<String, Option<String>>,
) {
    if changed.is_empty() {
        return;
    }
    let request = ListRequest { extended: true, return_subscribed: true, ..ListRequest::default() };
    let tree = Tree::new(listing);
    for (name, old_name) in changed {
        if let Some(mut shown) = tree.shown(&request, &[], name) {
            shown.old_name.clone_from(old_name);
            shown.put(out, "LIST", names);
        }
    }
}

/// A line of LIST or LSUB.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    name: String,
    attributes: Vec<&'static str>,
    /// Whether it is a mailbox.
    exists: bool,
    /// Whether it was selected itself, not only for names below it: nothing but LIST is told of
    /// those (RFC 8440 section 4).
    is_selected: bool,
    /// Whether something below it, not itself, was selected as subscribed.
    child_subscribed: bool,
    /// What it was called before, if that is told.
    old_name: Option<String>,
}

impl Shown {
    fn put(&self, out: &mut Vec<u8>, response: &str, names: NameEncoding) {
        let attributes = self.attributes.join(" ");
        out.extend_from_slice(format!("* {response} ({attributes}) \"/\" ").as_bytes());
        put::mailbox(out, &self.name, names);
        if self.child_subscribed {
            out.extend_from_slice(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
        }
        if let Some(old) = &self.old_name {
            out.extend_from_slice(b" (\"OLDNAME\" (");
            put::mailbox(out, old, names);
            out.extend_from_slice(b"))");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The mailboxes with the levels above them; `None` where a level is no mailbox.
struct Tree<'a> {
    levels: BTreeMap<&'a str, Option<&'a MailboxEntry>>,
    subscribed: BTreeSet<&'a str>,
}

/// Names above `name`, nearest first.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices('/').filter_map(|(at, _)| name.get(..at)).filter(|name| !name.is_empty())
}

impl<'a> Tree<'a> {
    fn new(listing: &'a Listing) -> Tree<'a> {
        let mut levels = BTreeMap::new();
        for entry in &listing.mailboxes {
            levels.insert(entry.name.as_str(), Some(entry));
            for name in above(&entry.name) {
                levels.entry(name).or_insert(None);
            }
        }
        Tree { levels, subscribed: listing.subscribed.iter().map(String::as_str).collect() }
    }

    fn has_children(&self, name: &str) -> bool {
        let below = format!("{name}/");
        let next = self.levels.range(below.as_str()..).next();
        next.is_some_and(|(name, _)| name.starts_with(&below))
    }

    fn subscribed_below(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let below = format!("{name}/");
        let range = (Bound::Included(below.as_str()), Bound::Unbounded);
        let from = self.subscribed.range::<str, _>(range).copied();
        from.take_while(move |name| name.starts_with(&below))
    }

    /// Whether CHILDINFO says something of a name: names below it are subscribed, and of a name
    /// that is not itself, that they are not all listed anyway (RFC 5258 section 4: servers SHOULD
    /// suppress redundant CHILDINFO responses).
    fn tells_of_children(&self, name: &str, patterns: &[Pattern]) -> bool {
        let listed = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let told = self.subscribed.contains(name);
        self.subscribed_below(name).any(|below| told || !listed(below))
    }

    fn list(&self, request: &ListRequest, patterns: &[Pattern]) -> Vec<Shown> {
        let mut names: BTreeSet<&str> = self.levels.keys().copied().collect();
        if request.select_subscribed {
            names.extend(&self.subscribed);
            if request.recursive_match {
                names.extend(self.subscribed.iter().flat_map(|name| above(name)));
            }
        }
        let matching = names.into_iter().filter(|name| patterns.iter().any(|p| p.matches(name)));
        let mut shown: Vec<Shown> =
            matching.filter_map(|name| self.shown(request, patterns, name)).collect();
        // INBOX first, as people expect it.
        shown.sort_by_key(|shown| shown.name != "INBOX");
        shown
    }

    /// The line for a name that matches; `None` if the selection leaves it out.
    fn shown(&self, request: &ListRequest, patterns: &[Pattern], name: &str) -> Option<Shown> {
        let entry = self.levels.get(name).copied().flatten();
        let office = entry.and_then(|entry| entry.special_use);
        let subscribed = self.subscribed.contains(name);
        let is_selected = (!request.select_subscribed || subscribed)
            && (!request.select_special_use || office.is_some());
        let child_subscribed = request.recursive_match
            && request.select_subscribed
            && self.tells_of_children(name, patterns);
        if !is_selected && !child_subscribed {
            return None;
        }
        let mut attributes = Vec::new();
        if entry.is_none() {
            attributes.push(if request.extended { "\\NonExistent" } else { "\\Noselect" });
        }
        attributes.push(if self.has_children(name) { "\\HasChildren" } else { "\\HasNoChildren" });
        if subscribed && (request.return_subscribed || request.select_subscribed) {
            attributes.push("\\Subscribed");
        }
        attributes.extend(office.and_then(attribute_of));
        let (name, exists) = (name.to_owned(), entry.is_some());
        Some(Shown { name, attributes, exists, is_selected, child_subscribed, old_name: None })
    }

    /// Subscribed names; with a pattern that ends in `%` also levels above them, as `\Noselect`.
    fn lsub(&self, patterns: &[Pattern]) -> Vec<Shown> {
        let mut found: BTreeMap<&str, bool> = BTreeMap::new();
        for name in &self.subscribed {
            for pattern in patterns {
                if pattern.matches(name) {
                    found.insert(name, true);
                }
                if pattern.ends_in_percent() {
                    for level in above(name).filter(|level| pattern.matches(level)) {
                        found.entry(level).or_insert(false);
                    }
                }
            }
        }
        let shown = |(name, subscribed): (&str, bool)| {
            let exists = self.levels.get(name).is_some_and(Option::is_some);
            let attributes = if subscribed && exists { Vec::new() } else { vec!["\\Noselect"] };
            let name = name.to_owned();
            let (is_selected, child_subscribed) = (subscribed, false);
            Shown { name, attributes, exists, is_selected, child_subscribed, old_name: None }
        };
        found.into_iter().map(shown).collect()
    }
}

fn attribute_of(office: SpecialUse) -> Option<&'static str> {
    let name = SPECIAL_USES.iter().find(|(known, _)| *known == office).map(|(_, name)| *name)?;
    Some(match name {
        "Archive" => "\\Archive",
        "Drafts" => "\\Drafts",
        "Flagged" => "\\Flagged",
        "Junk" => "\\Junk",
        "Sent" => "\\Sent",
        _ => "\\Trash",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::MailboxId;

    fn account() -> Listing {
        let entry = |name: &str, special_use| MailboxEntry {
            id: MailboxId::default(),
            name: name.to_owned(),
            special_use,
        };
        Listing {
            mailboxes: vec![
                entry("INBOX", None),
                entry("INBOX/a", None),
                entry("Sent", Some(SpecialUse::Sent)),
                entry("x/y/z", None),
            ],
            subscribed: vec!["INBOX".into(), "gone/deep".into(), "x/y/z".into()],
        }
    }

    fn lines(request: &ListRequest, pattern: &str) -> Vec<String> {
        let listing = account();
        let patterns = [Pattern::new(pattern).unwrap()];
        let mut out = Vec::new();
        for shown in Tree::new(&listing).list(request, &patterns) {
            shown.put(&mut out, "LIST", NameEncoding::default());
        }
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn levels_that_are_no_mailboxes_are_shown_as_such() {
        let plain = ListRequest::default();
        assert_eq!(
            lines(&plain, "%"),
            [
                "* LIST (\\HasChildren) \"/\" \"INBOX\"",
                "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"",
                "* LIST (\\Noselect \\HasChildren) \"/\" \"x\"",
            ]
        );
        assert_eq!(lines(&plain, "*").len(), 6);
        assert_eq!(lines(&plain, "inbox"), ["* LIST (\\HasChildren) \"/\" \"INBOX\""]);
        assert_eq!(lines(&plain, "x/%"), ["* LIST (\\Noselect \\HasChildren) \"/\" \"x/y\""]);
    }

    #[test]
    fn subscribed_names_can_be_selected() {
        let request = ListRequest {
            select_subscribed: true,
            recursive_match: true,
            extended: true,
            ..ListRequest::default()
        };
        assert_eq!(
            lines(&request, "%"),
            [
                "* LIST (\\HasChildren \\Subscribed) \"/\" \"INBOX\"",
                "* LIST (\\NonExistent \\HasNoChildren) \"/\" \"gone\" \
                 (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                "* LIST (\\NonExistent \\HasChildren) \"/\" \"x\" (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            ]
        );
    }

    #[test]
    fn lsub_shows_levels_above_subscribed_names() {
        let listing = account();
        let tree = Tree::new(&listing);
        let names = |pattern: &str| -> Vec<(String, usize)> {
            let shown = tree.lsub(&[Pattern::new(pattern).unwrap()]);
            shown.into_iter().map(|shown| (shown.name, shown.attributes.len())).collect()
        };
        assert_eq!(names("%"), [("INBOX".into(), 0), ("gone".into(), 1), ("x".into(), 1)]);
        assert_eq!(names("*"), [("INBOX".into(), 0), ("gone/deep".into(), 1), ("x/y/z".into(), 0)]);
    }
}
