//! Telling of many messages: as many rows in one go as the client takes, page by page of the view.
//!
//! FETCH, STORE, the news between commands and QRESYNC all tell of messages of a set; they differ
//! in what is put of each. One call goes on for a turn of time, and from row to row only while the
//! output has room, so that neither a slow client nor a large mailbox holds anybody up.

use std::time::{Duration, Instant};

use engine::error::ReadError;
use engine::mailbox::{RowRef, Rows, View, Walk, at_hand};
use engine::uid_set::UidSet;

use crate::stream::{Ended, Wire, blocking};

/// How long others wait for their turn.
const TURN: Duration = Duration::from_millis(10);

/// Messages that are told at once, if they are at hand: to wake a thread for them costs more.
const FEW: u64 = 64;
/// Pages that they may lie in: of the new view, and of the one before it.
const FEW_PAGES: u32 = 128;

/// Puts what is told of a message, which has that rank.
type Put<'a> = dyn FnMut(&mut Vec<u8>, u32, RowRef<'_>) -> Result<(), ReadError> + 'a;

/// Messages of a set of which a client is told.
pub(crate) struct Telling<'a> {
    uids: &'a UidSet,
    walk: Walk<'a>,
    /// What is left of a page.
    rows: Option<Rows>,
}

impl<'a> Telling<'a> {
    /// Of all of them that the view has.
    pub(crate) fn of(uids: &'a UidSet) -> Telling<'a> {
        Telling { uids, walk: Walk::new(uids), rows: None }
    }

    /// Has `put` put each message with its rank, as long as it is our turn and the client keeps up;
    /// answers whether all have been told. What waits is sent by [`Wire::relieve`] or
    /// [`Wire::flush`].
    pub(crate) fn go_on(
        &mut self,
        view: &View,
        wire: &mut Wire,
        put: &mut Put<'_>,
    ) -> Result<Result<bool, ReadError>, Ended> {
        let begun = Instant::now();
        loop {
            let next = match self.rows.take() {
                Some(rows) => Ok(Some(rows)),
                None => self.walk.next(view),
            };
            let mut rows = match next {
                Ok(Some(rows)) => rows,
                Ok(None) => return Ok(Ok(true)),
                Err(error) => return Ok(Err(error)),
            };
            while !wire.is_full() {
                let Some((rank, row)) = rows.pop() else { break };
                if let Err(error) = put(&mut wire.out, rank, row) {
                    return Ok(Err(error));
                }
            }
            let is_stuck = wire.is_full() && !wire.send_now()?;
            self.rows = Some(rows).filter(|rows| !rows.is_empty());
            if is_stuck || begun.elapsed() >= TURN {
                return Ok(Ok(false));
            }
        }
    }

    /// Tells all of a few messages whose pages are at hand; if that does not succeed, for whatever
    /// reason, nothing has been put, and it is for the others to find out.
    fn tell_few(&self, view: &View, wire: &mut Wire, put: &mut Put<'_>) -> bool {
        let (begin, mut walk) = (wire.out.len(), self.walk.clone());
        let told = at_hand(FEW_PAGES, || {
            while let Some(rows) = walk.next(view)? {
                for (rank, row) in rows.iter() {
                    if wire.is_full() {
                        return Ok(false);
                    }
                    put(&mut wire.out, rank, row)?;
                }
            }
            Ok::<bool, ReadError>(true)
        });
        let all = matches!(told, Ok(true));
        if !all {
            wire.out.truncate(begin);
        }
        all
    }

    /// The same to the end.
    pub(crate) async fn finish(
        mut self,
        view: &View,
        wire: &mut Wire,
        mut put: impl FnMut(&mut Vec<u8>, u32, RowRef<'_>) -> Result<(), ReadError>,
    ) -> Result<Result<(), ReadError>, Ended> {
        if self.uids.count() <= FEW && self.tell_few(view, wire, &mut put) {
            wire.relieve().await?;
            return Ok(Ok(()));
        }
        loop {
            let told = blocking(|| self.go_on(view, wire, &mut put))?;
            wire.relieve().await?;
            match told {
                Ok(true) => return Ok(Ok(())),
                Ok(false) => tokio::task::yield_now().await,
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Bounds;
    use crate::session::selected::tests::{message, selected};
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn every_message_is_told_once_and_in_order_however_slow_the_client_is() {
        let folder = tempfile::tempdir().unwrap();
        let holes = UidSet::from_ranges([(600, 620), (700, 700)]);
        let messages = (0..1500).map(|_| message()).collect();
        let selected = selected(folder.path(), messages, &holes);
        let uids = UidSet::from_ranges([(2, 3), (590, 1400), (1499, 9000)]);
        let expected: String = uids
            .intersection(&UidSet::from_ranges([(1, 1500)]))
            .without(&holes)
            .iter()
            .map(|uid| {
                let gone = [600..=620, 700..=700].into_iter().flatten().filter(|&no| no < uid.0);
                format!("{} {uid}\n", uid.0 - 1 - gone.count() as u32)
            })
            .collect();
        for pipe_bytes in [1, 100, 1 << 20] {
            let (ours, mut theirs) = tokio::io::duplex(pipe_bytes);
            let bounds = Bounds { line_bytes_max: 100, skip_bytes_max: 100 };
            let mut wire = Wire::new(Box::new(ours), bounds, Duration::from_secs(9));
            wire.full_at = 50;
            let told = tokio::spawn(async move {
                let mut found = String::new();
                theirs.read_to_string(&mut found).await.map(|_| found)
            });
            let put = |out: &mut Vec<u8>, rank: u32, row: RowRef<'_>| {
                out.extend_from_slice(format!("{rank} {}\n", row.uid()).as_bytes());
                Ok(())
            };
            let mut telling = Telling::of(&uids);
            let mut put_one = put;
            let mut turns = 0;
            while !telling.go_on(&selected.view, &mut wire, &mut put_one).unwrap().unwrap() {
                assert!(wire.out.len() < 100, "output beyond what the wire takes");
                wire.flush().await.unwrap();
                wire.full_at = 50;
                turns += 1;
            }
            assert!(turns > 5 || pipe_bytes > 1, "a slow client has turns: {turns}");
            wire.close().await;
            drop(wire);
            assert_eq!(told.await.unwrap().unwrap(), expected, "{pipe_bytes} bytes at a time");
        }
    }
    #[tokio::test]
    async fn few_messages_are_told_once_whether_at_hand_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let messages = (0..40).map(|_| message()).collect();
        let selected = selected(folder.path(), messages, &UidSet::new());
        let uids = UidSet::from_ranges([(3, 7)]);
        for refused_at in [0, 3, 5] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            let bounds = Bounds { line_bytes_max: 100, skip_bytes_max: 100 };
            let mut wire = Wire::new(Box::new(ours), bounds, Duration::from_secs(9));
            wire.line("before");
            let mut refusals = u32::from(refused_at > 0);
            let put = |out: &mut Vec<u8>, _: u32, row: RowRef<'_>| {
                if row.uid().0 == refused_at && refusals > 0 {
                    refusals -= 1;
                    return Err(ReadError::NotAtHand);
                }
                out.extend_from_slice(format!("{} ", row.uid()).as_bytes());
                Ok(())
            };
            Telling::of(&uids).finish(&selected.view, &mut wire, put).await.unwrap().unwrap();
            wire.close().await;
            drop(wire);
            let mut told = String::new();
            theirs.read_to_string(&mut told).await.unwrap();
            assert_eq!(told, "before\r\n3 4 5 6 7 ", "refused at {refused_at}");
        }
    }
}
