//! The client's byte stream with its input and its bounded output.
//!
//! # Invariants
//! 1. At most [`OUTPUT_BYTES_KEPT`] and one piece more wait in memory: whoever writes much calls
//!    [`Wire::relieve`] between pieces, and a slow reader holds back its own connection only.
//! 2. A client that reads nothing for the write timeout loses its connection.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connection::{Bounds, Connection};

/// Bytes of output gathered before they are sent.
pub(crate) const OUTPUT_BYTES_KEPT: usize = 64 << 10;

/// Anything that carries bytes both ways.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> ByteStream for T {}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client hung up.
    Closed,
    /// The network failed.
    Broken(std::io::Error),
    /// The client did not read its answers.
    Unread,
    /// A literal could not be finished, because stored bytes could not be read.
    CutShort,
    /// We said BYE.
    Said,
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        Ended::Broken(error)
    }
}

/// One client's bytes.
pub(crate) struct Wire {
    stream: Box<dyn ByteStream>,
    /// Answers not sent yet.
    pub(crate) out: Vec<u8>,
    /// Input not carried out yet.
    pub(crate) connection: Connection,
    /// Bounds of the input.
    pub(crate) bounds: Bounds,
    write_timeout: Duration,
}

impl Wire {
    /// Around a stream.
    pub(crate) fn new(
        stream: Box<dyn ByteStream>,
        bounds: Bounds,
        write_timeout: Duration,
    ) -> Wire {
        Wire { stream, out: Vec::new(), connection: Connection::default(), bounds, write_timeout }
    }

    /// Reads what is there, at least one byte.
    pub(crate) async fn receive(&mut self) -> Result<(), Ended> {
        // A connection that waits keeps a few KiB, not its largest answer.
        self.out.shrink_to(4096);
        let room = self.connection.room_wanted();
        let buffer = self.connection.buffer();
        buffer.reserve(room);
        match self.stream.read_buf(buffer).await? {
            0 => Err(Ended::Closed),
            _ => Ok(()),
        }
    }

    /// Sends all that waits.
    pub(crate) async fn flush(&mut self) -> Result<(), Ended> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sending = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(self.write_timeout, sending).await {
            Ok(sent) => sent?,
            Err(_) => return Err(Ended::Unread),
        }
        self.out.clear();
        Ok(())
    }

    /// Sends what waits if it has become much.
    pub(crate) async fn relieve(&mut self) -> Result<(), Ended> {
        if self.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Whether output should be sent before more is made.
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= OUTPUT_BYTES_KEPT
    }

    /// Adds a whole line.
    pub(crate) fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Sends what waits, and the end of the stream.
    pub(crate) async fn close(&mut self) {
        if self.flush().await.is_ok() {
            let _ = tokio::time::timeout(self.write_timeout, self.stream.shutdown()).await;
        }
    }

    /// Takes the stream out for a TLS handshake and forgets all input that came before it.
    pub(crate) fn take_stream(&mut self) -> Box<dyn ByteStream> {
        self.connection.clear();
        std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()))
    }

    /// Puts the encrypted stream in.
    pub(crate) fn put_stream(&mut self, stream: Box<dyn ByteStream>) {
        self.stream = stream;
    }

    /// The next line that is no command. `None` if it is longer than a line may be.
    pub(crate) async fn plain_line(&mut self) -> Result<Option<Vec<u8>>, Ended> {
        loop {
            match self.connection.plain_line(self.bounds) {
                Ok(Some(line)) => return Ok(Some(line)),
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
            self.flush().await?;
            self.receive().await?;
        }
    }
}

/// Runs a call into the engine that may read the disk or use much CPU, so that the runtime moves
/// other connections to another thread meanwhile where it can.
pub(crate) fn blocking<T>(call: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(call),
        _ => call(),
    }
}
