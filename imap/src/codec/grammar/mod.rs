//! From the bytes of a command to a [`Request`]: the formal syntax of RFC 3501 section 9 and of the
//! extensions, one function per rule.
//!
//! What a client may get wrong without doubt about its meaning is taken (a trailing space, `UTF-8`
//! in quoted strings); everything else is refused with a sentence that says what was expected
//! where.

mod append;
mod fetch;
mod list;
mod notify;
mod search;
mod select;
mod sharing;
#[cfg(test)]
mod tests;

use engine::SpecialUse;
use engine::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use engine::seal::Secret;

pub(crate) use self::append::destination;
pub(super) use self::fetch::section;

use super::SequenceSet;
use super::command::{
    Access, Command, IdField, Numbers, Request, Sharing, StatusItem, StoreAnswer, TransferKind,
};
use super::cursor::{Cursor, SearchBounds, SyntaxError};
use super::mailbox_name::{NameEncoding, WireName};

/// Why a command was not understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The tag, where one could be read.
    pub tag: Option<String>,
    /// A sentence for the client.
    pub sentence: String,
}

/// Longest tag; what is longer is no tag but garbage.
const TAG_BYTES_MAX: usize = 256;

/// `command = tag SP (command-any / command-auth / command-nonauth / command-select)`
pub fn parse(line: &[u8], literals: &[Vec<u8>]) -> Result<Request, Refusal> {
    parse_with(line, literals, NameEncoding::default(), SearchBounds::default())
}

/// The same, for a client whose mailbox names have another encoding, and for larger searches.
pub fn parse_with(
    line: &[u8],
    literals: &[Vec<u8>],
    names: NameEncoding,
    search: SearchBounds,
) -> Result<Request, Refusal> {
    let Some((tag, cursor)) = split_tag(line, literals) else {
        let sentence = "A command begins with a tag, such as 'a1 NOOP'".to_owned();
        return Err(Refusal { tag: None, sentence });
    };
    match command(&mut cursor.with_names(names).with_search_bounds(search)) {
        Ok(Some(command)) => Ok(Request { tag, command }),
        Ok(None) => Err(Refusal { tag: Some(tag), sentence: "Unknown command".to_owned() }),
        Err(error) => Err(Refusal { tag: Some(tag), sentence: format!("Not understood: {error}") }),
    }
}

/// The tag of a line, if it has one: for answers to commands that are refused half way.
pub fn tag_of(line: &[u8]) -> Option<String> {
    split_tag(line, &[]).map(|(tag, _)| tag)
}

/// The command's name in capitals, if the line begins with a tag and a name.
pub fn name_of(line: &[u8]) -> Option<String> {
    let (_, mut cursor) = split_tag(line, &[])?;
    let name = cursor.word().ok()?;
    Some(String::from_utf8_lossy(name).to_ascii_uppercase())
}

/// `tag = 1*<any ASTRING-CHAR except "+">`
fn split_tag<'a>(line: &'a [u8], literals: &'a [Vec<u8>]) -> Option<(String, Cursor<'a>)> {
    let mut cursor = Cursor::new(line, literals);
    let is_tag_char = |byte| super::cursor::is_astring_char(byte) && byte != b'+';
    let tag = cursor.run(is_tag_char, "a tag").ok()?;
    if tag.len() > TAG_BYTES_MAX {
        return None;
    }
    let tag = String::from_utf8_lossy(tag).into_owned();
    cursor.space().ok()?;
    Some((tag, cursor))
}

