//! One client's state: who it is, what it has selected, and what it has been told.
//!
//! ```text
//! not authenticated ─ LOGIN, AUTHENTICATE ─→ authenticated ─ SELECT ─→ selected
//!                                                  ↑                      │
//!                                                  └ CLOSE, UNSELECT, failed SELECT
//! ```
//!
//! Sequence numbers exist here alone; the engine and the commands speak UIDs.

mod dialect;
mod news;
mod numbering;
mod partial;
mod resync;
mod selected;
mod sync;

use std::net::SocketAddr;
use std::sync::Arc;

use engine::{Account, Store};

use crate::Config;
use crate::extension::{Situation, capabilities};

pub(crate) use dialect::Dialect;
pub(crate) use news::{put_flags, put_flags_known, put_head, put_modseq, put_vanished};
pub(crate) use numbering::Ghosts;
pub(crate) use resync::{missed, resynchronize};
pub(crate) use selected::{ALL_FLAGS, Reach, Selected, TargetError, changeable};
pub(crate) use sync::{Answered, Expunges, Manner, OwnChange, Synced, sync};

/// Whether bytes on this connection are encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encryption {
    /// Anyone on the way can read.
    Plain,
    /// TLS.
    Tls,
}

/// One client's state.
pub(crate) struct Session {
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) peer: SocketAddr,
    pub(crate) encryption: Encryption,
    /// Who is logged in.
    pub(crate) account: Option<Account>,
    /// What the client has enabled.
    pub(crate) dialect: Dialect,
    /// The selected mailbox.
    pub(crate) selected: Option<Selected>,
    /// Logins that failed on this connection.
    pub(crate) login_failures: u32,
    /// Commands in a row that were not understood.
    pub(crate) bad_commands: u32,
}

impl Session {
    /// Before login.
    pub(crate) fn new(
        store: Store,
        config: Arc<Config>,
        peer: SocketAddr,
        encryption: Encryption,
    ) -> Session {
        Session {
            store,
            config,
            peer,
            encryption,
            account: None,
            dialect: Dialect::default(),
            selected: None,
            login_failures: 0,
            bad_commands: 0,
        }
    }

    /// Whether a password may cross this connection.
    pub(crate) fn takes_passwords(&self) -> bool {
        self.encryption == Encryption::Tls
            || (self.config.allow_plaintext_login && self.peer.ip().to_canonical().is_loopback())
    }

    /// What CAPABILITY answers now.
    pub(crate) fn capabilities(&self) -> String {
        capabilities(Situation {
            logged_in: self.account.is_some(),
            encrypted: self.encryption == Encryption::Tls,
            tls_available: self.config.tls.is_some(),
            passwords_taken: self.takes_passwords(),
            append_bytes_max: self.config.limits.append_bytes_max,
            messages_per_command: self.config.limits.messages_per_command,
            messages_per_save: self.config.limits.messages_per_save,
        })
    }
}
