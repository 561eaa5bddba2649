//! The fronts: which protocol crate serves which listener.

use std::sync::Arc;
use std::time::Duration;

use engine::Store;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::ServerOptions;
use crate::listener::{Admission, Front, Serve};

/// How long a client may take for its TLS handshake where TLS comes first.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// What an IMAP client is told when there is no place for it (RFC 9051 section 7.1.5).
const IMAP_FULL: &[u8] = b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n";
/// What an SMTP or LMTP client is told when there is no place for it (RFC 5321 section 3.8).
const SMTP_FULL: &[u8] = b"421 4.3.2 Too many connections, try again later\r\n";

/// One front for each listener kind.
pub(crate) struct Fronts {
    /// IMAP with STARTTLS.
    pub(crate) imap: Front,
    /// IMAP over TLS.
    pub(crate) imap_tls: Front,
    /// LMTP.
    pub(crate) lmtp: Front,
    /// SMTP.
    pub(crate) smtp: Front,
}

impl Fronts {
    /// Everything that serves connections to `store`.
    pub(crate) fn new(
        store: &Store,
        options: &ServerOptions,
        tls: &TlsAcceptor,
        shutdown: &watch::Receiver<bool>,
    ) -> Fronts {
        let imap_admission = Admission::new(options.imap.bounds);
        let shared = Shared { store: store.clone(), tls: tls.clone(), shutdown: shutdown.clone() };
        Fronts {
            imap: Front {
                name: "imap",
                admission: Arc::clone(&imap_admission),
                serve: imap(shared.clone()),
                refusal: IMAP_FULL,
            },
            imap_tls: Front {
                name: "imaps",
                admission: imap_admission,
                serve: imap_tls(shared.clone()),
                refusal: b"",
            },
            lmtp: Front {
                name: "lmtp",
                admission: Admission::new(options.lmtp.bounds),
                serve: smtp(shared.clone()),
                refusal: SMTP_FULL,
            },
            smtp: Front {
                name: "smtp",
                admission: Admission::new(options.smtp.bounds),
                serve: smtp(shared),
                refusal: SMTP_FULL,
            },
        }
    }
}

#[derive(Clone)]
struct Shared {
    store: Store,
    tls: TlsAcceptor,
    shutdown: watch::Receiver<bool>,
}

fn imap(shared: Shared) -> Serve {
    Arc::new(move |stream, peer| {
        let shared = shared.clone();
        Box::pin(async move {
            let _ = (shared.store, shared.shutdown, stream, peer);
        })
    })
}

fn imap_tls(shared: Shared) -> Serve {
    Arc::new(move |stream, peer| {
        let shared = shared.clone();
        Box::pin(async move {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, shared.tls.accept(stream));
            match handshake.await {
                Ok(Ok(_stream)) => {}
                Ok(Err(cause)) => tracing::debug!(%peer, %cause, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
            }
        })
    })
}

fn smtp(shared: Shared) -> Serve {
    Arc::new(move |stream, peer| {
        let shared = shared.clone();
        Box::pin(async move {
            let _ = (shared.store, shared.tls, shared.shutdown, stream, peer);
        })
    })
}
