//! The fronts: which protocol crate serves which listener, and what it is told of the
//! configuration.

use std::sync::Arc;
use std::time::Duration;

use engine::Store;
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::config::{PlainPasswords, ServerOptions};
use crate::failure::{Exit, Failure};
use crate::listener::{Admission, Front, Serve};
use crate::{secrets, tls};

/// What an IMAP client is told when there is no place for it (RFC 9051 section 7.1.5).
const IMAP_FULL: &[u8] = b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n";
/// What an SMTP or LMTP client is told when there is no place for it (RFC 5321 section 3.8).
const SMTP_FULL: &[u8] = b"421 4.3.2 Too many connections, try again later\r\n";

/// What a POP3 client is told when there is no place for it (RFC 3206 section 3).
const POP3_FULL: &[u8] = b"-ERR [SYS/TEMP] Too many connections, try again later\r\n";

/// One front for each listener kind.
pub(crate) struct Fronts {
    /// IMAP with STARTTLS.
    pub(crate) imap: Front,
    /// IMAP over TLS.
    pub(crate) imap_tls: Front,
    /// POP3 with STLS.
    pub(crate) pop3: Front,
    /// POP3 over TLS.
    pub(crate) pop3_tls: Front,
    /// LMTP.
    pub(crate) lmtp: Front,
    /// SMTP.
    pub(crate) smtp: Front,
}

/// What every connection gets.
#[derive(Clone)]
struct Shared {
    store: Store,
    certificate: Arc<ServerConfig>,
    shutdown: watch::Receiver<bool>,
}

impl Fronts {
    /// Everything that serves connections to `store`.
    pub(crate) fn new(
        store: &Store,
        options: &ServerOptions,
        certificate: &Arc<ServerConfig>,
        mail_config: Arc<imap::Config>,
        shutdown: &watch::Receiver<bool>,
    ) -> Fronts {
        let shared = Shared {
            store: store.clone(),
            certificate: Arc::clone(certificate),
            shutdown: shutdown.clone(),
        };
        let smtp_config = Arc::new(options.receiving.clone());
        let imap_admission = Admission::new(options.imap.bounds);
        let imap_front = |name, transport, refusal| Front {
            name,
            admission: Arc::clone(&imap_admission),
            serve: imap_serve(shared.clone(), Arc::clone(&mail_config), transport),
            refusal,
        };
        let pop3_admission = Admission::new(options.pop3.bounds);
        let pop3_front = |name, transport, refusal| Front {
            name,
            admission: Arc::clone(&pop3_admission),
            serve: pop3_serve(shared.clone(), Arc::clone(&mail_config), transport),
            refusal,
        };
        let smtp_front = |name, dialect, bounds| Front {
            name,
            admission: Admission::new(bounds),
            serve: smtp_serve(shared.clone(), Arc::clone(&smtp_config), dialect),
            refusal: SMTP_FULL,
        };
        Fronts {
            imap: imap_front("imap", imap::Transport::Plain, IMAP_FULL),
            // Nothing can be said before the handshake, and the handshake is what we cannot afford.
            imap_tls: imap_front("imaps", imap::Transport::ImplicitTls, b""),
            pop3: pop3_front("pop3", imap::Transport::Plain, POP3_FULL),
            pop3_tls: pop3_front("pop3s", imap::Transport::ImplicitTls, b""),
            lmtp: smtp_front("lmtp", smtp_ingest::Dialect::Lmtp, options.lmtp.bounds),
            smtp: smtp_front("smtp", smtp_ingest::Dialect::Smtp, options.smtp.bounds),
        }
    }
}

/// What IMAP and POP3 are told, once for both: an account's connections are counted together.
pub(crate) fn mail_config(
    options: &ServerOptions,
    certificate: &Arc<ServerConfig>,
) -> Result<Arc<imap::Config>, Failure> {
    let mut config = imap::Config::new(
        options.mail_limits.clone(),
        options.host_name.clone(),
        Some(Arc::clone(certificate)),
        options.plain_passwords == PlainPasswords::Loopback,
    );
    config.shared_account.clone_from(&options.shared_account);
    let Some(tokens) = &options.tokens else { return Ok(Arc::new(config)) };
    let is_encrypted = tokens.introspection_url.starts_with("https://");
    let seconds = |count| Duration::from_secs(u64::from(count));
    let config = config.with_tokens(imap::TokenOptions {
        endpoint: tokens.introspection_url.clone(),
        client_id: tokens.client_id.clone(),
        client_secret: secrets::from_file(&tokens.client_secret_file)?,
        account_claim: tokens.account_claim.clone(),
        scope: tokens.scope.clone(),
        timeout: tokens.timeout_seconds.seconds(),
        cache_time: seconds(tokens.cache_seconds),
        tls: match is_encrypted {
            true => Some(tls::client_config(&tokens.ca_file)?),
            false => None,
        },
    });
    let config = config.map_err(|why| {
        Failure::new(Exit::Configuration, format!("tokens.introspection_url: {why}"))
    })?;
    Ok(Arc::new(config))
}

fn imap_serve(shared: Shared, config: Arc<imap::Config>, transport: imap::Transport) -> Serve {
    Arc::new(move |stream, peer| {
        let Shared { store, shutdown, .. } = shared.clone();
        let config = Arc::clone(&config);
        Box::pin(imap::serve_connection(store, stream, peer, transport, config, shutdown))
    })
}

fn pop3_serve(shared: Shared, config: Arc<imap::Config>, transport: imap::Transport) -> Serve {
    Arc::new(move |stream, peer| {
        let Shared { store, shutdown, .. } = shared.clone();
        let config = Arc::clone(&config);
        Box::pin(imap::serve_pop3(store, stream, peer, transport, config, shutdown))
    })
}

fn smtp_serve(
    shared: Shared,
    config: Arc<smtp_ingest::Config>,
    dialect: smtp_ingest::Dialect,
) -> Serve {
    Arc::new(move |stream, peer| {
        let Shared { store, certificate, shutdown } = shared.clone();
        let (tls, config) = (Some(certificate), Arc::clone(&config));
        Box::pin(smtp_ingest::serve_connection(store, stream, peer, dialect, tls, config, shutdown))
    })
}