/// The command after its tag; `None` for a name that we do not know.
fn command(cursor: &mut Cursor<'_>) -> Result<Option<Command>, SyntaxError> {
    let name = cursor.word()?.to_ascii_uppercase();
    let command = match name.as_slice() {
        b"CAPABILITY" => Command::Capability,
        b"NOOP" => Command::Noop,
        b"LOGOUT" => Command::Logout,
        b"STARTTLS" => Command::StartTls,
        b"UNAUTHENTICATE" => Command::Unauthenticate,
        b"COMPRESS" => compress(cursor)?,
        b"NAMESPACE" => Command::Namespace,
        b"IDLE" => Command::Idle,
        b"NOTIFY" => notify::notify(cursor)?,
        b"CHECK" => Command::Check,
        b"CLOSE" => Command::Close,
        b"UNSELECT" => Command::Unselect,
        b"EXPUNGE" => Command::Expunge,
        b"LANGUAGE" => language(cursor)?,
        b"UIDBATCHES" => uid_batches(cursor)?,
        b"ID" => Command::Id(id(cursor)?),
        b"AUTHENTICATE" => authenticate(cursor)?,
        b"LOGIN" => login(cursor)?,
        b"ENABLE" => enable(cursor)?,
        b"SELECT" => select::select(cursor, Access::ReadWrite)?,
        b"EXAMINE" => select::select(cursor, Access::ReadOnly)?,
        b"CREATE" => create(cursor)?,
        b"DELETE" => Command::Delete(spaced_mailbox(cursor)?),
        b"RENAME" => Command::Rename { from: spaced_mailbox(cursor)?, to: spaced_mailbox(cursor)? },
        b"SUBSCRIBE" => Command::Subscribe(spaced_mailbox(cursor)?),
        b"UNSUBSCRIBE" => Command::Unsubscribe(spaced_mailbox(cursor)?),
        b"LIST" => Command::List(list::list(cursor)?),
        b"LSUB" => list::lsub(cursor)?,
        b"STATUS" => status(cursor)?,
        b"APPEND" => append::append(cursor)?,
        b"ESEARCH" => search::multi_search(cursor)?,
        b"CANCELUPDATE" => search::cancel_update(cursor)?,
        b"GETACL" => Command::Sharing(Sharing::GetAcl(spaced_mailbox(cursor)?)),
        b"SETACL" => sharing::set_acl(cursor)?,
        b"DELETEACL" => sharing::delete_acl(cursor)?,
        b"LISTRIGHTS" => sharing::list_rights(cursor)?,
        b"MYRIGHTS" => Command::Sharing(Sharing::MyRights(spaced_mailbox(cursor)?)),
        b"GETMETADATA" => sharing::get_metadata(cursor)?,
        b"SETMETADATA" => sharing::set_metadata(cursor)?,
        b"GETQUOTA" => sharing::get_quota(cursor)?,
        b"GETQUOTAROOT" => Command::Sharing(Sharing::GetQuotaRoot(spaced_mailbox(cursor)?)),
        b"SETQUOTA" => sharing::set_quota(cursor)?,
        b"UID" => {
            cursor.space()?;
            let name = cursor.word()?.to_ascii_uppercase();
            match numbered(cursor, &name, Numbers::Uid)? {
                Some(command) => command,
                None if name == b"EXPUNGE" => {
                    cursor.space()?;
                    Command::UidExpunge(SequenceSet::parse(cursor)?)
                }
                None => return Ok(None),
            }
        }
        _ => match numbered(cursor, &name, Numbers::Sequence)? {
            Some(command) => command,
            None => return Ok(None),
        },
    };
    cursor.end()?;
    Ok(Some(command))
}

/// The commands that have a form with UID before it.
fn numbered(
    cursor: &mut Cursor<'_>,
    name: &[u8],
    numbers: Numbers,
) -> Result<Option<Command>, SyntaxError> {
    Ok(Some(match name {
        b"FETCH" => fetch::fetch(cursor, numbers)?,
        b"STORE" => store(cursor, numbers)?,
        b"SEARCH" => search::search(cursor, numbers)?,
        b"SORT" => search::sort(cursor, numbers)?,
        b"THREAD" => search::thread(cursor, numbers)?,
        b"COPY" => transfer(cursor, numbers, TransferKind::Copy)?,
        b"MOVE" => transfer(cursor, numbers, TransferKind::Move)?,
        b"REPLACE" => append::replace(cursor, numbers)?,
        _ => return Ok(None),
    }))
}

/// `mailbox = "INBOX" / astring`
fn mailbox(cursor: &mut Cursor<'_>) -> Result<WireName, SyntaxError> {
    cursor.mailbox()
}

fn spaced_mailbox(cursor: &mut Cursor<'_>) -> Result<WireName, SyntaxError> {
    cursor.space()?;
    mailbox(cursor)
}

