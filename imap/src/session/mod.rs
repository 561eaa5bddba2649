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
mod telling;

use std::net::SocketAddr;
use std::sync::Arc;

use engine::{Account, Store};

use crate::Config;
use crate::command::{MetadataWatch, Watching};
use crate::extension::{Situation, capabilities};
use crate::login::{Admitted, Seat, TlsFacts, Visitor, offer};
use crate::sasl::Offer;

pub(crate) use dialect::{Dialect, Metadata};
pub(crate) use news::{FlagsText, put_flags, put_flags_known, put_head, put_modseq, put_vanished};
pub(crate) use numbering::Ghosts;
pub(crate) use resync::{changed, resynchronize, vanished};
#[cfg(test)]
pub(crate) use selected::tests::{TestMessage, selected};
pub(crate) use selected::{
    ALL_FLAGS, Reach, Selected, TargetError, Targets, changeable, looked_up,
};
pub(crate) use sync::{Answered, Expunges, FlagNews, Manner, OwnChange, Synced, sync};
pub(crate) use telling::Telling;

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
    /// What the TLS handshake told.
    pub(crate) tls: Option<Box<TlsFacts>>,
    /// Who is logged in.
    pub(crate) account: Option<Account>,
    /// What the client has enabled.
    pub(crate) dialect: Dialect,
    /// Their place among the connections of the account.
    seat: Option<Seat>,
    /// The selected mailbox.
    pub(crate) selected: Option<Selected>,
    /// What NOTIFY asked to be told; `None` before the first one, and after NONE.
    pub(crate) watching: Option<Box<Watching>>,
    /// What is known of metadata, where its changes are told without NOTIFY.
    pub(crate) metadata_watch: Option<Box<MetadataWatch>>,
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
            tls: None,
            account: None,
            dialect: Dialect::default(),
            seat: None,
            selected: None,
            watching: None,
            metadata_watch: None,
            login_failures: 0,
            bad_commands: 0,
        }
    }

    /// Whether a password may cross this connection.
    pub(crate) fn takes_passwords(&self) -> bool {
        self.offer().passwords
    }

    /// How somebody may prove who they are on this connection.
    pub(crate) fn offer(&self) -> Offer {
        offer(&self.config, self.peer, self.tls.as_deref())
    }

    /// Whoever wants to log in.
    pub(crate) fn visitor(&mut self) -> Visitor<'_> {
        Visitor {
            offer: self.offer(),
            store: &self.store,
            config: &self.config,
            peer: self.peer,
            protocol: "imap",
            tls: self.tls.as_deref(),
            failures: &mut self.login_failures,
        }
    }

    /// Logs somebody in.
    pub(crate) fn admit(&mut self, Admitted { account, seat }: Admitted) {
        self.account = Some(account);
        self.seat = Some(seat);
    }

    /// They go: who hears of it may come again at once, also where the account has no other place.
    pub(crate) fn leave(&mut self) {
        self.selected = None;
        self.seat = None;
    }

    /// As it was before anybody logged in (RFC 8437): what is new in a session is forgotten without
    /// being named here. The connection's TLS and its failures stay.
    pub(crate) fn forget(&mut self) {
        let new =
            Session::new(self.store.clone(), Arc::clone(&self.config), self.peer, self.encryption);
        let old = std::mem::replace(self, new);
        self.tls = old.tls;
        self.login_failures = old.login_failures;
    }

    /// What CAPABILITY answers now.
    pub(crate) fn capabilities(&self) -> String {
        capabilities(Situation {
            logged_in: self.account.is_some(),
            encrypted: self.encryption == Encryption::Tls,
            tls_available: self.config.tls.is_some(),
            offer: self.offer(),
            append_bytes_max: self.config.limits.append_bytes_max,
            messages_per_command: self.config.limits.messages_per_command,
            messages_per_save: self.config.limits.messages_per_save,
        })
    }
}
