//! COMPRESS=DEFLATE (RFC 4978) around a stream: raw deflate (RFC 1951) both ways, with a sync flush
//! wherever we flush, so that every answer arrives whole.
//!
//! # Invariants
//! 1. Input is inflated into the room that the reader has, not beyond it: a bomb meets the bounds
//!    of whoever reads. Of the compressed input at most [`RECEIVED_BYTES`] wait.
//! 2. Of the compressed output at most [`READY_BYTES_MAX`] and what one piece more is compressed to
//!    wait.
//! 3. While a connection rests ([`Deflated::rest`]) it keeps the window of the inflater (some 40
//!    KiB) and nothing of the deflater (some 300 KiB): behind a flush a new one goes on with the
//!    same stream, for it refers to nothing before its own beginning.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ByteStream;

const RECEIVED_BYTES: usize = 4096;
const READY_BYTES_MAX: usize = 16 << 10;

/// A stream whose bytes are compressed.
pub(super) struct Deflated {
    inner: Box<dyn ByteStream>,
    inflater: Decompress,
    /// Input, of which `inflated` bytes have been read.
    received: Vec<u8>,
    inflated: usize,
    deflater: Option<Compress>,
    /// Output, of which `sent` bytes have been sent.
    ready: Vec<u8>,
    sent: usize,
    /// Bytes have gone into the deflater since the last flush.
    unflushed: bool,
}

impl Deflated {
    /// Around a stream of which `received` has been read already.
    pub(super) fn new(inner: Box<dyn ByteStream>, received: Vec<u8>) -> Deflated {
        Deflated {
            inner,
            inflater: Decompress::new(false),
            received,
            inflated: 0,
            deflater: None,
            ready: Vec::new(),
            sent: 0,
            unflushed: false,
        }
    }

    /// The stream below. What was received and not inflated is dropped.
    pub(super) fn into_inner(self) -> Box<dyn ByteStream> {
        self.inner
    }

    /// Gives memory back until there is output again.
    pub(super) fn rest(&mut self) {
        if !self.unflushed && self.sent >= self.ready.len() {
            self.deflater = None;
            self.ready = Vec::new();
            self.sent = 0;
        }
    }

    /// Inflates what is at hand into `buf`; whether that was anything.
    fn inflate(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<Inflated> {
        let input = self.received.get(self.inflated..).unwrap_or_default();
        let (taken, given) = (self.inflater.total_in(), self.inflater.total_out());
        let room = buf.initialize_unfilled();
        let status = self
            .inflater
            .decompress(input, room, FlushDecompress::None)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let taken = engine::width::usize_of(self.inflater.total_in().saturating_sub(taken));
        let given = engine::width::usize_of(self.inflater.total_out().saturating_sub(given));
        self.inflated = self.inflated.saturating_add(taken);
        buf.advance(given);
        Ok(match status {
            _ if given > 0 => Inflated::Some,
            Status::StreamEnd => Inflated::End,
            Status::Ok | Status::BufError => Inflated::Nothing,
        })
    }

    /// Sends what is ready.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.ready.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent = self.sent.saturating_add(count),
            }
        }
        self.ready.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Compresses bytes into what is ready; all of them.
    fn deflate(&mut self, mut bytes: &[u8], flush: FlushCompress) -> io::Result<()> {
        let deflater =
            self.deflater.get_or_insert_with(|| Compress::new(Compression::fast(), false));
        loop {
            self.ready.reserve(RECEIVED_BYTES.max(bytes.len() / 2));
            let taken = deflater.total_in();
            let status = deflater
                .compress_vec(bytes, &mut self.ready, flush)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let taken = engine::width::usize_of(deflater.total_in().saturating_sub(taken));
            bytes = bytes.get(taken..).unwrap_or_default();
            // With room left, all that could come has come.
            let room = self.ready.capacity() > self.ready.len();
            if bytes.is_empty() && (room || status == Status::BufError) {
                return Ok(());
            }
        }
    }
}

enum Inflated {
    Some,
    Nothing,
    /// The client ended its stream, which is the end of the connection.
    End,
}

