//! POP3 (RFC 1939) over the same store: INBOX as it was at login, by number, to be fetched and
//! deleted.
//!
//! ```text
//! authorization ─ USER PASS, AUTH ─→ transaction ─ QUIT ─→ update: what was deleted is expunged
//! ```
//!
//! | RFC | what | file |
//! |--|--|--|
//! | 1939 | all commands but APOP, which needs passwords in the clear on our side | `command.rs` |
//! | 2449 | CAPA: TOP, UIDL, USER, SASL, RESP-CODES, PIPELINING, EXPIRE NEVER | `session.rs` |
//! | 2595 | STLS | `session.rs` |
//! | 3206 | AUTH-RESP-CODE | `session.rs` |
//! | 5034 | AUTH, with the mechanisms of `sasl/` | `session.rs` |
//!
//! Not locked: other sessions, of IMAP too, may be open on the same INBOX (RFC 1939 section 8
//! leaves that to the server). What they expunge answers `-ERR` here.
//!
//! # Invariants
//! 1. Numbers mean the same messages from login to QUIT, whatever others do: the view is immutable.
//! 2. A unique id is UIDVALIDITY and UID, so it is never given to another message (section 7).
//! 3. Nothing is deleted but at QUIT; a connection that breaks deletes nothing (section 6).
//! 4. A message is never whole in memory.

pub(crate) mod command;
mod maildrop;
mod session;
pub(crate) mod stuffing;

use std::net::SocketAddr;
use std::sync::Arc;

use engine::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use self::session::Session;
use crate::Config;
use crate::driver::{Transport, finish};
use crate::stream::Wire;

/// Serves one POP3 client until it is done, as [`serve_connection`](crate::serve_connection) serves
/// one of IMAP.
pub async fn serve_pop3<S>(
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
    let mut wire = Wire::new(Box::new(stream), bounds, config.limits.write_timeout);
    let mut session = Session::new(store, config, peer, shutdown);
    let ended = session.converse(&mut wire, transport).await;
    finish(&mut wire, peer, ended).await;
}
