//! A store, a server on it, and a client that reads and writes lines.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use engine::seal::{Argon2Cost, Secret};
use engine::{InitOptions, KeySource, NewAccount, NewMessage, OpenOptions, Store};
use imap::{Config, Transport, serve_connection, serve_pop3};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::io::{BufReader, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const USER: &str = "demo@example.org";

/// How long an answer may take on a busy machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// A store with the accounts demo@example.org, anna@… and shared@…, which has little room; their
/// passwords are as their names begin.
pub(crate) fn open_store(folder: &Path) -> Store {
    let directory = folder.join("data");
    let key = || KeySource::KeyFile(folder.join("data.key"));
    Store::init(&directory, &InitOptions { key: key() }).unwrap();
    let mut options = OpenOptions::new(key());
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    let store = Store::open(&directory, options).unwrap().0;
    store.add_domain("example.org").unwrap();
    for user in ["demo", "anna", "shared"] {
        let (name, password) = (format!("{user}@example.org"), Secret::new(user.into()));
        let quota_bytes = (user == "shared").then_some(4096);
        let number = store.create_account(NewAccount { name, password, quota_bytes }).unwrap();
        if user == "shared" {
            store.set_message_limit(number, Some(3)).unwrap();
        }
    }
    store
}

/// Puts a message into INBOX as LMTP does: with whatever bytes it has.
pub(crate) fn deliver(store: &Store, message: &[u8], flags: FlagList, received: UnixSeconds) {
    let account = store.account(USER).unwrap().unwrap();
    let prepared = store.prepare(message, &[account.number()]).unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    inbox.append(vec![NewMessage { prepared, flags, received }]).wait().unwrap();
}

/// A server over memory.
pub(crate) struct Served {
    store: Store,
    config: Arc<Config>,
    stop: watch::Sender<bool>,
}

impl Served {
    pub(crate) fn new(store: Store, config: Config) -> Served {
        Served { store, config: Arc::new(config), stop: watch::channel(false).0 }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// A new connection with so many bytes between its ends each way.
    pub(crate) fn connect(&self, transport: Transport, window: usize) -> DuplexStream {
        self.connect_watched(transport, window).0
    }

    /// A new connection that speaks POP3.
    pub(crate) fn connect_pop3(&self, transport: Transport, window: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(window);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let (store, config) = (self.store.clone(), Arc::clone(&self.config));
        let stop = self.stop.subscribe();
        tokio::spawn(serve_pop3(store, theirs, peer, transport, config, stop));
        ours
    }

    /// The same, with what ends when the server is done with it.
    pub(crate) fn connect_watched(
        &self,
        transport: Transport,
        window: usize,
    ) -> (DuplexStream, JoinHandle<()>) {
        self.connect_from(SocketAddr::from(([127, 0, 0, 1], 1)), transport, window)
    }

    /// The same, as if the client were there.
    pub(crate) fn connect_from(
        &self,
        peer: SocketAddr,
        transport: Transport,
        window: usize,
    ) -> (DuplexStream, JoinHandle<()>) {
        let (ours, theirs) = tokio::io::duplex(window);
        let config = Arc::clone(&self.config);
        let serving = serve_connection(
            self.store.clone(),
            theirs,
            peer,
            transport,
            config,
            self.stop.subscribe(),
        );
        (ours, tokio::spawn(serving))
    }
}

/// A connection as a client has it.
pub(crate) struct Client<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Client<S> {
        Client { stream: BufReader::with_capacity(64 << 10, stream) }
    }

    /// The stream, for a handshake; nothing may be unread.
    pub(crate) fn into_stream(self) -> S {
        assert!(self.stream.buffer().is_empty(), "bytes came before the handshake");
        self.stream.into_inner()
    }

    /// The stream, to look at.
    pub(crate) fn stream(&self) -> &S {
        self.stream.get_ref()
    }

    /// What was read ahead.
    pub(crate) fn buffered(&self) -> Vec<u8> {
        self.stream.buffer().to_vec()
    }

    /// The stream behind what was read ahead.
    pub(crate) fn into_inner(self) -> S {
        self.stream.into_inner()
    }

    /// Reads the greeting and logs in.
    pub(crate) async fn log_in(&mut self) {
        self.log_in_as(USER).await;
    }

    /// The same as another account of [`open_store`].
    pub(crate) async fn log_in_as(&mut self, name: &str) {
        assert!(self.line().await.unwrap().starts_with("* OK "));
        let password = name.split('@').next().unwrap();
        self.ok(&format!("LOGIN {name} {password}")).await;
    }

    /// Sends a command and answers its tagged answer, without the tag.
    pub(crate) async fn answer(&mut self, command: &str) -> String {
        self.send(format!("t {command}\r\n").as_bytes()).await;
        loop {
            let line = self.line().await.expect("an answer");
            if let Some(answer) = line.strip_prefix("t ") {
                return answer.to_owned();
            }
        }
    }

    /// The next line without CRLF; `None` at the end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let reading = self.stream.read_until(b'\n', &mut line);
        let read = tokio::time::timeout(ANSWER_DEADLINE, reading).await;
        let count = read.expect("the server answers in time").unwrap_or(0);
        let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
        (count > 0).then(|| String::from_utf8_lossy(line).into_owned())
    }

    /// The next so many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let reading = self.stream.read_exact(&mut bytes);
        let read = tokio::time::timeout(ANSWER_DEADLINE, reading).await;
        read.expect("the server answers in time").unwrap();
        bytes
    }

    /// All bytes to the end of the stream.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let reading = self.stream.read_to_end(&mut bytes);
        let read = tokio::time::timeout(ANSWER_DEADLINE, reading).await;
        read.expect("the server ends in time").unwrap();
        bytes
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
        self.stream.get_mut().flush().await.unwrap();
    }

    /// Sends a command and answers all lines but the tagged one, which must be OK.
    pub(crate) async fn ok(&mut self, command: &str) -> Vec<String> {
        self.send(format!("t {command}\r\n").as_bytes()).await;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.expect("an answer");
            if let Some(answer) = line.strip_prefix("t ") {
                assert!(answer.starts_with("OK"), "{command}: {answer}");
                return lines;
            }
            lines.push(line);
        }
    }

    /// Sends a command and reads over its answers; says how many bytes they had.
    pub(crate) async fn drain(&mut self, command: &str) -> usize {
        self.send(format!("t {command}\r\n").as_bytes()).await;
        let (mut count, mut tail) = (0, Vec::new());
        loop {
            let bytes = self.stream.fill_buf().await.unwrap();
            assert!(!bytes.is_empty(), "the answers end with a tagged one");
            let length = bytes.len();
            count += length;
            tail.extend_from_slice(&bytes[length.saturating_sub(200)..]);
            tail.drain(..tail.len().saturating_sub(200));
            self.stream.consume(length);
            let last =
                tail.strip_suffix(b"\r\n").and_then(|tail| tail.rsplit(|&b| b == b'\n').next());
            if last.is_some_and(|last| last.starts_with(b"t OK")) {
                return count;
            }
        }
    }

    /// FETCH of one literal of one message: its bytes.
    pub(crate) async fn fetch_literal(&mut self, number: u32, item: &str) -> Vec<u8> {
        self.send(format!("t FETCH {number} {item}\r\n").as_bytes()).await;
        let head = self.line().await.expect("an answer");
        let (_, size) = head.rsplit_once('{').unwrap_or_else(|| panic!("no literal: {head}"));
        let literal = self.bytes(size.trim_end_matches('}').parse().unwrap()).await;
        assert_eq!(self.line().await.as_deref(), Some(")"));
        assert!(self.line().await.expect("an answer").starts_with("t OK"));
        literal
    }
}
