//! Which conversation a message belongs to (THREADID of RFC 8474), and what it refers to.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::header::{Field, Fields};
use super::{FIELD_BYTES_MAX, ListRef, REFERENCES_MAX, StoredSummary, Summary};
use crate::ids::ThreadId;
use crate::width::u64_of;

/// Bytes kept of an id, as many as fit into a line (RFC 5322 section 2.1.1).
const ID_BYTES_MAX: usize = 998;

/// What all messages of a conversation have in common: the id of its first message.
///
/// That is the oldest reference, or the message's own id if it refers to none; empty if it has
/// neither, which makes it a conversation of its own.
pub fn thread_key(summary: &Summary) -> Vec<u8> {
    if let Some(root) = summary.references.first() {
        return root.as_bytes().to_vec();
    }
    let own = summary.envelope.message_id.as_deref().unwrap_or_default();
    message_ids(own).next().map(|id| id.into_owned().into_bytes()).unwrap_or_default()
}

/// The conversation's number in the account whose key this is, so that accounts share no numbers;
/// `None` where [`thread_key`] is empty and the caller gives the message a number of its own.
pub fn thread_id(summary: &Summary, account_key: &[u8; 32]) -> Option<ThreadId> {
    let key = thread_key(summary);
    if key.is_empty() {
        return None;
    }
    let hash = blake3::keyed_hash(account_key, &key);
    let (first, _) = hash.as_bytes().split_first_chunk::<8>()?;
    Some(ThreadId(u64::from_le_bytes(*first)))
}

/// The id of a message without its angle brackets, as [`StoredSummary::references`] has them.
pub fn own_id(summary: &StoredSummary) -> Option<Cow<'_, str>> {
    message_ids(summary.envelope().message_id.unwrap_or_default()).next()
}

/// The references by which THREAD=REFERENCES goes (RFC 5256 section 3): those of References, or the
/// first of In-Reply-To where References has none.
///
/// A summary has the ids of both fields in one list, those of References first. Where it kept its
/// header fields they are told apart; else all count, which only adds what In-Reply-To names.
pub fn ancestors(summary: &StoredSummary) -> ListRef<'_, &str> {
    let all = summary.references();
    let answered = summary.envelope().in_reply_to.unwrap_or_default();
    // Of one id, the only one counts wherever it stands.
    if all.count_left() < 2 || answered.is_empty() || !summary.common_headers_complete() {
        return all;
    }
    let Some(last) = all.clone().last() else { return all };
    if ends_references(summary.common_headers(), last) {
        return all;
    }
    let named = Fields::new(summary.common_headers()).filter(|field| field.is(b"references"));
    let mut known: Vec<Cow<'_, str>> = Vec::new();
    for id in named.flat_map(|field| message_ids(field.value)) {
        // Those of In-Reply-To stand behind: the last is one of References, and so are all.
        if id == last || known.len() >= REFERENCES_MAX {
            return all;
        }
        if !known.contains(&id) {
            known.push(id);
        }
    }
    all.first(u64_of(known.len()).max(1))
}

/// Whether there is a field References, written like this, that ends in an id: a look that mostly
/// saves reading the header field by field.
fn ends_references(header: &[u8], id: &str) -> bool {
    static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\nReferences:"));
    let Some(at) = NAME.find(header) else { return false };
    // The line end before it is not its own.
    let from = header.get(at.saturating_add(1)..).unwrap_or_default();
    let Some(field) = Fields::new(from).next() else { return false };
    let before = field.value.trim_ascii_end().strip_suffix(b">");
    let before = before.and_then(|value| value.strip_suffix(id.as_bytes()));
    before.is_some_and(|before| before.ends_with(b"<"))
}

