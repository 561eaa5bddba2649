//! How news are put: FETCH with flags, VANISHED, FLAGS; in the dialect of the client.

use engine::flags::{Keyword, SystemFlags};
use engine::ids::{Lsn, Uid};
use engine::mailbox::{KeywordSet, RowRef};
use engine::rights::Rights;
use engine::uid_set::UidSet;

use super::dialect::Dialect;
use super::selected::{ALL_FLAGS, Selected, changeable};
use crate::codec::command::Access;
use crate::codec::put;
use crate::stream::{Ended, Wire};

/// Ranges in one VANISHED: what goes beyond is told by the next one.
const VANISHED_RANGES_MAX: usize = 4096;

/// `* n FETCH (`, or `* u UIDFETCH (` where the client has no numbers (RFC 9586). `UID u` follows
/// where `with_uid` asks for it and the head does not tell it.
pub(crate) fn put_head(out: &mut Vec<u8>, dialect: Dialect, number: u32, uid: Uid) {
    out.extend_from_slice(b"* ");
    if dialect.uid_only {
        put::number(out, u64::from(uid.0));
        out.extend_from_slice(b" UIDFETCH (");
    } else {
        put::number(out, u64::from(number));
        out.extend_from_slice(b" FETCH (");
    }
}

/// `* n FETCH (UID u FLAGS (…) MODSEQ (m))`; without flags the client knows them, MODSEQ is for
/// those who enabled it.
pub(crate) fn put_flags(
    out: &mut Vec<u8>,
    dialect: Dialect,
    number: u32,
    row: RowRef<'_>,
    flags: Option<&mut FlagsText>,
    selected: &Selected,
) {
    put_head(out, dialect, number, row.uid());
    let start = out.len();
    let separate = |out: &mut Vec<u8>| {
        if out.len() > start {
            out.push(b' ');
        }
    };
    if !dialect.uid_only {
        out.extend_from_slice(b"UID ");
        put::number(out, u64::from(row.uid().0));
    }
    if let Some(flags) = flags {
        separate(out);
        flags.put(out, row, selected.view.keywords());
    }
    if dialect.condstore {
        separate(out);
        put_modseq(out, selected.history.told(row.modseq()));
    }
    out.extend_from_slice(b")\r\n");
}

/// `FLAGS (…)` of the message before: neighbours mostly have the same flags, so their text is made
/// once and put again.
#[derive(Default)]
pub(crate) struct FlagsText {
    flags: SystemFlags,
    keywords: KeywordSet,
    text: Vec<u8>,
}

impl FlagsText {
    /// Of a row; `known` is the list of its mailbox's keywords, the same each time.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, row: RowRef<'_>, known: &[Keyword]) {
        let (flags, keywords) = (row.flags(), row.keywords());
        if self.text.is_empty() || flags != self.flags || keywords != self.keywords.as_slice() {
            self.text.clear();
            self.text.extend_from_slice(b"FLAGS ");
            put::flags_named(&mut self.text, flags, keywords, known);
            self.flags = flags;
            self.keywords = keywords.into();
        }
        out.extend_from_slice(&self.text);
    }
}

/// `MODSEQ (m)`
pub(crate) fn put_modseq(out: &mut Vec<u8>, modseq: Lsn) {
    out.extend_from_slice(b"MODSEQ (");
    put::number(out, modseq.bits());
    out.push(b')');
}

/// `* VANISHED 1,3:5`, in as many answers as it takes (RFC 7162 section 3.2.10); `earlier` stands
/// before the set.
pub(crate) async fn put_vanished(
    wire: &mut Wire,
    earlier: &str,
    uids: &UidSet,
) -> Result<(), Ended> {
    for ranges in uids.ranges().chunks(VANISHED_RANGES_MAX) {
        wire.out.extend_from_slice(b"* VANISHED ");
        wire.out.extend_from_slice(earlier.as_bytes());
        for (index, &(first, last)) in ranges.iter().enumerate() {
            if index > 0 {
                wire.out.push(b',');
            }
            put::number(&mut wire.out, u64::from(first));
            if last > first {
                wire.out.push(b':');
                put::number(&mut wire.out, u64::from(last));
            }
        }
        wire.out.extend_from_slice(b"\r\n");
        wire.relieve().await?;
    }
    Ok(())
}

/// `* FLAGS` and `* OK [PERMANENTFLAGS`
pub(crate) fn put_flags_known(selected: &Selected, wire: &mut Wire) {
    let keywords = selected.view.keywords();
    wire.out.extend_from_slice(b"* FLAGS ");
    put::flags_known(&mut wire.out, keywords, "");
    wire.out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
    match selected.access {
        Access::ReadWrite => put_changeable(selected.rights(), keywords, &mut wire.out),
        Access::ReadOnly => wire.out.extend_from_slice(b"()"),
    }
    wire.line("] Flags permitted");
}

/// The flags that a client may change (RFC 4314 section 5.1.1); new keywords with the others.
fn put_changeable(rights: Rights, keywords: &[Keyword], out: &mut Vec<u8>) {
    if rights.contains(ALL_FLAGS) {
        put::flags_known(out, keywords, " \\*");
        return;
    }
    let changeable = changeable(rights);
    let system = SystemFlags::ALL.iter().filter(|(flag, _)| changeable.contains(*flag));
    let mut names: Vec<&str> = system.map(|(_, name)| *name).collect();
    if rights.contains(Rights::WRITE) {
        names.extend(keywords.iter().map(Keyword::as_str));
        names.push("\\*");
    }
    out.extend_from_slice(format!("({})", names.join(" ")).as_bytes());
}