impl AsyncRead for Deflated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.inflate(buf)? {
                Inflated::Some | Inflated::End => return Poll::Ready(Ok(())),
                Inflated::Nothing => {}
            }
            let mut space = [0; RECEIVED_BYTES];
            let mut space = ReadBuf::new(&mut space);
            let this = &mut *self;
            match Pin::new(&mut this.inner).poll_read(context, &mut space)? {
                Poll::Ready(()) if space.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(()) => {
                    this.received.drain(..this.inflated.min(this.received.len()));
                    this.inflated = 0;
                    this.received.extend_from_slice(space.filled());
                }
                Poll::Pending => {
                    if this.inflated >= this.received.len() {
                        this.received = Vec::new();
                        this.inflated = 0;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncWrite for Deflated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ready.len().saturating_sub(self.sent) >= READY_BYTES_MAX {
            ready!(self.poll_send(context))?;
        }
        let piece = bytes.get(..READY_BYTES_MAX).unwrap_or(bytes);
        self.deflate(piece, FlushCompress::None)?;
        self.unflushed |= !piece.is_empty();
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            self.deflate(&[], FlushCompress::Sync)?;
            self.unflushed = false;
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// All that a client inflates of a server's bytes.
    fn inflated(bytes: &[u8]) -> Vec<u8> {
        let mut inflater = Decompress::new(false);
        let mut out = Vec::with_capacity(1 << 20);
        inflater.decompress_vec(bytes, &mut out, FlushDecompress::Sync).unwrap();
        out
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut deflater = Compress::new(Compression::best(), false);
        let mut out = Vec::with_capacity(bytes.len() + 1000);
        deflater.compress_vec(bytes, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    #[tokio::test]
    async fn what_is_flushed_can_be_read_and_a_rest_changes_nothing() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut stream = Deflated::new(Box::new(ours), Vec::new());
        let (mut sent, mut seen) = (Vec::new(), Vec::new());
        for number in 0..50 {
            let answer = format!("* {number} FETCH (FLAGS (\\Seen))\r\n").repeat(number * 7 + 1);
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            sent.extend_from_slice(answer.as_bytes());
            let mut piece = vec![0; 1 << 20];
            let count = theirs.read(&mut piece).await.unwrap();
            seen.extend_from_slice(&piece[..count]);
            assert!(inflated(&seen) == sent, "after {number}");
            if number % 3 == 0 {
                stream.rest();
                assert!(stream.deflater.is_none());
            }
        }
        assert!(seen.len() < sent.len() / 10, "{} of {}", seen.len(), sent.len());
    }

    #[tokio::test]
    async fn what_came_before_the_switch_is_inflated_and_a_bomb_fills_only_the_room_it_is_given() {
        let bomb = deflated(&vec![b'a'; 4 << 20]);
        assert!(bomb.len() < 10_000);
        let (early, late) = bomb.split_at(100);
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(late).await.unwrap();
        let mut stream = Deflated::new(Box::new(ours), early.to_vec());
        let mut total = 0;
        let mut room = [0; 1000];
        while total < 4 << 20 {
            let count = stream.read(&mut room).await.unwrap();
            assert!(count > 0 && room[..count].iter().all(|&byte| byte == b'a'));
            assert!(stream.received.capacity() <= 2 * RECEIVED_BYTES);
            total += count;
        }
        assert_eq!(total, 4 << 20);
    }

    #[tokio::test]
    async fn what_is_not_deflate_is_an_error_and_the_end_of_a_stream_is_the_end() {
        for (bytes, fails) in [(&b"\xff\xff\xff"[..], true), (b"\x03\x00", false)] {
            let (ours, mut theirs) = tokio::io::duplex(100);
            theirs.write_all(bytes).await.unwrap();
            let mut stream = Deflated::new(Box::new(ours), Vec::new());
            let read = stream.read(&mut [0; 10]).await;
            assert_eq!(read.is_err(), fails, "{read:?}");
            assert!(fails || read.unwrap() == 0);
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_back_the_writer() {
        let (ours, _theirs) = tokio::io::duplex(1000);
        let mut stream = Deflated::new(Box::new(ours), Vec::new());
        let noise: Vec<u8> =
            (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let writing = stream.write_all(&noise);
        let late = tokio::time::timeout(std::time::Duration::from_millis(200), writing).await;
        assert!(late.is_err(), "it waits");
        assert!(stream.ready.len() < 3 * READY_BYTES_MAX, "{}", stream.ready.len());
    }
}
