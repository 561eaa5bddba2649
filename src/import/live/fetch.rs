//! New messages: asked for in batches, checked, and appended under the UIDs that they have.
//!
//! A batch is bounded by the sizes that the source tells, and held until it is whole: messages are
//! appended in the order of their UIDs, which the source need not keep. What it does not give is
//! asked for alone; what it does not give even then stops the mailbox, because a UID that was
//! passed over can never come any more, unless the operator says that it may be left out.

use std::collections::BTreeMap;

use engine::width::u64_of;

use super::here::Brought;
use super::mailbox::{Bringer, Work, low, well};
use super::response::Fetched;
use super::shown;
use super::source::Since;
use crate::failure::{Exit, Failure};

/// Messages of a batch.
const BATCH_MESSAGES_MAX: u64 = 256;
/// Bytes of a batch, unless one message has more.
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// Bytes that the messages of a batch may have beyond what was told.
const BATCH_BYTES_SPARE: u64 = 16 << 20;

/// A message with what is needed of it.
struct Message {
    uid: u32,
    flags: Vec<String>,
    received: i64,
    body: Vec<u8>,
}

impl Bringer<'_, '_> {
    /// Brings the messages from `work.next` on, below `uid_next`.
    pub(super) fn bring_new(&mut self, work: &mut Work, uid_next: u64) -> Result<(), Failure> {
        if work.next >= uid_next {
            return Ok(());
        }
        let mut sizes = BTreeMap::new();
        let uids = format!("{}:{}", work.next, uid_next - 1);
        let first = work.next;
        let mut hear = |fetched: Fetched| {
            if let Some(uid) = fetched.uid
                && (first..uid_next).contains(&u64::from(uid))
            {
                sizes.insert(uid, fetched.size.unwrap_or(0));
            }
            Ok(())
        };
        let items = "(UID RFC822.SIZE)";
        let answer = self.source.fetch(&uids, items, Since::Ever, &mut hear, &mut |_| {})?;
        well(&answer)?;
        self.bar.inc_length(u64_of(sizes.len()));
        let mut batch = Vec::new();
        let mut bytes = 0;
        let count_max = self.pace.batch_messages(BATCH_MESSAGES_MAX);
        let bytes_max = self.pace.batch_bytes(BATCH_BYTES_MAX);
        for (uid, size) in sizes {
            if !batch.is_empty() && (u64_of(batch.len()) >= count_max || bytes + size > bytes_max) {
                self.bring_batch(work, &std::mem::take(&mut batch), bytes)?;
                bytes = 0;
            }
            batch.push(uid);
            bytes += size;
        }
        if !batch.is_empty() {
            self.bring_batch(work, &batch, bytes)?;
        }
        Ok(())
    }

    fn bring_batch(&mut self, work: &mut Work, uids: &[u32], bytes: u64) -> Result<(), Failure> {
        let (mut found, said) = self.fetch_bodies(uids, bytes)?;
        let mut ready = Vec::new();
        for &uid in uids {
            if let Some(message) = found.remove(&uid) {
                ready.push(message);
                continue;
            }
            match self.fetch_alone(uid, bytes)? {
                Alone::Message(message) => ready.push(message),
                // Expunged in between.
                Alone::Gone => {}
                Alone::Refused(why) => {
                    self.append(work, &std::mem::take(&mut ready))?;
                    let why = if why.is_empty() { &said } else { &why };
                    self.give_up(work, uid, &format!("the source does not give it: {why}"))?;
                }
            }
        }
        self.append(work, &ready)?;
        self.keep(work)
    }