/// `language-cmd = "LANGUAGE" *(SP lang-range-quoted)`, each an astring (RFC 5255 section 3.6)
fn language(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mut wishes = Vec::new();
    while !cursor.at_end() {
        cursor.space()?;
        // `*` is a range of RFC 4647, which clients do not quote.
        wishes.push(String::from_utf8_lossy(&cursor.list_mailbox()?).into_owned());
    }
    Ok(Command::Language(wishes))
}

/// `uidbatches = "UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]` (RFC 10022)
fn uid_batches(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let messages = cursor.nz_number()?;
    let mut wanted = None;
    if !cursor.at_end() {
        cursor.space()?;
        let start = cursor.clone();
        let first = cursor.nz_number()?;
        cursor.expect(b':', "a colon between two numbers of batches")?;
        let last = cursor.nz_number()?;
        if last < first {
            return start.expected("numbers of batches from low to high");
        }
        wanted = Some((first, last));
    }
    Ok(Command::UidBatches { messages, wanted })
}

/// `id-params-list = "(" *(string SP nstring) ")" / nil` (RFC 2971)
fn id(cursor: &mut Cursor<'_>) -> Result<Vec<IdField>, SyntaxError> {
    cursor.space()?;
    if cursor.take_word("NIL") {
        return Ok(Vec::new());
    }
    cursor.list(|cursor| {
        let name = cursor.string()?.into_owned();
        cursor.space()?;
        Ok(IdField { name, value: cursor.nstring()?.map(|value| value.into_owned()) })
    })
}

/// `authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]` (RFC 4959)
fn authenticate(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let mechanism = String::from_utf8_lossy(cursor.atom()?).to_ascii_uppercase();
    let mut initial = None;
    if !cursor.at_end() {
        cursor.space()?;
        initial = Some(cursor.run(|byte| byte.is_ascii_graphic(), "base64")?.to_vec());
    }
    Ok(Command::Authenticate { mechanism, initial })
}

/// `login = "LOGIN" SP userid SP password`
fn login(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let name = cursor.astring()?.into_owned();
    cursor.space()?;
    let password = std::str::from_utf8(&cursor.astring()?).ok().map(|t| Secret::new(t.to_owned()));
    Ok(Command::Login { name, password })
}

/// `compress = "COMPRESS" SP algorithm`, of which there is one (RFC 4978 section 5)
fn compress(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    cursor.space()?;
    match cursor.take_word("DEFLATE") {
        true => Ok(Command::Compress),
        false => cursor.expected("DEFLATE"),
    }
}

/// `enable = "ENABLE" 1*(SP capability)` (RFC 5161)
fn enable(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mut names = Vec::new();
    while names.is_empty() || !cursor.at_end() {
        cursor.space()?;
        names.push(String::from_utf8_lossy(cursor.atom()?).to_ascii_uppercase());
    }
    Ok(Command::Enable(names))
}

/// `create = "CREATE" SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"]` (RFC
/// 6154)
fn create(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    let mut special_use = Ok(None);
    if !cursor.at_end() {
        cursor.space()?;
        cursor.expect(b'(', "(USE (…))")?;
        if !cursor.take_word("USE") {
            return cursor.expected("USE");
        }
        cursor.space()?;
        let offices = cursor.list(|cursor| {
            cursor.expect(b'\\', "an office such as \\Sent")?;
            Ok(String::from_utf8_lossy(cursor.atom()?).into_owned())
        })?;
        cursor.expect(b')', "a closing parenthesis")?;
        special_use = match offices.as_slice() {
            [] => Ok(None),
            [office] => special_use_named(office).map(Some).ok_or_else(|| office.clone()),
            [_, second, ..] => Err(second.clone()),
        };
    }
    Ok(Command::Create { mailbox, special_use })
}

/// The offices of RFC 6154 with their names, without the backslash.
pub const SPECIAL_USES: [(SpecialUse, &str); 6] = [
    (SpecialUse::Archive, "Archive"),
    (SpecialUse::Drafts, "Drafts"),
    (SpecialUse::Flagged, "Flagged"),
    (SpecialUse::Junk, "Junk"),
    (SpecialUse::Sent, "Sent"),
    (SpecialUse::Trash, "Trash"),
];

fn special_use_named(name: &str) -> Option<SpecialUse> {
    SPECIAL_USES
        .iter()
        .find(|(_, known)| known.eq_ignore_ascii_case(name))
        .map(|(office, _)| *office)
}

