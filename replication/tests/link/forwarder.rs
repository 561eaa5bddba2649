//! A forwarder between two nodes: passes, delays, splits, corrupts, stops, or cuts one direction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Pass,
    /// Each piece is held back for so long.
    Delay(Duration),
    /// Pieces of that size.
    Split(usize),
    /// One byte of the next piece towards the target is flipped.
    CorruptOne,
    /// Nothing passes, and nothing is closed.
    Stop,
    /// Nothing passes towards the target.
    CutForth,
    /// Nothing passes back.
    CutBack,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forth,
    Back,
}

struct Wire {
    mode: Mutex<Mode>,
    changes: watch::Sender<()>,
    open: AtomicUsize,
}

pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    wire: Arc<Wire>,
    task: JoinHandle<()>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forwarder {
    pub(crate) async fn to(target: String) -> Forwarder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(Wire {
            mode: Mutex::new(Mode::Pass),
            changes: watch::Sender::new(()),
            open: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&wire);
        let task = tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.unwrap();
                let Ok(to) = TcpStream::connect(&target).await else { continue };
                tokio::spawn(connect(Arc::clone(&shared), from, to));
            }
        });
        Forwarder { address, wire, task }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.wire.mode.lock() = mode;
        self.wire.changes.send_replace(());
    }

    pub(crate) fn mode(&self) -> Mode {
        *self.wire.mode.lock()
    }

    /// Connections that it carries.
    pub(crate) fn open(&self) -> usize {
        self.wire.open.load(Ordering::SeqCst)
    }
}

async fn connect(wire: Arc<Wire>, from: TcpStream, to: TcpStream) {
    from.set_nodelay(true).unwrap();
    to.set_nodelay(true).unwrap();
    wire.open.fetch_add(1, Ordering::SeqCst);
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    let forth = carry(Arc::clone(&wire), Direction::Forth, from_read, to_write);
    let back = carry(Arc::clone(&wire), Direction::Back, to_read, from_write);
    // The end of one direction ends both, as a node's own closing does.
    tokio::select! {
        () = forth => {}
        () = back => {}
    }
    wire.open.fetch_sub(1, Ordering::SeqCst);
}

async fn carry(
    wire: Arc<Wire>,
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut changes = wire.changes.subscribe();
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => 0,
            Ok(count) => count,
        };
        let mut size = buffer.len();
        loop {
            let mode = *wire.mode.lock();
            match mode {
                Mode::Stop => {}
                Mode::CutForth if direction == Direction::Forth => {}
                Mode::CutBack if direction == Direction::Back => {}
                Mode::Delay(time) => {
                    tokio::time::sleep(time).await;
                    break;
                }
                Mode::Split(piece) => {
                    size = piece;
                    break;
                }
                Mode::CorruptOne if direction == Direction::Forth && count > 0 => {
                    buffer[count / 2] ^= 0x10;
                    *wire.mode.lock() = Mode::Pass;
                    break;
                }
                _ => break,
            }
            // What is held back stays held back, an end too.
            if changes.changed().await.is_err() {
                return;
            }
        }
        if count == 0 {
            return;
        }
        for piece in buffer[..count].chunks(size) {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}