    /// Whole messages, and what the source said in the end.
    fn fetch_bodies(
        &mut self,
        uids: &[u32],
        bytes: u64,
    ) -> Result<(BTreeMap<u32, Message>, String), Failure> {
        let mut found = BTreeMap::new();
        let mut left = bytes.saturating_add(BATCH_BYTES_SPARE);
        let set: Vec<String> = ranges(uids);
        let mut hear = |fetched: Fetched| {
            let (Some(uid), Some(body)) = (fetched.uid, fetched.body) else { return Ok(()) };
            if !uids.contains(&uid) {
                return Ok(());
            }
            left = left.checked_sub(u64_of(body.len())).ok_or_else(|| {
                let sentence = "the source sends more than it says that its messages have";
                Failure::new(Exit::Refused, sentence)
            })?;
            let flags = fetched.flags.unwrap_or_default();
            let received = fetched.received.unwrap_or(0);
            found.insert(uid, Message { uid, flags, received, body });
            Ok(())
        };
        let items = "(UID FLAGS INTERNALDATE BODY.PEEK[])";
        let answer =
            self.source.fetch(&set.join(","), items, Since::Ever, &mut hear, &mut |_| {})?;
        let fetched = found.values().map(|message| u64_of(message.body.len())).sum();
        self.pace.fetched(u64_of(found.len()), fetched);
        Ok((found, shown(&answer.text)))
    }

    /// A message that did not come with the others.
    fn fetch_alone(&mut self, uid: u32, bytes: u64) -> Result<Alone, Failure> {
        let (mut found, said) = self.fetch_bodies(&[uid], bytes)?;
        if let Some(message) = found.remove(&uid) {
            return Ok(Alone::Message(message));
        }
        let mut is_there = false;
        let mut hear = |fetched: Fetched| {
            is_there |= fetched.uid == Some(uid);
            Ok(())
        };
        let set = uid.to_string();
        let answer = self.source.fetch(&set, "(UID)", Since::Ever, &mut hear, &mut |_| {})?;
        Ok(if is_there || answer.kind != "OK" { Alone::Refused(said) } else { Alone::Gone })
    }

    /// Appends messages, each behind the one before.
    fn append(&mut self, work: &mut Work, messages: &[Message]) -> Result<(), Failure> {
        let mut rest = messages;
        while !rest.is_empty() {
            let mut next = low(work.next);
            for message in rest {
                let Message { uid, received, .. } = *message;
                let (flags, body) = (message.flags.clone(), message.body.as_slice());
                self.here.append(&work.place, Brought { next, uid, flags, received, body })?;
                next = uid.saturating_add(1);
            }
            self.here.commit()?;
            let mut refused = None;
            for message in rest {
                match self.here.taken() {
                    Ok(()) => {
                        work.next = u64::from(message.uid) + 1;
                        work.ours.insert(message.uid);
                        work.done.brought += 1;
                        self.bar.inc(1);
                    }
                    Err(failure) => {
                        refused.get_or_insert((message.uid, failure));
                    }
                }
            }
            self.here.taken()?;
            let Some((uid, failure)) = refused else { return Ok(()) };
            if failure.exit != Exit::Usage {
                let sentence = format!("stopped at UID {uid}: {}", failure.sentence);
                return Err(Failure::new(failure.exit, sentence));
            }
            self.give_up(work, uid, &failure.sentence)?;
            let at = rest.iter().position(|message| message.uid == uid).unwrap_or(rest.len());
            rest = rest.get(at + 1..).unwrap_or_default();
        }
        Ok(())
    }

    /// A message that cannot come: the end, or one that is left out for ever.
    fn give_up(&mut self, work: &mut Work, uid: u32, why: &str) -> Result<(), Failure> {
        if !self.options.skip_bad {
            let sentence =
                format!("stopped at UID {uid}: {why}; --skip-bad goes on without it, and names it");
            return Err(Failure::new(Exit::Refused, sentence));
        }
        work.done.notes.push(format!("UID {uid} was left out: {why}"));
        work.remembered.leave_out(uid);
        self.bar.inc(1);
        Ok(())
    }
}

/// What became of a message that was asked for alone.
enum Alone {
    Message(Message),
    Gone,
    Refused(String),
}

/// Ascending UIDs as ranges; UIDs between two of a range are not there, or not asked for.
fn ranges(uids: &[u32]) -> Vec<String> {
    let set: engine::uid_set::UidSet = uids.iter().copied().map(engine::ids::Uid).collect();
    vec![crate::admin::ranges_of(&set)]
}
