//! Drives one connection from greeting to end: the only place that owns a socket's life.
//!
//! Order of things: bytes in, steps out of `connection`, commands through `command`, output flushed
//! when nothing more is at hand to do (so that pipelined commands are answered in one packet).

use std::net::SocketAddr;
use std::sync::Arc;

use engine::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use zeroize::Zeroize;

use crate::Config;
use crate::codec::{Command, grammar};
use crate::command::{Answer, Incoming, Talk, Then};
use crate::command::{carry_out, permit_literal, printable, spool_literal, tell_between};
use crate::connection::{LiteralKind, LiteralOffer, RawCommand, Step};
use crate::session::{Answered, Encryption, Session};
use crate::stream::{Ended, Wire};

/// What a connection begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// IMAP at once; STARTTLS is offered if there is a certificate. Port 143.
    Plain,
    /// A TLS handshake, made here. Port 993. Without a certificate the connection is closed.
    ImplicitTls,
}

/// Serves one client until it is done, until an error ends the connection, or until `shutdown`
/// becomes true, on which the client is told BYE. Logs what an operator needs to know; returns when
/// the connection is closed. Must run in a tokio runtime with time enabled, best a multi-threaded
/// one: reads of the engine then do not hold up other connections.
pub async fn serve_connection<S>(
    store: Store,
    stream: S,
    peer: SocketAddr,
    transport: Transport,
    config: Arc<Config>,
    shutdown: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let bounds = config.limits.input_bounds();
    let wire = Wire::new(Box::new(stream), bounds, config.limits.write_timeout);
    let session = Session::new(store, config, peer, Encryption::Plain);
    let mut talk = Talk {
        session,
        wire,
        shutdown,
        answered: Answered::Nothing,
        incoming: Incoming::default(),
        tag: String::new(),
    };
    let ended = converse(&mut talk, transport).await;
    finish(&mut talk.wire, peer, ended).await;
}

/// Closes a connection, and logs how it ended.
pub(crate) async fn finish(wire: &mut Wire, peer: SocketAddr, ended: Ended) {
    match ended {
        Ended::Said => wire.close().await,
        Ended::Closed => tracing::debug!(rip = %peer.ip(), "client hung up"),
        Ended::Broken(error) => tracing::debug!(rip = %peer.ip(), %error, "connection broke"),
        Ended::Unread => tracing::info!(rip = %peer.ip(), "client does not read its answers"),
        Ended::CutShort => tracing::warn!(rip = %peer.ip(), "answer cut short, connection closed"),
    }
}

async fn converse(talk: &mut Talk, transport: Transport) -> Ended {
    if transport == Transport::ImplicitTls
        && let Err(ended) = handshake(talk).await
    {
        return ended;
    }
    let capabilities = talk.session.capabilities();
    let hostname = printable(&talk.session.config.hostname);
    talk.wire.line(&format!("* OK [CAPABILITY {capabilities}] {hostname} Pillarbox ready"));
    let mut refusal = None;
    loop {
        let step = talk.wire.connection.step(talk.wire.bounds);
        let next = match step {
            Step::Wanting => match spool_literal(talk) {
                Ok(()) => wait_for_bytes(talk).await,
                Err(answer) => {
                    refusal = Some(abandon(talk, &answer));
                    Ok(())
                }
            },
            Step::Literal(offer) => literal(talk, offer, &mut refusal).await,
            Step::Command(raw) => command(talk, raw).await,
            Step::Refused => {
                talk.wire.line(&refusal.take().unwrap_or_else(|| "* BAD Refused".to_owned()));
                talk.wire.relieve().await
            }
            Step::LineTooLong { tag } => line_too_long(talk, tag).await,
            Step::Hopeless => {
                if let Some(refusal) = refusal.take() {
                    talk.wire.line(&refusal);
                }
                talk.wire.line("* BYE [TOOBIG] The command is far too long");
                Err(Ended::Said)
            }
        };
        if let Err(ended) = next {
            return ended;
        }
    }
}

/// Sends what waits, then reads.
async fn wait_for_bytes(talk: &mut Talk) -> Result<(), Ended> {
    enum Woken {
        Bytes(Result<(), Ended>),
        News,
        Late,
        Shutdown,
    }
    let limits = &talk.session.config.limits;
    let timeout = match talk.session.account {
        Some(_) => limits.idle_timeout,
        None => limits.login_timeout,
    };
    let deadline = Instant::now() + timeout;
    let woken = loop {
        if talk.session.watching.is_some() {
            Box::pin(tell_between(talk)).await?;
        }
        talk.wire.flush().await?;
        let news = talk.session.watching.as_ref().map(|watching| watching.news());
        let left = deadline.saturating_duration_since(Instant::now());
        let woken = tokio::select! {
            _ = talk.shutdown.wait_for(|stop| *stop) => Woken::Shutdown,
            received = talk.wire.receive_within(left) => match received {
                Some(received) => Woken::Bytes(received),
                None => Woken::Late,
            },
            () = rung(news.as_deref()) => Woken::News,
        };
        if !matches!(woken, Woken::News) {
            break woken;
        }
    };
    match woken {
        Woken::News => Ok(()),
        Woken::Bytes(received) => received,
        Woken::Late => {
            talk.wire.line("* BYE Silent for too long");
            Err(Ended::Said)
        }
        Woken::Shutdown => {
            talk.wire.line("* BYE The server is stopping");
            Err(Ended::Said)
        }
    }
}

