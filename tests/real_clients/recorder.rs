//! A wire between a client and the server, which writes down what both say.
//!
//! A client connects to [`Recorder::address`] instead of the server; its bytes pass unchanged. Each
//! connection is a [`Session`] of lines, in the order in which they came. Without TLS and without
//! compression, as nothing else can be read.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::tool;

/// The server hangs up after a LOGOUT, a client when it ends.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);

/// Who said a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A line without its CRLF. Literals are lines too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) side: Side,
    pub(crate) text: String,
}

/// What was said in one connection.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) lines: Vec<Line>,
    /// What has come of the next line, of the client and of the server.
    begun: [Vec<u8>; 2],
    /// How many of the two directions have ended.
    ended: usize,
}

impl Session {
    fn hear(&mut self, side: Side, bytes: &[u8]) {
        let begun = &mut self.begun[side as usize];
        begun.extend_from_slice(bytes);
        while let Some(end) = begun.windows(2).position(|pair| pair == b"\r\n") {
            let text = String::from_utf8_lossy(&begun[..end]).into_owned();
            begun.drain(..end + 2);
            self.lines.push(Line { side, text });
        }
    }
}

/// The wire.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    sessions: Arc<Mutex<Vec<Session>>>,
}

impl Recorder {
    /// A wire to the server at this address.
    pub(crate) fn before(server: SocketAddr) -> Recorder {
        let sessions = Arc::default();
        let address = listen(server, &sessions);
        Recorder { address, sessions }
    }

    /// The address of a wire to another port of the server, heard by the same ear.
    pub(crate) fn also_before(&self, server: SocketAddr) -> SocketAddr {
        listen(server, &self.sessions)
    }

    /// What was said so far: of each connection its lines.
    pub(crate) fn sessions(&self) -> Vec<Vec<Line>> {
        self.sessions.lock().unwrap().iter().map(|session| session.lines.clone()).collect()
    }

    /// Waits until every connection has ended, so that the next one follows on it.
    pub(crate) fn settle(&self) {
        tool::wait_until("every connection has ended", SETTLE_DEADLINE, || {
            let sessions = self.sessions.lock().unwrap();
            sessions.iter().all(|session| session.ended == 2).then_some(())
        });
    }

    /// Stops the test if a command of the client was none for the server.
    pub(crate) fn assert_understood(&self, client: &str) {
        for lines in self.sessions() {
            let refused = |line: &Line| {
                let word = line.text.split(' ').nth(1);
                let is_refusal = word == Some("BAD") || line.text.starts_with("-ERR");
                line.side == Side::Server && is_refusal
            };
            if let Some(at) = lines.iter().position(refused) {
                let before: Vec<String> = lines[at.saturating_sub(8)..=at]
                    .iter()
                    .map(|line| format!("{line:?}"))
                    .collect();
                panic!("{client} was not understood:\n{}", before.join("\n"));
            }
        }
    }
}

fn listen(server: SocketAddr, sessions: &Arc<Mutex<Vec<Session>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = sessions.clone();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(server) else { continue };
            for stream in [&near, &far] {
                stream.set_nodelay(true).unwrap();
            }
            let number = {
                let mut sessions = heard.lock().unwrap();
                sessions.push(Session::default());
                sessions.len() - 1
            };
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            for (from, to, side) in [(near, far, Side::Client), (far_too, near_too, Side::Server)] {
                let heard = heard.clone();
                std::thread::spawn(move || carry(from, to, side, &heard, number));
            }
        }
    });
    address
}

fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    side: Side,
    heard: &Mutex<Vec<Session>>,
    number: usize,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut piece) {
        // Written down before it is passed on: an answer never stands before its question.
        heard.lock().unwrap()[number].hear(side, &piece[..count]);
        if count == 0 || to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    heard.lock().unwrap()[number].ended += 1;
}
