//! `serve`: opens the store, answers mail clients and servers, and stops cleanly.
//!
//! Life cycle: certificate → sockets → store → admin socket → accept … SIGTERM or SIGINT → no new
//! connections → sessions end (at most `limits.shutdown_seconds`) → store closed. A second signal
//! ends the process at once, which is as safe as a crash: everything acknowledged is durable.
//!
//! A node of a pair that was deposed goes back to what both nodes have: all of this ends in the
//! same way, sessions with BYE, and begins again.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::time::Duration;

use engine::Store;
use engine::error::AuthError;
use engine::seal::Secret;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin;
use crate::config::ServerOptions;
use crate::failure::{Exit, Failure};
use crate::listener::{self, Front, Listeners};
use crate::pair::{self, Pair, Reopening};
use crate::service::{self, Fronts};
use crate::store_access::{self, StoreBounds};
use crate::tls;

/// The demo account, which everybody knows the password of.
pub(crate) const DEMO_ACCOUNT: &str = "demo@example.org";
/// Its password.
pub(crate) const DEMO_PASSWORD: &str = "demo";

/// How long is waited for a store that this process had a moment ago.
const REOPENING: Duration = Duration::from_secs(30);

/// What a caller adds to serving.
pub(crate) trait Occasion {
    /// Called with the open store before anybody is answered.
    fn opened(&self, _store: &Store) -> Result<(), Failure> {
        Ok(())
    }

    /// Called when everything answers.
    fn ready(&self) {}
}

/// Serving as configured.
pub(crate) struct Plain;

impl Occasion for Plain {}

/// How serving ended.
enum Ended {
    /// The store is to be closed.
    Stopped(Store),
    /// It is to be closed and opened again.
    Again(Store, Reopening),
    /// A second signal asked for haste.
    Haste,
}

impl Ended {
    fn of(store: Store, again: Option<Reopening>) -> Ended {
        match again {
            Some(reopening) => Ended::Again(store, reopening),
            None => Ended::Stopped(store),
        }
    }
}

/// Serves until a signal asks to stop.
pub(crate) fn serve(options: ServerOptions, occasion: &dyn Occasion) -> Result<(), Failure> {
    serve_perhaps_alone(options, occasion, false)
}

/// The same; `is_alone`: in an epoch of its own, whatever the other node of the pair may have.
pub(crate) fn serve_perhaps_alone(
    options: ServerOptions,
    occasion: &dyn Occasion,
    mut is_alone: bool,
) -> Result<(), Failure> {
    raise_file_limit();
    let mut patience = Duration::ZERO;
    loop {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("front")
            .build()
            .map_err(|cause| Failure::new(Exit::Later, format!("cannot start threads: {cause}")))?;
        let ended = runtime.block_on(answer(&options, occasion, (is_alone, patience)));
        // A command that found no server may have the store for a moment.
        patience = REOPENING;
        // Ends tasks of sessions that did not end in time, so that nothing holds the store when it
        // closes.
        runtime.shutdown_timeout(options.shutdown);
        match ended? {
            Ended::Stopped(store) => {
                store_access::close(store);
                tracing::info!("the store is closed");
                return Ok(());
            }
            Ended::Again(store, reopening) => {
                store_access::close_for_good(store)?;
                is_alone = reopening == Reopening::Alone;
                tracing::warn!("the store is opened again");
            }
            Ended::Haste => return Ok(()),
        }
    }
}

/// Gives the store back for closing.
async fn answer(
    options: &ServerOptions,
    occasion: &dyn Occasion,
    (is_alone, patience): (bool, Duration),
) -> Result<Ended, Failure> {
    let mut stop = StopSignals::new()?;
    let certificate =
        tls::server_config(&options.certificate, &options.host_name, &options.client_ca_file)?;
    let mail_config = service::mail_config(options, &certificate)?;
    // Before the store: a wrong address should not cost a recovery first.
    let sockets = Sockets::bind(options).await?;

    let key = options.key.clone();
    for program in options.store.documents.missing_programs() {
        tracing::warn!(program, "an extractor's program is not there: its documents wait for it");
    }
    let directory = options.directory.clone();
    let member = pair::member_mode(&directory, &options.pair)?;
    let bounds = StoreBounds { pair: member, begins_epoch: is_alone, ..options.store.clone() };
    let opening = tokio::task::spawn_blocking(move || {
        store_access::open_patiently(&directory, &key, &bounds, patience)
    });
    let (store, report) = opening
        .await
        .map_err(|why| Failure::new(Exit::Damage, format!("opening the store failed: {why}")))??;
    tracing::info!(directory = %options.directory.display(), "{report}");
    occasion.opened(&store)?;
    refuse_open_demo(&store, options)?;

    let pair = Pair::start(&store, &options.directory, (&options.pair, is_alone)).await?;
    let (stopping, shutdown) = watch::channel(false);
    let admin = admin::Server::start(
        &options.directory,
        admin::Desk {
            store: store.clone(),
            detail_mailboxes: options.receiving.detail_mailboxes,
            pair: pair.clone(),
        },
        options.receiving.message_bytes_max,
        shutdown.clone(),
    )?;
    let fronts = Fronts::new(&store, options, &certificate, mail_config, &shutdown);
    let listeners = Listeners::new(shutdown);
    sockets.start(&listeners, &fronts);
    drop(fronts);
    tell_systemd("READY=1");
    tracing::info!(addresses = ?options.addresses().collect::<Vec<_>>(), "serving");
    occasion.ready();

    let again = tokio::select! {
        () = stop.received() => None,
        reopening = reopens(pair.as_deref()) => Some(reopening),
    };
    say_that_it_ends(again);
    let _ = stopping.send(true);
    tokio::select! {
        () = listeners.drained() => {}
        () = tokio::time::sleep(options.shutdown) => {
            tracing::warn!("some sessions did not end in time and are cut");
        }
        () = stop.received() => return Ok(Ended::Haste),
    }
    admin.remove();
    if let Some(pair) = pair {
        let _ = tokio::task::spawn_blocking(move || pair.stop()).await;
    }
    Ok(Ended::of(store, again))
}

