//! The client's byte stream with its input and its bounded output.
//!
//! # Invariants
//! 1. At most [`OUTPUT_BYTES_KEPT`] and one piece more wait in memory, four times as much for a
//!    client that has just taken as much at once: whoever writes much calls [`Wire::relieve`]
//!    between pieces, and a slow reader holds back its own connection only.
//! 2. A client that reads nothing for the write timeout loses its connection.

mod deflate;
mod handshake;
mod pipe;

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engine::error::ReadError;
use engine::mailbox::at_hand;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use self::deflate::Deflated;
use self::pipe::Pipe;
use crate::connection::{Bounds, Connection};

/// Bytes of output gathered before they are sent.
pub(crate) const OUTPUT_BYTES_KEPT: usize = 64 << 10;
/// The same for a client that takes them at once: it sleeps between two of our sends, and waking it
/// was a tenth of the CPU of a FETCH of bodies.
const OUTPUT_BYTES_BRISK: usize = 256 << 10;

/// Bytes that are read at a time, but for literals.
const ROOM_BYTES: usize = 4096;
/// How long a compressed connection waits before it gives memory back.
const REST_AFTER: Duration = Duration::from_secs(5);

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
    stream: Pipe,
    /// Answers not sent yet.
    pub(crate) out: Vec<u8>,
    /// Bytes of output from which on it is sent before more is made.
    pub(crate) full_at: usize,
    /// The stream may still hold some of what it took: one with TLS does.
    unflushed: bool,
    /// Input not carried out yet.
    pub(crate) connection: Connection,
    /// Bounds of the input.
    pub(crate) bounds: Bounds,
    write_timeout: Duration,
    alarm: Alarm,
}

