//! UIDBATCHES (RFC 10022): ranges of UIDs that hold equally many messages, from the newest down.
//!
//! ```text
//! * UIDBATCHES (TAG "a") 215295:99696,99695:20351,20350:1
//! ```
//! The ranges are adjacent, the last one reaches down to 1, and each but the last holds exactly as
//! many messages as was asked for: a range is a rank in the view, so a million messages cost two
//! thousand searches in counts and no row.

use engine::error::ReadError;

use super::{Answer, Talk};
use crate::codec::put;
use crate::session::Selected;
use crate::stream::{Ended, blocking};

/// Smaller batches are refused, as RFC 10022 allows: they would be a list of all UIDs.
const BATCH_MESSAGES_MIN: u32 = 500;
/// Ranges made in one piece.
const RANGES_PER_PIECE: usize = 1024;

/// UIDBATCHES; `wanted` are numbers of batches, counted from 1.
pub(super) async fn uid_batches(
    talk: &mut Talk,
    messages: u32,
    wanted: Option<(u32, u32)>,
) -> Result<Answer, Ended> {
    if messages < BATCH_MESSAGES_MIN {
        let sentence = format!("A batch has at least {BATCH_MESSAGES_MIN} messages");
        return Ok(Answer::no("TOOFEW", sentence));
    }
    // A batch that no command may touch whole would be of no use (RFC 9738).
    let limit = talk.session.config.limits.messages_per_command.unwrap_or(u32::MAX).max(1);
    let messages = messages.min(limit);
    let count = match talk.selected() {
        Ok(selected) => selected.view.message_count().div_ceil(messages),
        Err(answer) => return Ok(answer),
    };
    let (first, last) = wanted.unwrap_or((1, u32::MAX));
    let head = format!("* UIDBATCHES (TAG \"{}\")", talk.tag);
    talk.wire.out.extend_from_slice(head.as_bytes());
    let mut numbers = (first..=last.min(count)).peekable();
    let mut separator = b' ';
    while numbers.peek().is_some() {
        let Some(selected) = &talk.session.selected else { break };
        let out = &mut talk.wire.out;
        let made = blocking(|| {
            for number in numbers.by_ref().take(RANGES_PER_PIECE) {
                let Some((high, low)) = batch(selected, messages, number)? else { continue };
                out.push(separator);
                separator = b',';
                put::number(out, u64::from(high));
                out.push(b':');
                put::number(out, u64::from(low));
            }
            Ok(())
        });
        if let Err(error) = made {
            talk.wire.out.extend_from_slice(b"\r\n");
            return Ok(Answer::unreadable(&talk.session, &error));
        }
        talk.wire.relieve().await?;
    }
    talk.wire.out.extend_from_slice(b"\r\n");
    Ok(Answer::ok("Divided"))
}

/// The highest and the lowest UID of a batch.
fn batch(selected: &Selected, messages: u32, number: u32) -> Result<Option<(u32, u32)>, ReadError> {
    let view = &selected.view;
    let count = u64::from(view.message_count());
    let above = u64::from(messages) * u64::from(number.saturating_sub(1));
    // The lowest UID of so many messages counted from the highest.
    let lowest_of = |taken: u64| -> Result<u32, ReadError> {
        match u32::try_from(count.saturating_sub(taken)) {
            Ok(rank) if rank > 0 => Ok(view.uid_at(rank)?.map_or(1, |uid| uid.0)),
            _ => Ok(1),
        }
    };
    if above >= count {
        return Ok(None);
    }
    let high = match above {
        0 => view.last_uid().map_or(1, |uid| uid.0),
        above => lowest_of(above)?.saturating_sub(1),
    };
    Ok(Some((high, lowest_of(above + u64::from(messages))?)))
}
