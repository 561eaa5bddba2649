//! From the connections to the host: one line for all, bounded in messages and bytes, and one
//! thread that empties it.

use std::sync::Arc;

use engine::ids::VolumeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::host::{Connection, Host};
use super::message::Message;
use super::protocol::Ending;

/// Messages in line, however small.
const MESSAGES_MAX: usize = 4096;
/// What a message counts beside its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// What the host is told.
pub(crate) enum Item {
    Connected(Arc<Connection>),
    Received(Arc<Connection>, VolumeId, Message),
    Lost(Arc<Connection>, Ending),
}

/// The line's entrance.
pub(crate) struct Delivery {
    line: mpsc::Sender<(Item, OwnedSemaphorePermit)>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
}

impl Delivery {
    /// Begins the thread, which ends when the last entrance is gone and the line is empty.
    pub(crate) fn start(host: Arc<dyn Host>, bytes_max: usize) -> std::io::Result<Delivery> {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(bytes_max).unwrap_or(Semaphore::MAX_PERMITS);
        let bytes = Arc::new(Semaphore::new(permits));
        let (line, mut exit) = mpsc::channel::<(Item, OwnedSemaphorePermit)>(MESSAGES_MAX);
        let deliver = move || {
            while let Some((item, permit)) = exit.blocking_recv() {
                match item {
                    Item::Connected(connection) => host.connected(&connection),
                    Item::Received(connection, volume, message) => {
                        host.received(&connection, volume, message);
                    }
                    Item::Lost(connection, ending) => host.lost(&connection, &ending),
                }
                drop(permit);
            }
        };
        std::thread::Builder::new().name("pair-delivery".to_owned()).spawn(deliver)?;
        Ok(Delivery { line, bytes, bytes_max })
    }

    /// Puts an item in line, as soon as there is room. False if the host's thread is gone.
    pub(crate) async fn give(&self, item: Item, bytes: usize) -> bool {
        let cost = u32::try_from(bytes.saturating_add(MESSAGE_OVERHEAD_BYTES));
        let cost = cost.unwrap_or(u32::MAX).min(self.bytes_max);
        let Ok(permit) = Arc::clone(&self.bytes).acquire_many_owned(cost).await else {
            return false;
        };
        self.line.send((item, permit)).await.is_ok()
    }
}