/// One timer for all waits of a connection. A timer that is set for every wait and dropped after it
/// makes the runtime wake the thread that sleeps on all of them, for every command.
struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    fn new() -> Alarm {
        Alarm(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    /// Returns when `patience` is over. The timer is left where an earlier wait set it, and set
    /// anew when it rings too early.
    async fn ring(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        if self.0.deadline() > deadline {
            self.0.as_mut().reset(deadline);
        }
        loop {
            self.0.as_mut().await;
            if Instant::now() >= deadline {
                return;
            }
            self.0.as_mut().reset(deadline);
        }
    }
}

impl Wire {
    /// Around a stream.
    pub(crate) fn new(
        stream: Box<dyn ByteStream>,
        bounds: Bounds,
        write_timeout: Duration,
    ) -> Wire {
        Wire {
            stream: Pipe::Plain(stream),
            out: Vec::new(),
            full_at: OUTPUT_BYTES_KEPT,
            unflushed: false,
            connection: Connection::default(),
            bounds,
            write_timeout,
            alarm: Alarm::new(),
        }
    }

    /// Reads what is there, at least one byte; `None` if nothing comes in time.
    pub(crate) async fn receive_within(&mut self, patience: Duration) -> Option<Result<(), Ended>> {
        let Wire { stream, out, connection, alarm, .. } = self;
        tokio::select! {
            received = receive(stream, out, connection) => Some(received),
            () = alarm.ring(patience) => None,
        }
    }

    /// Reads what is there, at least one byte.
    pub(crate) async fn receive(&mut self) -> Result<(), Ended> {
        receive(&mut self.stream, &mut self.out, &mut self.connection).await
    }

    /// Sends all that waits.
    pub(crate) async fn flush(&mut self) -> Result<(), Ended> {
        if self.out.is_empty() && !self.unflushed {
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
        self.unflushed = false;
        self.full_at = OUTPUT_BYTES_KEPT;
        Ok(())
    }

    /// Sends what the network takes at once; whether that was all. For a blocking call that makes
    /// much output: it goes on for as long as the client keeps up, and who waits for a slow one
    /// waits in [`Wire::relieve`], without a thread.
    pub(crate) fn send_now(&mut self) -> Result<bool, Ended> {
        // Nobody is woken through this: `flush` asks again with a waker of its own.
        let mut context = Context::from_waker(Waker::noop());
        let mut sent = 0;
        let all = loop {
            let rest = self.out.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break true;
            }
            match Pin::new(&mut self.stream).poll_write(&mut context, rest) {
                Poll::Pending => break false,
                Poll::Ready(Ok(0)) => {
                    return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
                }
                Poll::Ready(count) => sent += count?,
            }
        };
        self.unflushed |= sent > 0;
        self.out.drain(..sent);
        self.full_at = if all { OUTPUT_BYTES_BRISK } else { OUTPUT_BYTES_KEPT };
        Ok(all)
    }

    /// Sends what waits if it has become much.
    pub(crate) async fn relieve(&mut self) -> Result<(), Ended> {
        if self.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Whether output should be sent before more is made.
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= self.full_at
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
        std::mem::replace(&mut self.stream, Pipe::nowhere()).into_stream()
    }

    /// Puts the encrypted stream in.
    pub(crate) fn put_stream(&mut self, stream: Box<dyn ByteStream>) {
        self.stream = Pipe::Plain(stream);
    }

    /// Whether bytes are compressed.
    pub(crate) fn is_compressed(&self) -> bool {
        matches!(self.stream, Pipe::Deflated(_))
    }

    /// Compresses what follows, both ways. All output must have been sent; input that came already
    /// is compressed (RFC 4978 section 3).
    pub(crate) fn compress(&mut self) {
        let early = self.connection.take_input();
        let stream = std::mem::replace(&mut self.stream, Pipe::nowhere()).into_stream();
        self.stream = Pipe::Deflated(Box::new(Deflated::new(stream, early)));
    }

    /// The contrary. All output must have been sent.
    pub(crate) fn stop_compressing(&mut self) {
        let stream = std::mem::replace(&mut self.stream, Pipe::nowhere()).into_stream();
        self.stream = Pipe::Plain(stream);
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

/// Reads what is there, at least one byte. A connection that waits keeps neither room for what may
/// come nor that of its last answer: ten thousand of them wait at a time.
async fn receive(
    stream: &mut Pipe,
    out: &mut Vec<u8>,
    connection: &mut Connection,
) -> Result<(), Ended> {
    if let Pipe::Deflated(_) = stream {
        let reading = receive_some(stream, out, connection);
        match tokio::time::timeout(REST_AFTER, reading).await {
            Ok(received) => return received,
            Err(_) => stream.rest(),
        }
    }
    receive_some(stream, out, connection).await
}

async fn receive_some(
    stream: &mut Pipe,
    out: &mut Vec<u8>,
    connection: &mut Connection,
) -> Result<(), Ended> {
    let room = connection.room_wanted();
    let count = if room > ROOM_BYTES {
        // In the middle of a literal.
        let buffer = connection.buffer();
        buffer.reserve(room);
        stream.read_buf(buffer).await?
    } else {
        std::future::poll_fn(|context| {
            let mut space = [const { MaybeUninit::uninit() }; ROOM_BYTES];
            let mut space = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *stream).poll_read(context, &mut space) {
                Poll::Ready(Ok(())) => {
                    connection.buffer().extend_from_slice(space.filled());
                    Poll::Ready(Ok(space.filled().len()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => {
                    out.shrink_to_fit();
                    connection.buffer().shrink_to_fit();
                    Poll::Pending
                }
            }
        })
        .await?
    };
    if count == 0 { Err(Ended::Closed) } else { Ok(()) }
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

/// Pages that are looked at where others wait: some ten thousand rows.
const PAGES_AT_HAND: u32 = 32;

/// Why a question about pages has no answer.
pub(crate) trait Unanswered {
    /// Because it took more than what is at hand.
    fn is_not_at_hand(&self) -> bool;
}

impl Unanswered for ReadError {
    fn is_not_at_hand(&self) -> bool {
        matches!(self, ReadError::NotAtHand)
    }
}

/// Asks something of pages that most often are few and in memory: at once where that is so, or else
/// as [`blocking`] does, which costs more than most of these questions, for it wakes a thread. What
/// is asked twice must have the same effect as once, reads nothing but pages of views, and does not
/// take long for other reasons.
pub(crate) fn asking<T, E: Unanswered>(mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    match at_hand(PAGES_AT_HAND, &mut ask) {
        Err(error) if error.is_not_at_hand() => blocking(ask),
        answered => answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_when_the_last_wait_is_over_whatever_was_set_before() {
        let mut alarm = Alarm::new();
        for (given_up, patience_ms) in [(3_600_000, 5), (1, 10), (20, 15)] {
            let _ = tokio::time::timeout(
                Duration::from_millis(1),
                alarm.ring(Duration::from_millis(given_up)),
            )
            .await;
            let (begin, patience) = (Instant::now(), Duration::from_millis(patience_ms));
            alarm.ring(patience).await;
            assert!(begin.elapsed() >= patience, "{patience:?} after {given_up}");
        }
    }

    #[test]
    fn what_is_not_at_hand_is_asked_again_and_other_errors_are_answers() {
        let mut asked = 0;
        let answer = asking(|| {
            asked += 1;
            if asked == 1 { Err(ReadError::NotAtHand) } else { Ok(asked) }
        });
        assert_eq!(answer.unwrap(), 2);
        let mut asked = 0;
        let answer: Result<(), ReadError> = asking(|| {
            asked += 1;
            Err(ReadError::Table("broken".to_owned()))
        });
        assert!(matches!(answer, Err(ReadError::Table(_))));
        assert_eq!(asked, 1);
    }

    #[tokio::test]
    async fn what_is_sent_at_once_is_sent_once_and_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(1000);
        let bounds = Bounds { line_bytes_max: 100, skip_bytes_max: 100 };
        let mut wire = Wire::new(Box::new(ours), bounds, Duration::from_secs(9));
        wire.out = (0..=250).cycle().take(1500).collect();
        let expected = wire.out.clone();
        assert!(!wire.send_now().unwrap(), "500 bytes do not fit");
        assert_eq!(wire.out.len(), 500);
        let mut found = vec![0; 1000];
        theirs.read_exact(&mut found).await.unwrap();
        assert!(wire.send_now().unwrap());
        assert!(wire.out.is_empty());
        wire.flush().await.unwrap();
        drop(wire);
        theirs.read_to_end(&mut found).await.unwrap();
        assert_eq!(found, expected);
    }
}
