//! Applying what the log holds above the tables' stamp, as the committer applied it before the
//! stop.
//!
//! Which groups those are, and that they are durable, was decided by `log::recovery`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::give_up::{GivingUp, Survey};
use super::layout::MAIN_VOLUME;
use super::open::OpenReport;
use crate::base::Installer;
use crate::commit::{Applier, Inherited, Unnamed};
use crate::disk::OpenMode;
use crate::error::{Damage, OpenError, ReadError};
use crate::format_level;
use crate::ids::Lsn;
use crate::log::format::group::Group;
use crate::log::{
    Gaps, GroupHash, GroupPlace, Item, KeyNames, LogSetup, RecordHeader, RecoverError, Recovered,
    Replayed, SegmentNumber, StateStamp, recover_over,
};
use crate::record::{Body, Record, open_record};
use crate::seal::KeyTableSnapshot;
use crate::state::{
    Changes, CheckpointStamp, Committed, Named, Places, Saved, StateChunkPlace, confirm_checkpoint,
    write_checkpoint,
};

/// Applies what the log holds above the tables' stamp.
pub(super) struct Replay<'a> {
    committed: &'a Committed,
    keys: Arc<KeyTableSnapshot>,
    state_lsn: Lsn,
    report: OpenReport,
    places: BTreeMap<Lsn, Places>,
    /// Chunks that no record has named so far.
    unnamed: Unnamed,
    applier: Applier,
    /// Where the last group's unended messages begin.
    open_lsn: Lsn,
    /// Where there is no state: what the log's base images hold.
    base: Option<Installer>,
    saved: &'a Saved,
    /// Bytes that a checkpoint would write after which one is written.
    checkpoint_bytes: u64,
    /// Whether there may be checkpoints.
    is_written: bool,
    /// Whether the other node goes on with the log.
    follows: bool,
    /// Damage is given up: what was read and what was not.
    survey: Option<&'a mut Survey>,
}

/// Why replay stopped.
enum ReplayError {
    Recover(RecoverError),
    Open(OpenError),
}