/// Ids in References, then those of In-Reply-To, each once; the first and the last if there are
/// many.
pub(super) fn references(header: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let named = |name: &'static [u8]| Fields::new(header).filter(move |f: &Field<'_>| f.is(name));
    for field in named(b"references").chain(named(b"in-reply-to")) {
        let value = field.value;
        // The end is kept rather than the middle: it names the parent.
        let tail = value.len().saturating_sub(FIELD_BYTES_MAX * 8);
        if tail > 0 {
            let start = value.get(..FIELD_BYTES_MAX).unwrap_or(value);
            found.extend(message_ids(start).take(1).map(Cow::into_owned));
        }
        for id in message_ids(value.get(tail..).unwrap_or(value)).map(Cow::into_owned) {
            if found.contains(&id) {
                continue;
            }
            if found.len() >= REFERENCES_MAX {
                found.remove(1);
            }
            found.push(id);
        }
    }
    found
}

/// msg-id = "<" id-left "@" id-right ">": what stands between the brackets, quotes and blanks
/// removed.
fn message_ids(value: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let begin = memchr::memchr(b'<', rest)?;
            let inner = rest.get(begin + 1..)?;
            let end = memchr::memchr2(b'<', b'>', inner)?;
            let (id, after) = inner.split_at_checked(end)?;
            rest = after;
            let drops = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | 0);
            if id.is_empty() || after.first() != Some(&b'>') {
                continue;
            }
            if id.len() <= ID_BYTES_MAX && !id.iter().any(drops) {
                return Some(String::from_utf8_lossy(id));
            }
            let id = id.iter().copied().filter(|byte| !drops(byte)).take(ID_BYTES_MAX);
            let id: Vec<u8> = id.collect();
            if !id.is_empty() {
                return Some(Cow::Owned(String::from_utf8_lossy(&id).into_owned()));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_oldest_first_and_once() {
        let header =
            b"In-Reply-To: <b@x> (Ann's mail)\r\nReferences: <a@x>\r\n\t<\"b\"@x> <c @x>\r\n\r\n";
        assert_eq!(references(header), ["a@x", "b@x", "c@x"]);
        assert!(references(b"References: a@x <b <> <\r\n\r\n").is_empty());
    }

    #[test]
    fn ancestors_are_those_of_references_or_one_of_in_reply_to() {
        for (header, expected, reason) in [
            ("References: <a@x> <b@x>\r\nIn-Reply-To: <c@x>\r\n", &["a@x", "b@x"][..], "no c"),
            ("In-Reply-To: <c@x> <d@x>\r\n", &["c@x"], "only the first"),
            ("References: none\r\nIn-Reply-To: <c@x> <d@x>\r\n", &["c@x"], "none is valid"),
            ("References: <a@x> <a@x> <b@x>\r\n", &["a@x", "b@x"], "each once"),
            ("In-Reply-To: yours of May\r\n", &[], "no id"),
        ] {
            let summary = Summary::parse(format!("{header}\r\n").as_bytes());
            let summary = StoredSummary::of(&summary.encode()).unwrap();
            assert_eq!(ancestors(&summary).collect::<Vec<_>>(), expected, "{reason}");
        }
    }

    #[test]
    fn a_reply_is_in_the_thread_of_its_first_message() {
        let key = [7; 32];
        let first = Summary::parse(b"Message-ID: <a@x>\r\n\r\n");
        let reply = Summary::parse(b"Message-ID: <b@x>\r\nReferences: <a@x> <c@x>\r\n\r\n");
        assert_eq!(thread_id(&first, &key), thread_id(&reply, &key));
        assert_ne!(thread_id(&first, &key), thread_id(&first, &[8; 32]));
        assert_eq!(thread_id(&Summary::parse(b"\r\n"), &key), None);
    }

    #[test]
    fn thousands_of_references_keep_the_first_and_the_last() {
        let mut header = b"References:".to_vec();
        for number in 0..20_000 {
            header.extend_from_slice(format!(" <{number}@x>\r\n").as_bytes());
        }
        let found = references(&header);
        assert_eq!(found.len(), REFERENCES_MAX);
        assert_eq!((found[0].as_str(), found.last().unwrap().as_str()), ("0@x", "19999@x"));
    }
}
