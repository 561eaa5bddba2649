//! What a store is opened over: keys, tables, log, and the role in which this node wrote
//! last.

use std::sync::Arc;

use super::OpenOptions;
use super::create::log_setup;
use super::layout::{Layout, NodeFile};
use super::open::{committed_of, empty_spool, read_node, unlock};
use super::surroundings::Surroundings;
use crate::disk::{Disk, OpenMode};
use crate::error::{OpenError, ReadError};
use crate::format_level;
use crate::ids::VolumeId;
use crate::log::{FooterVersion, LogSetup, Role, SegmentFile, SegmentNumber};
use crate::pair::PairState;
use crate::seal::{KeyTable, Sealer};
use crate::state::{Committed, MemoryTables, Saved, Table, TableBatch, Values};
use crate::way_back::{Held, HeldFolders, RewindOrder, rewind};

/// What was wrong with the file of the root key, and with a copy of the key table.
type Healed = (Option<String>, Option<String>);

/// What a store is opened over.
pub(super) struct Foundation {
    pub(super) node: NodeFile,
    pub(super) pair: Arc<PairState>,
    pub(super) held: Arc<Held>,
    /// The volume went back to what both nodes have, or is a full copy.
    pub(super) rewound: Option<RewindOrder>,
    pub(super) keys: Arc<KeyTable>,
    pub(super) healed: Healed,
    pub(super) saved: Arc<Saved>,
    pub(super) committed: Arc<Committed>,
    pub(super) log: LogSetup,
}

/// Lays it, from the bottom up; what was not finished before is.
pub(super) fn foundation(
    surroundings: &Surroundings,
    layout: &Layout,
    options: &OpenOptions,
) -> Result<Foundation, OpenError> {
    let (disk, mode) = (surroundings.disk.as_ref(), options.mode);
    let node = read_node(disk, layout)?;
    let pair: Arc<PairState> = Arc::default();
    let (held, rewound) = held_of(surroundings, (layout, node.volume), &pair, options)?;
    let (keys, healed) = keys_of(surroundings, layout, options, node.volume)?;
    empty_spool(disk, layout, mode)?;
    let saved = saved_of(surroundings, layout, (&surroundings.sealer, &keys), mode)?;
    let saved = Arc::new(saved);
    let committed = committed_of(surroundings, &saved, options)?;
    let mut log = log_of(surroundings, layout, node.volume, &committed)?;
    if rewound.is_some() {
        log.role = Role::Follower;
    }
    Ok(Foundation { node, pair, held, rewound, keys, healed, saved, committed, log })
}

/// The key table, and what was wrong with the file of the root key and with a copy of the table.
fn keys_of(
    surroundings: &Surroundings,
    layout: &Layout,
    options: &OpenOptions,
    volume: VolumeId,
) -> Result<(Arc<KeyTable>, Healed), OpenError> {
    let (disk, mode) = (&surroundings.disk, options.mode);
    let (root, healed) = unlock(disk.as_ref(), layout, &options.key, mode)?;
    let sealer = &surroundings.sealer;
    let (keys, report) = KeyTable::load(disk, &layout.keys(), sealer, &root, volume, mode)?;
    let table = report.healed.map(|(copy, why)| format!("{copy:?}: {why}"));
    Ok((Arc::new(keys), (healed, table)))
}

/// The tables.
fn saved_of(
    surroundings: &Surroundings,
    layout: &Layout,
    (sealer, keys): (&Sealer, &Arc<KeyTable>),
    mode: OpenMode,
) -> Result<Saved, OpenError> {
    let values = Arc::new(Values::new(sealer.clone(), Arc::clone(keys)));
    let tables = (surroundings.tables)(&layout.state(), mode)?;
    without_leftovers(Saved { tables, values }, mode)
}

/// What is held for the other node's sake; and what was done because it had begun: going back to
/// what both have, or taking over a full copy.
fn held_of(
    surroundings: &Surroundings,
    (layout, volume): (&Layout, VolumeId),
    pair: &Arc<PairState>,
    options: &OpenOptions,
) -> Result<(Arc<Held>, Option<RewindOrder>), OpenError> {
    let Surroundings { disk, kept, sealer, .. } = surroundings;
    let folders = HeldFolders::of(layout, volume);
    let held = Held::load(disk, kept, pair, folders.clone(), (options.held_bytes_max, sealer))?;
    let Some(order) = RewindOrder::load(disk.as_ref(), &folders.way_back)? else {
        if options.mode == OpenMode::ReadWrite {
            held.loan.remove_leftovers()?;
        }
        return Ok((Arc::new(held), None));
    };
    if options.mode == OpenMode::Read {
        return Err(OpenError::Invalid(
            "this node is on its way back to what both nodes of its pair have, or takes over a \
             full copy; start the server, which goes on with it"
                .to_owned(),
        ));
    }
    let on = (disk.as_ref(), kept.as_ref());
    rewind(on, &folders, &layout.state(), &held, &order)?;
    Ok((Arc::new(held), Some(order)))
}

/// What the log needs, in the role in which this node wrote last.
fn log_of(
    surroundings: &Surroundings,
    layout: &Layout,
    volume: VolumeId,
    committed: &Arc<Committed>,
) -> Result<LogSetup, OpenError> {
    let log = with_footers(committed, log_setup(surroundings, layout, volume)?);
    let role = last_role(surroundings.disk.as_ref(), &log)?;
    Ok(LogSetup { role, ..log })
}

/// The same, with segments closed as the volume's level allows at that moment.
fn with_footers(committed: &Arc<Committed>, log: LogSetup) -> LogSetup {
    let committed = Arc::clone(committed);
    let footer = move || match committed.format_level() {
        level if level < format_level::SHORT_FOOTERS => FooterVersion::ListsChunks,
        _ => FooterVersion::CountsChunks,
    };
    LogSetup { footer: Arc::new(footer), ..log }
}

/// The same, with what the tables know of rewritten segments.
pub(super) fn with_switched(saved: &Saved, log: &LogSetup) -> Result<LogSetup, ReadError> {
    let switched = saved.switched()?.into_iter().map(SegmentNumber).collect();
    Ok(LogSetup { switched, ..log.clone() })
}

/// Tables without a stamp hold nothing that counts: what a stop left of making them from base
/// images goes. When reading only, memory takes their place.
fn without_leftovers(saved: Saved, mode: OpenMode) -> Result<Saved, OpenError> {
    if saved.stamp()?.is_some() {
        return Ok(saved);
    }
    if mode == OpenMode::Read {
        return Ok(Saved { tables: Arc::new(MemoryTables::default()), ..saved });
    }
    for table in Table::ALL {
        let mut batch = TableBatch::new();
        saved.tables.scan_prefix(table, &[], &mut |key, _| {
            batch.delete(table, key);
            Ok(true)
        })?;
        saved.tables.write(batch)?;
    }
    Ok(saved)
}

/// In which role this node wrote last: the newest segment says so, for a role begins with one.
fn last_role(disk: &dyn Disk, log: &LogSetup) -> Result<Role, OpenError> {
    let files = disk.list(&log.directory)?;
    let mut numbers: Vec<SegmentNumber> =
        files.iter().filter_map(|path| SegmentNumber::of(path)).collect();
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(number.place()));
    for number in numbers {
        match SegmentFile::open_cached(disk, &number.path(&log.directory)) {
            Ok(file) if file.header.role != Role::Reclaimed => return Ok(file.header.role),
            Ok(_) => {}
            Err(ReadError::Disk(error)) => return Err(error.into()),
            // Recovery says what is wrong with it.
            Err(_) => {}
        }
    }
    Ok(Role::Primary)
}