/// Waits for news, if there can be any.
async fn rung(news: Option<&Notify>) {
    match news {
        Some(news) => news.notified().await,
        None => std::future::pending().await,
    }
}

/// Takes or refuses a literal.
async fn literal(
    talk: &mut Talk,
    offer: LiteralOffer,
    refusal: &mut Option<String>,
) -> Result<(), Ended> {
    match permit_literal(talk, offer) {
        Ok(()) => {
            talk.wire.connection.accept();
            if offer.kind == LiteralKind::Synchronizing {
                talk.wire.line("+ Send it");
            }
            Ok(())
        }
        Err(answer) => {
            let tag = grammar::tag_of(talk.wire.connection.line());
            let line = answer.line(tag.as_deref().unwrap_or("*"));
            talk.incoming.release();
            talk.wire.connection.refuse();
            match offer.kind {
                LiteralKind::Synchronizing => talk.wire.line(&line),
                // The bytes come all the same: the answer follows when they are skipped.
                LiteralKind::NonSynchronizing => *refusal = Some(line),
            }
            Ok(())
        }
    }
}

/// Gives up a literal that has begun; answers the line to be sent when all of it has come.
fn abandon(talk: &mut Talk, answer: &Answer) -> String {
    let tag = grammar::tag_of(talk.wire.connection.line());
    talk.incoming.release();
    talk.wire.connection.abandon();
    answer.line(tag.as_deref().unwrap_or("*"))
}

async fn line_too_long(talk: &mut Talk, tag: Option<String>) -> Result<(), Ended> {
    let limit = talk.session.config.limits.line_bytes_max;
    talk.incoming.release();
    let answer = Answer::bad(format!("A command line may have {limit} bytes"));
    bad_command(talk, tag.as_deref(), &answer).await
}

/// Answers what was not understood, and ends the connection of who does not stop.
async fn bad_command(talk: &mut Talk, tag: Option<&str>, answer: &Answer) -> Result<(), Ended> {
    talk.wire.line(&answer.line(tag.unwrap_or("*")));
    talk.session.bad_commands = talk.session.bad_commands.saturating_add(1);
    if talk.session.bad_commands >= talk.session.config.limits.bad_commands_max {
        talk.wire.line("* BYE Too many commands that are none");
        return Err(Ended::Said);
    }
    talk.wire.relieve().await
}

/// Parses and carries out a command.
async fn command(talk: &mut Talk, mut raw: RawCommand) -> Result<(), Ended> {
    let Session { dialect, config, .. } = &talk.session;
    let (names, search) = (dialect.names(), config.limits.search_bounds());
    let parsed = grammar::parse_with(&raw.line, &raw.literals, names, search);
    let request = match parsed {
        Ok(request) => request,
        Err(refusal) => {
            raw.line.zeroize();
            talk.incoming.release();
            let answer = Answer::bad(printable(&refusal.sentence));
            return bad_command(talk, refusal.tag.as_deref(), &answer).await;
        }
    };
    if matches!(request.command, Command::Login { .. } | Command::Authenticate { .. }) {
        raw.line.zeroize();
        raw.literals.iter_mut().for_each(Zeroize::zeroize);
    }
    talk.session.bad_commands = 0;
    match carry_out(talk, request, raw.literals).await? {
        Then::NextCommand => Ok(()),
        Then::Close => Err(Ended::Said),
        Then::Compress => {
            talk.wire.flush().await?;
            talk.wire.compress();
            Ok(())
        }
        Then::StopCompressing => {
            talk.wire.flush().await?;
            talk.wire.stop_compressing();
            Ok(())
        }
        Then::Handshake => {
            talk.wire.flush().await?;
            handshake(talk).await
        }
    }
}

async fn handshake(talk: &mut Talk) -> Result<(), Ended> {
    let Talk { session, wire, .. } = talk;
    let facts = wire.handshake(&session.config, session.peer).await?;
    session.tls = Some(Box::new(facts));
    session.encryption = Encryption::Tls;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_can_be_spawned() {
        fn spawned<F: Future + Send>(_: fn(Store, tokio::io::DuplexStream) -> F) {
            // It lives as long as the connection, and ten thousand of them do at a time.
            assert!(size_of::<F>() < 4096, "{} bytes", size_of::<F>());
        }
        spawned(|store, stream| {
            let config = Config::new(crate::Limits::default(), String::new(), None, false);
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            let (_, shutdown) = watch::channel(false);
            serve_connection(store, stream, peer, Transport::Plain, Arc::new(config), shutdown)
        });
    }
}
