//! COPY (RFC 3501 section 6.4.7) and MOVE (RFC 6851), with COPYUID (RFC 4315).

use engine::Copied;
use engine::uid_set::UidSet;

use super::rights::{Deed, needs};
use super::{Answer, Talk, across, message_limit, notify};
use crate::codec::SequenceSet;
use crate::codec::command::{Access, Numbers, TransferKind};
use crate::codec::mailbox_name::WireName;
use crate::session::{ALL_FLAGS, Selected, looked_up};
use crate::stream::Ended;

/// COPY, MOVE and their forms with UIDs. With a ghost among the numbers nothing is done: COPY is
/// all or nothing.
pub(super) async fn transfer(
    talk: &mut Talk,
    kind: TransferKind,
    numbers: Numbers,
    set: &SequenceSet,
    name: &WireName,
) -> Result<Answer, Ended> {
    let to = match talk.find(name, Deed::Insert, Answer::try_create) {
        Ok(to) => to,
        Err(answer) => return Ok(answer),
    };
    let selected = match talk.selected() {
        Ok(selected) => selected,
        Err(answer) => return Ok(answer),
    };
    if let (TransferKind::Move, Err(answer)) = (kind, may_move(selected)) {
        return Ok(answer);
    }
    let limit = match kind {
        TransferKind::Copy => talk.save_limit(),
        TransferKind::Move => talk.session.config.limits.messages_per_command,
    };
    let targets = looked_up(set, || {
        let mut targets = selected.targets(numbers, set)?;
        let excess = message_limit::cut(selected, &mut targets.uids, limit)?;
        Ok((targets, excess))
    });
    let (targets, excess) = match targets {
        Ok(targets) => targets,
        Err(error) => return Ok(talk.untargeted(&error)),
    };
    if let (TransferKind::Copy, Some(excess)) = (kind, excess) {
        return Ok(excess.refused());
    }
    if targets.ghosts {
        return Ok(Answer::expunge_issued());
    }
    let nothing = Answer::ok("No messages were named");
    if targets.uids.is_empty() {
        return Ok(nothing);
    }
    // The engine copies inside an account, with all flags.
    let is_near = selected.owner.number() == to.place.owner.number();
    let copied = if is_near && to.rights.contains(ALL_FLAGS) {
        let ticket = match kind {
            TransferKind::Copy => selected.mailbox.copy(&targets.uids, &to.mailbox),
            TransferKind::Move => selected.mailbox.move_to(&targets.uids, &to.mailbox),
        };
        ticket.await.map_err(|error| Answer::refused(&talk.session, &error))
    } else {
        across::transfer(talk, kind, &targets.uids, &to).await
    };
    let copied = match copied {
        Ok(copied) => copied,
        Err(answer) => return Ok(answer),
    };
    if copied.source.is_empty() {
        return Ok(nothing);
    }
    let code = copy_uid(&copied);
    notify::note(&mut talk.session, notify::Own::copied(to.mailbox.id(), &copied));
    Ok(match kind {
        TransferKind::Copy => Answer::ok_code(code, "Copied"),
        TransferKind::Move => {
            // RFC 6851 section 4.3: before the EXPUNGE answers, so that a client can pair them.
            talk.wire.line(&format!("* OK [{code}] Moved"));
            message_limit::done(excess, "Moved")
        }
    })
}

/// Whether messages may be moved out of the selected mailbox.
fn may_move(selected: &Selected) -> Result<(), Answer> {
    if selected.access == Access::ReadOnly {
        Err(Answer::read_only())
    } else if !selected.rights().contains(needs(Deed::MoveAway)) {
        Err(Answer::no_permission())
    } else {
        Ok(())
    }
}

/// `COPYUID validity source destination`; both sets ascend, so their n-th UIDs belong together.
fn copy_uid(copied: &Copied) -> String {
    let source: UidSet = copied.source.iter().copied().collect();
    let destination: UidSet = copied.destination.iter().copied().collect();
    format!("COPYUID {} {source} {destination}", copied.uid_validity.0)
}