fn say_that_it_ends(again: Option<Reopening>) {
    let why = match again {
        Some(Reopening::AsOfBoth) => "as of what both nodes of the pair have",
        Some(Reopening::Alone) => "in an epoch of its own",
        None => {
            tracing::info!("stopping; a second signal stops at once");
            return tell_systemd("STOPPING=1");
        }
    };
    tracing::warn!("the store is to be opened again, {why}; sessions end");
    tell_systemd("RELOADING=1");
}

/// Returns when the pair says that the store is to be opened again.
async fn reopens(pair: Option<&Pair>) -> Reopening {
    match pair {
        Some(pair) => pair.reopens().await,
        None => std::future::pending().await,
    }
}

/// Listening sockets by kind.
struct Sockets {
    imap: Vec<TcpListener>,
    imap_tls: Vec<TcpListener>,
    pop3: Vec<TcpListener>,
    pop3_tls: Vec<TcpListener>,
    lmtp: Vec<TcpListener>,
    smtp: Vec<TcpListener>,
}

impl Sockets {
    async fn bind(options: &ServerOptions) -> Result<Sockets, Failure> {
        Ok(Sockets {
            imap: bind_all(&options.imap.addresses).await?,
            imap_tls: bind_all(&options.imap_tls).await?,
            pop3: bind_all(&options.pop3.addresses).await?,
            pop3_tls: bind_all(&options.pop3_tls).await?,
            lmtp: bind_all(&options.lmtp.addresses).await?,
            smtp: bind_all(&options.smtp.addresses).await?,
        })
    }

    fn start(self, listeners: &Listeners, fronts: &Fronts) {
        let kinds: [(Vec<TcpListener>, &Front); 6] = [
            (self.imap, &fronts.imap),
            (self.imap_tls, &fronts.imap_tls),
            (self.pop3, &fronts.pop3),
            (self.pop3_tls, &fronts.pop3_tls),
            (self.lmtp, &fronts.lmtp),
            (self.smtp, &fronts.smtp),
        ];
        for (sockets, front) in kinds {
            for socket in sockets {
                listeners.start(socket, front.clone());
            }
        }
    }
}

async fn bind_all(addresses: &[std::net::SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        sockets.push(listener::bind(*address).await?);
    }
    Ok(sockets)
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> Result<StopSignals, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|cause| {
                Failure::new(Exit::Later, format!("cannot listen for signals: {cause}"))
            })
        };
        Ok(StopSignals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A store with the demo's password is not for other machines to reach.
fn refuse_open_demo(store: &Store, options: &ServerOptions) -> Result<(), Failure> {
    let Some(open) = options.addresses().find(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    match store.authenticate(DEMO_ACCOUNT, &Secret::new(DEMO_PASSWORD.to_owned())) {
        Ok(_) => Err(Failure::new(
            Exit::Refused,
            format!(
                "{DEMO_ACCOUNT} still has the password that everybody knows, so {open} is not \
                 opened; change it with 'pillarbox account passwd {DEMO_ACCOUNT}' or listen on \
                 loopback alone"
            ),
        )),
        Err(AuthError::Refused) => Ok(()),
        Err(AuthError::Read(error)) => Err(error.into()),
    }
}

/// Ten thousand connections need more files than the usual soft limit of 1024.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(cause) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%cause, "the limit of open files stays as it is");
    }
}

/// Tells systemd how far we are, where it asked to be told (sd_notify(3)).
fn tell_systemd(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let bytes = path.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => UnixAddress::from_abstract_name(name),
        None => UnixAddress::from_pathname(&path),
    };
    let told = address.and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
    });
    if let Err(cause) = told {
        tracing::warn!(%cause, "systemd asked to be notified but did not listen");
    }
}
