//! The connection to the server that mail comes from: a socket with or without TLS, and deadlines.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use super::response::{ReadError, Response, read_response};
use super::trust::{Trust, client_config};
use crate::failure::{Exit, Failure};

/// To an answer of the system on the other side.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// To the next bytes: a large mailbox may have to be sorted before the first.
const ANSWER_DEADLINE: Duration = Duration::from_secs(300);

/// How a connection is kept from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Privacy {
    /// TLS from the first byte.
    Tls,
    /// TLS once the server was asked for it.
    StartTls,
    /// None, which only loopback gets.
    Plain,
}

/// Where mail comes from.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) privacy: Privacy,
    pub(super) trust: Trust,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// While one becomes the other.
    Closed,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
            Stream::Closed => Ok(0),
        }
    }
}

impl Stream {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A connection.
pub(super) struct Wire {
    input: BufReader<Stream>,
    address: Address,
}

impl Wire {
    /// Connects, with TLS where it begins with it.
    pub(super) fn connect(address: &Address) -> Result<Wire, Failure> {
        let stream = connect(address)?;
        let ready = stream
            .set_read_timeout(Some(ANSWER_DEADLINE))
            .and_then(|()| stream.set_write_timeout(Some(ANSWER_DEADLINE)))
            .and_then(|()| stream.set_nodelay(true));
        ready.map_err(|cause| unreachable_host(address, &cause))?;
        let input = BufReader::with_capacity(64 << 10, Stream::Plain(stream));
        let mut wire = Wire { input, address: address.clone() };
        if address.privacy == Privacy::Tls {
            wire.begin_tls()?;
        }
        Ok(wire)
    }

    /// Where it leads.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The handshake. What came in the clear behind the answer to STARTTLS is nobody's (RFC 9051
    /// section 11.1): somebody between the two would have put it there.
    pub(super) fn begin_tls(&mut self) -> Result<(), Failure> {
        if !self.input.buffer().is_empty() {
            let sentence = format!("{} sent bytes in the clear behind STARTTLS", self.address.host);
            return Err(Failure::new(Exit::NotAllowed, sentence));
        }
        let config = client_config(&self.address.trust)?;
        let name = ServerName::try_from(self.address.host.clone()).map_err(|_| {
            let sentence = format!("{} is no name that a certificate has", self.address.host);
            Failure::new(Exit::Usage, sentence)
        })?;
        let broken = |why: String| {
            let host = &self.address.host;
            let sentence = format!("no TLS with {host}: {why}; see --ca and --fingerprint");
            Failure::new(Exit::NotAllowed, sentence)
        };
        let mut connection =
            ClientConnection::new(config, name).map_err(|why| broken(why.to_string()))?;
        let Stream::Plain(mut stream) = std::mem::replace(self.input.get_mut(), Stream::Closed)
        else {
            return Err(broken("it began already".to_owned()));
        };
        while connection.is_handshaking() {
            let done = connection.complete_io(&mut stream);
            done.map_err(|cause| broken(cause.to_string()))?;
        }
        *self.input.get_mut() = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(())
    }

    /// Sends bytes at once.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = self.input.get_mut().write_all(bytes);
        sent.map_err(|cause| self.lost(&cause))
    }

    /// The next response.
    pub(super) fn receive(&mut self, message_bytes_max: u64) -> Result<Response, Failure> {
        read_response(&mut self.input, message_bytes_max).map_err(|why| match why {
            ReadError::Lost(cause) => self.lost(&cause),
            ReadError::Broken(why) => {
                let Address { host, port, .. } = &self.address;
                let sentence = format!("{host} port {port} does not speak IMAP: {why}");
                Failure::new(Exit::Refused, sentence)
            }
        })
    }

    fn lost(&self, cause: &io::Error) -> Failure {
        let why = match cause.kind() {
            io::ErrorKind::UnexpectedEof => "it ended".to_owned(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer comes".to_owned(),
            _ => cause.to_string(),
        };
        let host = &self.address.host;
        let sentence = format!(
            "the connection to {host} was lost: {why}; what was brought stays, and the same \
             command goes on from there"
        );
        Failure::new(Exit::Later, sentence)
    }
}

fn connect(address: &Address) -> Result<TcpStream, Failure> {
    let places = (address.host.as_str(), address.port).to_socket_addrs();
    let places = places.map_err(|cause| unreachable_host(address, &cause))?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in places {
        if address.privacy == Privacy::Plain && !place.ip().is_loopback() {
            let sentence = format!(
                "{} is not this machine: passwords and mail go there with --tls or --starttls only",
                address.host
            );
            return Err(Failure::new(Exit::Usage, sentence));
        }
        match TcpStream::connect_timeout(&place, CONNECT_DEADLINE) {
            Ok(stream) => return Ok(stream),
            Err(cause) => last = cause,
        }
    }
    Err(unreachable_host(address, &last))
}

fn unreachable_host(address: &Address, cause: &io::Error) -> Failure {
    let Address { host, port, .. } = address;
    Failure::new(Exit::Later, format!("cannot connect to {host} port {port}: {cause}"))
}
