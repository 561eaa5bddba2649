//! IDLE (RFC 2177): news as they come, until DONE.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Answer, Talk, Then, search};
use crate::session::{Answered, Expunges, Manner, Synced, sync};
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
    let news = Arc::new(Notify::new());
    // Listening begins before the first look, so that nothing falls between them.
    let _listening = talk.session.selected.as_ref().map(|selected| {
        let news = Arc::clone(&news);
        selected.mailbox.on_change(Arc::new(move || news.notify_one()))
    });
    talk.wire.line("+ idling");
    let deadline = tokio::time::Instant::now() + talk.session.config.limits.idle_command_timeout;
    loop {
        if super::lost_right(&talk.session) {
            talk.wire.line(super::WITHDRAWN);
            return Err(Ended::Said);
        }
        if let Some(selected) = &mut talk.session.selected {
            let manner = Manner { dialect: talk.session.dialect, expunges: Expunges::Tell };
            let synced = sync(selected, &mut talk.wire, manner, Answered::Nothing).await?;
            if synced == Synced::Gone {
                return Ok(Answer::ok("Idle is over"));
            }
            search::update_contexts(talk).await?;
        }
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