impl From<RecoverError> for ReplayError {
    fn from(error: RecoverError) -> ReplayError {
        ReplayError::Recover(error)
    }
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        committed: &'a Committed,
        saved: &'a Saved,
        keys: Arc<KeyTableSnapshot>,
        checkpoint_bytes: u64,
    ) -> Replay<'a> {
        Replay {
            committed,
            keys,
            state_lsn: Lsn::ZERO,
            report: OpenReport::default(),
            places: BTreeMap::new(),
            unnamed: Unnamed::default(),
            applier: Applier::default(),
            open_lsn: Lsn::ZERO,
            base: None,
            saved,
            checkpoint_bytes,
            is_written: false,
            follows: false,
            survey: None,
        }
    }

    /// The other node goes on with the log, so what has begun at its end may end yet.
    pub(super) fn follows(&mut self, follows: bool) {
        self.follows = follows;
    }

    /// Damage is given up.
    pub(super) fn survey(&mut self, giving_up: Option<&'a mut GivingUp>) {
        self.survey = giving_up.map(|giving_up| &mut giving_up.survey);
    }

    /// Recovers the log and applies what is new.
    pub(super) fn run(&mut self, setup: LogSetup, mode: OpenMode) -> Result<Recovered, OpenError> {
        self.is_written = mode == OpenMode::ReadWrite;
        let stamp = self.saved.stamp()?;
        if stamp.is_none() {
            self.base = Some(Installer::default());
        }
        self.state_lsn = stamp.map_or(Lsn::ZERO, |stamp| stamp.lsn);
        self.open_lsn = stamp.map_or(Lsn::ZERO, |stamp| stamp.open_lsn);
        if let Some(survey) = &mut self.survey {
            survey.state = self.state_lsn;
        }
        let state = stamp.map(|stamp| StateStamp {
            lsn: stamp.lsn,
            open_lsn: stamp.open_lsn,
            group_hash: GroupHash(stamp.group_hash),
        });
        #[cfg(test)]
        crate::sabotage::set_replaying(true);
        let gaps = if self.survey.is_some() { Gaps::Bridged } else { Gaps::Refused };
        let recovered = recover_over::<ReplayError>(setup, state, (mode, gaps), |replayed| {
            self.visit(replayed).map_err(ReplayError::Open)
        });
        #[cfg(test)]
        crate::sabotage::set_replaying(false);
        match recovered {
            Ok(recovered) => {
                self.report.log = recovered.report;
                self.report.damage.clone_from(&recovered.damage);
                Ok(recovered)
            }
            Err(ReplayError::Open(error)) => Err(error),
            Err(ReplayError::Recover(error)) => Err(open_error(error)),
        }
    }

    fn visit(&mut self, replayed: Replayed<'_>) -> Result<(), OpenError> {
        match replayed {
            Replayed::Seen { segment, offset, group } => {
                self.refuse_newer(segment, offset, group)?;
                self.see_images(segment, offset, group)
            }
            Replayed::Look(looks) => {
                *looks = self.base.as_mut().is_some_and(Installer::wants_dumps);
                Ok(())
            }
            Replayed::Before { place, group } => self.install(place.segment, place.offset, group),
            Replayed::Chunk(chunk) => {
                // Without state all are judged at the end, but for what may end yet.
                if self.base.is_none() || self.follows {
                    self.unnamed.note(&chunk);
                }
                // Up to the stamp the tables know where chunks lie.
                if chunk.lsn <= self.state_lsn {
                    return Ok(());
                }
                let places = self.places.entry(chunk.lsn).or_default();
                places.segment = chunk.segment.0;
                places.chunks.push(StateChunkPlace {
                    number: u32::from(chunk.number),
                    offset: chunk.offset,
                    length: chunk.length,
                    hash: chunk.hash,
                });
                Ok(())
            }
            Replayed::Group { place, group } => {
                self.installed()?;
                self.group(place, group)
            }
        }
    }

    /// Refuses a group with records that this binary does not read, or with a record that raises
    /// the volume's level above it. Nothing was changed yet.
    fn refuse_newer(
        &self,
        segment: SegmentNumber,
        offset: u64,
        group: &Group<'_>,
    ) -> Result<(), OpenError> {
        let newer = |what: String, found| {
            Err(OpenError::NewerFormat { what, found, known: format_level::NEWEST })
        };
        for placed in group.items() {
            let Item::Record { header, payload } = placed.item else { continue };
            let RecordHeader { record_type, lsn, .. } = header;
            if lsn <= self.state_lsn {
                continue;
            }
            if format_level::of_record(record_type).is_none() {
                let what = format!("volume {MAIN_VOLUME}, with type {record_type} at {lsn},");
                return newer(what, format_level::NEWEST + 1);
            }
            if record_type != Body::FORMAT_LEVEL {
                continue;
            }
            if let Some(record) = self.open_record(segment, offset, &header, payload)?
                && let Body::FormatLevel(level) = record.body
                && level > format_level::NEWEST
            {
                return newer(format!("volume {MAIN_VOLUME}, since {lsn},"), level);
            }
        }
        Ok(())
    }

    fn group(&mut self, place: GroupPlace, group: &Group<'_>) -> Result<(), OpenError> {
        let GroupPlace { segment, offset, .. } = place;
        if group.header.stamp.key_version > self.keys.version() {
            return Err(OpenError::Invalid(format!(
                "the key table is older than the log needs (group at {}); restore \
                 volumes/{MAIN_VOLUME}/keys from the newest copy",
                group.header.stamp.first_lsn
            )));
        }
        if group.header.stands_for.is_some() && self.state_lsn > Lsn::ZERO {
            return Err(OpenError::Invalid(format!(
                "state is of {}, older than the base images in the log, and records that it lacks \
                 are dropped; run 'pillarbox check --rebuild'",
                self.state_lsn
            )));
        }
        self.open_lsn = group.header.stamp.open_lsn;
        let mut changes = Changes::default();
        changes.places.extend(std::mem::take(&mut self.places));
        changes.named.push(Named {
            segment: segment.0,
            is_first: place.is_first(),
            names: KeyNames::of_group(group),
        });
        for placed in group.items() {
            let Item::Record { header, payload } = placed.item else { continue };
            let is_known = self.base.as_ref().is_some_and(|base| base.covers(&header));
            if header.lsn <= self.state_lsn || is_known {
                continue;
            }
            let record = match (self.open_record(segment, offset, &header, payload), &self.survey) {
                (Err(OpenError::Damage(_)), Some(_)) => continue,
                (record, _) => record?,
            };
            let Some(record) = record else {
                self.report.destroyed_count += 1;
                continue;
            };
            self.report.record_count += 1;
            let record = match &mut self.survey {
                Some(survey) => survey.see(self.committed, &changes, &header, record),
                None => record,
            };
            self.applier.apply(self.committed, &mut changes, header, record)?;
        }
        if let Some(survey) = &mut self.survey {
            survey.applied(self.committed, &changes);
        }
        changes.blobs.values().for_each(|row| self.unnamed.is_named(row.shape.tag));
        self.committed.publish(changes);
        self.checkpoint_if_due(group)
    }

    /// Writes a checkpoint of what was replayed, so that memory has a bound and a stop costs
    /// little. Not within a run, whose first records would be missing after it.
    fn checkpoint_if_due(&self, group: &Group<'_>) -> Result<(), OpenError> {
        // Until then the tables hold what images had later.
        let begun = self.base.as_ref().map_or(Lsn::ZERO, Installer::begun);
        let is_early = group.header.stamp.last_lsn < begun;
        if !self.is_written || is_early || self.applier.is_within_run() {
            return Ok(());
        }
        let saved = self.saved;
        if self.committed.unsaved_bytes() < self.checkpoint_bytes {
            return Ok(());
        }
        let stamp = CheckpointStamp {
            lsn: group.header.stamp.last_lsn,
            open_lsn: group.header.stamp.open_lsn,
            group_hash: group.hash.0,
            stamp: self.committed.highest_stamp(),
        };
        let unsaved = self.committed.freeze();
        write_checkpoint(saved, &unsaved, stamp)?;
        saved.tables.flush()?;
        confirm_checkpoint(saved, self.committed, &unsaved, stamp)?;
        Ok(())
    }

    /// The opened record; `None` if its account's key is destroyed.
    fn open_record(
        &self,
        segment: SegmentNumber,
        offset: u64,
        header: &RecordHeader,
        payload: &[u8],
    ) -> Result<Option<Record>, OpenError> {
        let damage = |what: String| Damage {
            file: PathBuf::from(format!("segment {}", segment.0)),
            offset,
            what: format!("the record at {}: {what}", header.lsn),
        };
        Ok(open_record(&self.keys, header, payload).map_err(damage)?)
    }

    /// Looks for base images, if there is no state.
    fn see_images(
        &mut self,
        segment: SegmentNumber,
        offset: u64,
        group: &Group<'_>,
    ) -> Result<(), OpenError> {
        let Some(mut base) = self.base.take() else { return Ok(()) };
        for placed in group.items() {
            let Item::Record { header, payload } = placed.item else { continue };
            if header.record_type == Body::BASE_IMAGE
                && let Some(record) = self.open_record(segment, offset, &header, payload)?
            {
                base.see(&header, &record);
            }
        }
        self.base = Some(base);
        Ok(())
    }

    /// Writes what dumps hold that base images name.
    fn install(
        &mut self,
        segment: SegmentNumber,
        offset: u64,
        group: &Group<'_>,
    ) -> Result<(), OpenError> {
        let Some(mut base) = self.base.take() else { return Ok(()) };
        for placed in group.items() {
            let Item::Record { header, payload } = placed.item else { continue };
            if header.record_type == Body::BASE_DUMP
                && base.is_named(&header)
                && let Some(Record { body: Body::BaseDump { rows }, .. }) =
                    self.open_record(segment, offset, &header, payload)?
            {
                match (base.dump(self.saved, &header, rows), &self.survey) {
                    (Err(ReadError::Undecodable { .. }), Some(_)) => base.spoil(&header),
                    (dumped, _) => dumped?,
                }
            }
        }
        self.base = Some(base);
        Ok(())
    }

    /// All dumps were seen, if there are any.
    fn installed(&mut self) -> Result<(), OpenError> {
        if let Some(base) = self.base.as_mut().filter(|base| !base.is_finished()) {
            if let Some(survey) = &mut self.survey {
                base.leave_out_broken(self.saved)?;
                survey.floors = base.floors();
            }
            base.finish(self.saved, self.committed)?;
        }
        Ok(())
    }

    /// At the end of the log: what has begun and not ended is void, or dead, unless the other node
    /// goes on with it.
    pub(super) fn finish(mut self) -> Result<(OpenReport, Inherited), OpenError> {
        if !self.follows {
            self.applier.end();
            self.open_lsn = Lsn::MAX;
        }
        self.report.void_count = self.applier.void_count;
        self.installed()?;
        self.committed.add_places(std::mem::take(&mut self.places));
        let mut dead_chunks = self.unnamed.dead_below(self.open_lsn, self.committed)?;
        if self.base.is_some() {
            dead_chunks.extend(self.committed.forget_unnamed_places(self.open_lsn)?);
        }
        self.committed.publish(Changes { dead_chunks, ..Changes::default() });
        let Replay { applier, unnamed, open_lsn, report, .. } = self;
        Ok((report, Inherited { applier, unnamed, open_lsn }))
    }
}

fn open_error(error: RecoverError) -> OpenError {
    match error {
        RecoverError::Disk(error) => OpenError::Disk(error),
        RecoverError::Damage(damage) => OpenError::Damage(damage),
        RecoverError::NewerFormat { what, found, known } => {
            OpenError::NewerFormat { what, found, known }
        }
        other => OpenError::Invalid(other.to_string()),
    }
}
