//! The way to a client: its stream, or the same with compression.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ByteStream;
use super::deflate::Deflated;

/// See above.
pub(super) enum Pipe {
    Plain(Box<dyn ByteStream>),
    Deflated(Box<Deflated>),
}

impl Pipe {
    /// The stream below, without compression.
    pub(super) fn into_stream(self) -> Box<dyn ByteStream> {
        match self {
            Pipe::Plain(stream) => stream,
            Pipe::Deflated(deflated) => deflated.into_inner(),
        }
    }

    /// Leads nowhere; stands for one that is taken out.
    pub(super) fn nowhere() -> Pipe {
        Pipe::Plain(Box::new(tokio::io::empty()))
    }

    /// Gives memory back until there is output again.
    pub(super) fn rest(&mut self) {
        if let Pipe::Deflated(deflated) = self {
            deflated.rest();
        }
    }

    fn read(self: Pin<&mut Self>) -> Pin<&mut (dyn AsyncRead + Unpin)> {
        match self.get_mut() {
            Pipe::Plain(stream) => Pin::new(stream),
            Pipe::Deflated(deflated) => Pin::new(deflated.as_mut()),
        }
    }

    fn write(self: Pin<&mut Self>) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match self.get_mut() {
            Pipe::Plain(stream) => Pin::new(stream),
            Pipe::Deflated(deflated) => Pin::new(deflated.as_mut()),
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read().poll_read(context, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write().poll_shutdown(context)
    }
}
