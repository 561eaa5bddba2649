//! Where the bytes of a stopped store are: the log by what its groups are made of, state by table.
//!
//! ```text
//! space DIR
//! ```
//!
//! Question: what does a byte of mail cost on disk, and for what? Dataset: the data directory of a
//! stopped store. Unit: bytes. Segments are read as `pillarbox` writes them; no key is needed,
//! because what an item is stands outside its seal.

#![allow(missing_docs, reason = "a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use engine::ids::BlobTag;
use engine::limits::GROUP_ALIGNMENT;
use engine::log::Item;
use engine::log::format::group::{GROUP_HEADER_BYTES, Group};
use engine::log::format::item::{CHUNK_HEADER_BYTES, RECORD_HEADER_BYTES};
use engine::log::format::segment::GROUPS_AT;
use engine::seal::BlobHeader;
use engine::width::{u64_of, usize_of};

/// Bytes and counts, by what they are for.
#[derive(Default)]
struct Space {
    found: BTreeMap<&'static str, (u64, u64)>,
    /// The packed blob seen last: its further chunks are of its body.
    packed: Option<BlobTag>,
}

impl Space {
    fn add(&mut self, what: &'static str, bytes: u64) {
        let (sum, count) = self.found.entry(what).or_default();
        *sum += bytes;
        *count += 1;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("space DIR")?;
    let volume = Path::new(&directory).join("volumes/main");
    let mut space = Space::default();
    for path in files(&volume.join("log"))? {
        segment(&path, &mut space)?;
    }
    for path in files(&volume.join("state"))? {
        space.add("state: files", allocated(&path)?);
    }
    for (what, (bytes, count)) in &space.found {
        println!("{what:32} {bytes:>12} {count:>9}");
    }
    let total: u64 = space.found.values().map(|(bytes, _)| bytes).sum();
    println!("{:32} {total:>12}", "all");
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

fn allocated(path: &Path) -> Result<u64, Box<dyn Error>> {
    const BLOCK_BYTES: u64 = 512;
    Ok(fs::metadata(path)?.blocks() * BLOCK_BYTES)
}

/// Walks the groups of a segment. What follows the last is its footer, or zeros written ahead.
fn segment(path: &Path, space: &mut Space) -> Result<(), Box<dyn Error>> {
    let file = fs::read(path)?;
    let mut at = usize_of(GROUPS_AT);
    space.add("log: segment headers", GROUPS_AT);
    loop {
        let rest = file.get(at..).unwrap_or_default();
        let aligned = rest.get(at.next_multiple_of(GROUP_ALIGNMENT) - at..).unwrap_or_default();
        let (group, rest) = match (Group::decode(rest), Group::decode(aligned)) {
            (Ok(group), _) => (group, rest),
            (_, Ok(group)) => (group, aligned),
            _ => break,
        };
        let start = file.len() - rest.len();
        if start > at {
            space.add("log: padding", u64_of(start - at));
        }
        space.add("log: group headers", u64_of(GROUP_HEADER_BYTES));
        let mut items = group.items().peekable();
        while let Some(placed) = items.next() {
            let next = items.peek().map(|next| next.item);
            item(&placed.item, next, space);
        }
        at = start + group.stored_len();
    }
    let is_closed = file.len() > 64 && file.get(file.len() - 64..).is_some_and(is_trailer);
    let rest = u64_of(file.len() - at);
    space.add(if is_closed { "log: footers" } else { "log: ahead of the last group" }, rest);
    Ok(())
}

fn is_trailer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PBXclose")
}

/// The parts of an item that holds header, summary and first chunk; `None` if it is not one.
fn packed(bytes: &[u8], space: &mut Space) -> Option<()> {
    let header = BlobHeader::parse(bytes).ok()?;
    let summary = header.piece(header.chunk_count);
    let end = summary.end?;
    space.add("blobs: headers", u64_of(summary.start));
    space.add("blobs: summaries", u64_of(end - summary.start));
    space.add("blobs: bodies", u64_of(bytes.len() - end));
    Some(())
}

fn item(item: &Item<'_>, next: Option<Item<'_>>, space: &mut Space) {
    match item {
        Item::Record { payload, .. } => {
            space.add("log: record headers", u64_of(RECORD_HEADER_BYTES));
            space.add("log: records, sealed", u64_of(payload.len()));
        }
        Item::Chunk { header, bytes, .. } => {
            space.add("log: chunk headers", u64_of(CHUNK_HEADER_BYTES));
            if header.number == 0
                && let Some(bytes) = bytes
                && packed(bytes, space).is_some()
            {
                space.packed = Some(header.tag);
                return;
            }
            let is_last = !matches!(next, Some(Item::Chunk { header: next, .. })
                if next.number > header.number);
            let what = match header.number {
                0 => "blobs: headers",
                _ if space.packed == Some(header.tag) => "blobs: bodies",
                _ if is_last => "blobs: summaries",
                _ => "blobs: bodies",
            };
            space.add(what, u64_of(bytes.map_or(0, <[u8]>::len)));
        }
    }
}