/// `status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"`
fn status(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    cursor.space()?;
    Ok(Command::Status { mailbox, items: status_items(cursor)? })
}

fn status_items(cursor: &mut Cursor<'_>) -> Result<Vec<StatusItem>, SyntaxError> {
    let start = cursor.clone();
    let mut items = cursor.list(status_item)?;
    if items.is_empty() {
        return start.expected("at least one status item");
    }
    // Each once: an answer's length is then bounded by the table, not by the client.
    let mut seen = Vec::new();
    items.retain(|item| {
        let new = !seen.contains(item);
        seen.push(*item);
        new
    });
    Ok(items)
}

fn status_item(cursor: &mut Cursor<'_>) -> Result<StatusItem, SyntaxError> {
    let start = cursor.clone();
    let name = cursor.word()?;
    match StatusItem::ALL.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes())) {
        Some((item, _)) => Ok(*item),
        None => start.expected("a status item such as MESSAGES"),
    }
}

/// `store = "STORE" SP sequence-set SP store-att-flags`
fn store(cursor: &mut Cursor<'_>, numbers: Numbers) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let set = SequenceSet::parse(cursor)?;
    cursor.space()?;
    let unchanged_since = select::unchanged_since(cursor)?;
    let change = match cursor.peek() {
        Some(b'+') => FlagChange::Add,
        Some(b'-') => FlagChange::Remove,
        _ => FlagChange::Replace,
    };
    if change != FlagChange::Replace {
        cursor.take(if change == FlagChange::Add { b'+' } else { b'-' });
    }
    let answer = if cursor.take_word("FLAGS") {
        StoreAnswer::Flags
    } else if cursor.take_word("FLAGS.SILENT") {
        StoreAnswer::Silent
    } else {
        return cursor.expected("FLAGS or FLAGS.SILENT");
    };
    cursor.space()?;
    let flags = if cursor.peek() == Some(b'(') { flag_list(cursor)? } else { bare_flags(cursor)? };
    Ok(Command::Store { numbers, set, unchanged_since, change, answer, flags })
}

/// `copy = "COPY" SP sequence-set SP mailbox`, and MOVE alike.
fn transfer(
    cursor: &mut Cursor<'_>,
    numbers: Numbers,
    kind: TransferKind,
) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let set = SequenceSet::parse(cursor)?;
    Ok(Command::Transfer { kind, numbers, set, mailbox: spaced_mailbox(cursor)? })
}

/// `flag-list = "(" [flag *(SP flag)] ")"`
fn flag_list(cursor: &mut Cursor<'_>) -> Result<FlagList, SyntaxError> {
    let mut flags = FlagList::default();
    cursor.list(|cursor| flag(cursor, &mut flags))?;
    Ok(flags)
}

/// `flag *(SP flag)`, the form of STORE without parentheses.
fn bare_flags(cursor: &mut Cursor<'_>) -> Result<FlagList, SyntaxError> {
    let mut flags = FlagList::default();
    flag(cursor, &mut flags)?;
    while !cursor.at_end() {
        cursor.space()?;
        flag(cursor, &mut flags)?;
    }
    Ok(flags)
}

/// `flag`; `\Recent` cannot be set and is passed over, an unknown `\Flag` is refused.
fn flag(cursor: &mut Cursor<'_>, flags: &mut FlagList) -> Result<(), SyntaxError> {
    let start = cursor.clone();
    if cursor.take(b'\\') {
        let name = cursor.atom()?;
        let known = SystemFlags::ALL.iter().find(|(_, known)| {
            known.get(1..).is_some_and(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        });
        match known {
            Some((flag, _)) => flags.system = flags.system.union(*flag),
            None if name.eq_ignore_ascii_case(b"Recent") => {}
            None => return start.expected("a system flag such as \\Seen"),
        }
        return Ok(());
    }
    let keyword = std::str::from_utf8(cursor.atom()?).ok().and_then(Keyword::new);
    let Some(keyword) = keyword else {
        return start.expected("a keyword of at most 255 characters");
    };
    if !flags.keywords.contains(&keyword) {
        flags.keywords.push(keyword);
    }
    Ok(())
}
