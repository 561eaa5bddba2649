//! What may stand where an etcd should be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// How an endpoint behaves that is no etcd, or no good one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// Nobody listens.
    Closed,
    /// Accepts, and says nothing.
    Silent,
    /// Hangs up when it was asked.
    HangsUp,
    /// Sends a byte at a time, for ever.
    Trickles,
    /// Sends the head of an answer, then nothing.
    HalfAnAnswer,
    /// Speaks another protocol.
    Smtp,
    /// Answers with a page.
    Page,
    /// Answers with JSON that is none of etcd's.
    OtherJson,
    /// Answers as etcd does, with other rows than were asked for.
    OtherRows,
    /// Renews lease 7 for a minute, in a leader's second term.
    Renews,
    /// Sends an answer that does not end.
    Endless,
    /// Sends a head that does not end.
    EndlessHead,
    /// Sends them elsewhere.
    Redirects,
}

/// Starts one; it lasts as long as the process. Gives its URL.
pub(crate) fn start(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    if manner != Manner::Closed {
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || answer(stream.unwrap(), manner));
            }
        });
    }
    url
}

fn answer(mut stream: TcpStream, manner: Manner) -> Option<()> {
    if manner == Manner::Smtp {
        stream.write_all(b"220 mail.example.org ESMTP\r\n").ok()?;
    }
    let mut request = [0; 4096];
    stream.read(&mut request).ok().filter(|count| *count > 0)?;
    let whole = |kind: &str, body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let renewal = r#"{"result":{"header":{"raft_term":"2"},"ID":"7","TTL":"60"}}"#;
    let rows = r#"{"header":{"revision":"9"},"succeeded":true,"responses":[]}"#;
    match manner {
        Manner::Closed | Manner::HangsUp => {}
        Manner::Silent => thread::sleep(Duration::from_secs(60)),
        Manner::Trickles => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").ok()?;
            loop {
                stream.write_all(b" ").ok()?;
                thread::sleep(Duration::from_millis(50));
            }
        }
        Manner::HalfAnAnswer => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
            stream.write_all(head).ok()?;
            thread::sleep(Duration::from_secs(60));
        }
        Manner::Smtp => stream.write_all(b"500 What?\r\n").ok()?,
        Manner::Page => stream.write_all(whole("text/html", "<html>").as_bytes()).ok()?,
        Manner::OtherJson => stream.write_all(whole("application/json", "{}").as_bytes()).ok()?,
        Manner::OtherRows => stream.write_all(whole("application/json", rows).as_bytes()).ok()?,
        Manner::Renews => stream.write_all(whole("application/json", renewal).as_bytes()).ok()?,
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
            loop {
                stream.write_all(b"1000\r\n").ok()?;
                stream.write_all(&[b' '; 0x1000]).ok()?;
                stream.write_all(b"\r\n").ok()?;
            }
        }
        Manner::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").ok()?;
            loop {
                stream.write_all(b"X-More: of the same\r\n").ok()?;
            }
        }
        Manner::Redirects => {
            let head = b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\n\
                Content-Length: 0\r\n\r\n";
            stream.write_all(head).ok()?;
        }
    }
    Some(())
}

/// A forwarder to the server at `url` that loses the answers to some requests. Gives its own URL.
pub(crate) fn forward(url: &str, loses: fn(&str) -> bool) -> String {
    let real = url.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let real = real.clone();
            thread::spawn(move || forward_one(stream.unwrap(), &real, loses));
        }
    });
    own
}

/// One request and its answer; then the connection is closed.
fn forward_one(mut stream: TcpStream, real: &str, loses: fn(&str) -> bool) -> Option<()> {
    let request = message(&mut stream)?;
    let mut server = TcpStream::connect(real).ok()?;
    server.write_all(request.as_bytes()).ok()?;
    let answer = message(&mut server)?;
    if !loses(&request) {
        stream.write_all(answer.as_bytes()).ok()?;
    }
    Some(())
}

/// A head, and a body of the length that it says.
fn message(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
}
