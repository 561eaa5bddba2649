//! IDLE (RFC 2177): news as they come, until DONE.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Answer, Talk, Then, notify, tell_selected};
use crate::session::{Answered, Expunges, Synced};
use crate::stream::Ended;

/// What ended a wait.
enum Woken {
    News,
    Bytes(Result<(), Ended>),
    Late,
    Shutdown,
}

/// IDLE
pub(super) async fn idle(talk: &mut Talk) -> Result<Answer, Ended> {
    // One bell for all: what NOTIFY watches rings it, too.
    let watching = talk.session.watching.as_ref();
    let news = watching.map_or_else(|| Arc::new(Notify::new()), |watching| watching.news());
    // Listening begins before the first look, so that nothing falls between them.
    let _listening = talk.session.selected.as_ref().map(|selected| {
        let news = Arc::clone(&news);
        selected.mailbox.on_change(Arc::new(move || news.notify_one()))
    });
    let _metadata = notify::ring_for_metadata(talk, &news);
    talk.wire.line("+ idling");
    let deadline = tokio::time::Instant::now() + talk.session.config.limits.idle_command_timeout;
    loop {
        if super::lost_right(&talk.session) {
            talk.wire.line(super::WITHDRAWN);
            return Err(Ended::Said);
        }
        if tell_selected(talk, Expunges::Tell, Answered::Nothing).await? == Synced::Gone {
            return Ok(Answer::ok("Idle is over"));
        }
        notify::tell_others(talk).await?;
        notify::tell_metadata(talk);
        match talk.wire.connection.plain_line(talk.wire.bounds) {
            Ok(None) => {}
            Ok(Some(line)) if line.trim_ascii().eq_ignore_ascii_case(b"DONE") => {
                return Ok(Answer::ok("Idle is over"));
            }
            Ok(Some(_)) => return Ok(Answer::bad("Idle ends with DONE")),
            Err(_) => {
                talk.wire.line("* BYE Idle ends with DONE");
                return Ok(Answer::bad("Idle ends with DONE").then(Then::Close));
            }
        }
        talk.wire.flush().await?;
        let woken = tokio::select! {
            _ = talk.shutdown.wait_for(|stop| *stop) => Woken::Shutdown,
            received = talk.wire.receive() => Woken::Bytes(received),
            () = news.notified() => Woken::News,
            () = tokio::time::sleep_until(deadline) => Woken::Late,
        };
        match woken {
            Woken::News => {}
            Woken::Bytes(received) => received?,
            Woken::Late => {
                talk.wire.line("* BYE Idle for too long");
                return Err(Ended::Said);
            }
            Woken::Shutdown => {
                talk.wire.line("* BYE The server is stopping");
                return Err(Ended::Said);
            }
        }
    }
}
