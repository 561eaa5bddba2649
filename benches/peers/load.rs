//! The load of `make bench-peers`: the same messages at the same pace against any LMTP and IMAP
//! server.
//!
//! Question: how many durable deliveries, appends, fetches and selects a second does a server
//! answer? Dataset: a file of messages rendered in advance (little-endian `u32` length, then the
//! bytes, CRLF). Unit: one JSON line a run, seconds of wall time, bytes of mail, latencies in
//! milliseconds.
//!
//! It must not be the bottleneck on two cores that it shares with the server: messages are
//! dot-stuffed before the clock starts, a connection is one thread that blocks, and what is fetched
//! is counted and thrown away. Its own CPU seconds stand in the line, so that a reader can judge.
//! Std only: `rustc -O` builds it in seconds where no cargo target exists.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a load generator stops at the first surprise, and its figures are small"
)]

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// A server that does not answer for so long has failed the run.
const ANSWER_SECONDS_MAX: u64 = 120;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let options = Options::read(arguments);
    let line = match verb.as_str() {
        "lmtp" => lmtp(&options),
        "append" => append(&options),
        "fetch" => fetch(&options),
        "select" => select(&options),
        "grow" => grow(&options),
        _ => {
            eprintln!("usage: load lmtp|append|fetch|select|grow --key value …");
            std::process::exit(2);
        }
    };
    println!("{line}");
}

/// `--key value` pairs.
struct Options(HashMap<String, String>);

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Options {
        let mut values = HashMap::new();
        while let Some(key) = arguments.next() {
            let key = key.strip_prefix("--").expect("an option begins with --").to_owned();
            values.insert(key, arguments.next().expect("an option has a value"));
        }
        Options(values)
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("--{key} is missing"))
    }

    fn number(&self, key: &str) -> usize {
        self.text(key).parse().unwrap_or_else(|_| panic!("--{key} is no number"))
    }

    fn list(&self, key: &str) -> Vec<String> {
        self.text(key).split(',').map(str::to_owned).collect()
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let file = std::fs::read(self.text("messages")).expect("the message file can be read");
        let mut rest = file.as_slice();
        let mut messages = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (message, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
            messages.push(message.to_vec());
            rest = tail;
        }
        assert!(!messages.is_empty(), "the message file is empty");
        messages
    }
}

/// What the connections of one run share: who sends which message, and when all begin.
struct Run {
    messages: Vec<Vec<u8>>,
    count: usize,
    next: AtomicUsize,
    start: Barrier,
}

/// One connection's part of a run.
#[derive(Default)]
struct Part {
    latencies_us: Vec<u64>,
    byte_count: u64,
}

/// Runs `connect` and then `send` on every connection, with one clock around all of the sending.
fn run<C>(
    options: &Options,
    messages: Vec<Vec<u8>>,
    connect: impl Fn(usize) -> C + Send + Sync + 'static,
    send: impl Fn(&mut C, usize, &[u8]) + Send + Sync + 'static,
) -> String {
    let connections = options.number("connections");
    let shared = Arc::new(Run {
        messages,
        count: options.number("count"),
        next: AtomicUsize::new(0),
        start: Barrier::new(connections + 1),
    });
    let work = Arc::new((connect, send));
    let threads: Vec<_> = (0..connections)
        .map(|index| {
            let (shared, work) = (shared.clone(), work.clone());
            std::thread::spawn(move || {
                let mut connection = (work.0)(index);
                shared.start.wait();
                let mut part = Part::default();
                loop {
                    let number = shared.next.fetch_add(1, Ordering::Relaxed);
                    if number >= shared.count {
                        return part;
                    }
                    let message = &shared.messages[number % shared.messages.len()];
                    let begun = Instant::now();
                    (work.1)(&mut connection, number, message);
                    part.latencies_us.push(begun.elapsed().as_micros() as u64);
                    part.byte_count += message.len() as u64;
                }
            })
        })
        .collect();
    shared.start.wait();
    let begun = Instant::now();
    let own_cpu = own_cpu_seconds();
    let parts: Vec<Part> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    report(begun.elapsed(), own_cpu_seconds() - own_cpu, parts)
}

fn report(wall: Duration, own_cpu: f64, parts: Vec<Part>) -> String {
    let byte_count: u64 = parts.iter().map(|part| part.byte_count).sum();
    let mut latencies: Vec<u64> = parts.into_iter().flat_map(|part| part.latencies_us).collect();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = ((latencies.len() as f64 * share) as usize).min(latencies.len() - 1);
        latencies[index] as f64 / 1000.0
    };
    format!(
        "{{\"operations\":{},\"bytes\":{byte_count},\"wall_s\":{:.4},\"load_cpu_s\":{own_cpu:.2},\
         \"p50_ms\":{:.3},\"p99_ms\":{:.3},\"max_ms\":{:.3}}}",
        latencies.len(),
        wall.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

/// User and system time of this process, from the kernel's own count (100 ticks a second).
fn own_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// A connection that reads lines.
struct Lines {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Lines {
    fn connect(address: &str) -> Lines {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX))).unwrap();
        Lines { stream: BufReader::with_capacity(256 << 10, stream), line: Vec::new() }
    }

    fn write(&mut self, parts: &[&[u8]]) {
        let stream = self.stream.get_mut();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let written = stream.write_vectored(rest).expect("the server takes bytes");
            IoSlice::advance_slices(&mut rest, written);
        }
    }

    fn read_line(&mut self) -> &[u8] {
        self.line.clear();
        let count = self.stream.read_until(b'\n', &mut self.line).expect("the server answers");
        assert!(count > 0, "the server closed the connection");
        &self.line
    }

    /// Reads one reply of SMTP or LMTP, of several lines; stops the run unless it has this code.
    fn reply(&mut self, code: &str) {
        loop {
            let line = self.read_line();
            assert!(line.starts_with(code.as_bytes()), "{}", String::from_utf8_lossy(line));
            if line.get(3) != Some(&b'-') {
                return;
            }
        }
    }

    /// Reads to the tagged answer, throws away the rest; answers how many bytes literals brought.
    fn tagged(&mut self, tag: &str) -> u64 {
        let mut literal_bytes = 0;
        loop {
            let line = self.read_line();
            if line.starts_with(tag.as_bytes()) {
                assert!(line[tag.len()..].starts_with(b" OK"), "{}", String::from_utf8_lossy(line));
                return literal_bytes;
            }
            if let Some(length) = literal_length(line) {
                literal_bytes += length;
                let mut literal = (&mut self.stream).take(length);
                assert_eq!(io::copy(&mut literal, &mut io::sink()).unwrap(), length);
            }
        }
    }

    fn imap(&mut self, tag: &str, command: &str) -> u64 {
        self.write(&[format!("{tag} {command}\r\n").as_bytes()]);
        self.tagged(tag)
    }
}

fn literal_length(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = line.iter().rposition(|&byte| byte == b'{')?;
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}

fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    if !stuffed.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

/// Deliveries: connection `i` delivers to recipient `i` modulo their count, one message at a time.
fn lmtp(options: &Options) -> String {
    let (address, recipients) = (options.text("lmtp").to_owned(), options.list("users"));
    let label = options.text("label").to_owned();
    let messages = options.messages().iter().map(|message| dot_stuffed(message)).collect();
    run(
        options,
        messages,
        move |index| {
            let mut lines = Lines::connect(&address);
            lines.reply("220");
            lines.write(&[b"LHLO load.example\r\n"]);
            lines.reply("250");
            let recipient = &recipients[index % recipients.len()];
            let envelope =
                format!("MAIL FROM:<sender@load.example>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n");
            (lines, envelope)
        },
        move |(lines, envelope), number, message| {
            lines.write(&[envelope.as_bytes()]);
            lines.reply("250");
            lines.reply("250");
            lines.reply("354");
            lines.write(&[format!("X-Load: {label}-{number}\r\n").as_bytes(), message]);
            lines.reply("250");
        },
    )
}

fn logged_in(address: &str, user: &str, password: &str) -> Lines {
    let mut lines = Lines::connect(address);
    lines.read_line();
    lines.imap("a", &format!("LOGIN \"{user}\" \"{password}\""));
    lines
}

/// APPENDs with non-synchronising literals, one message at a time a connection.
fn append(options: &Options) -> String {
    let (address, users) = (options.text("imap").to_owned(), options.list("users"));
    let (password, mailbox) =
        (options.text("password").to_owned(), options.text("mailbox").to_owned());
    let label = options.text("label").to_owned();
    let connect_mailbox = mailbox.clone();
    run(
        options,
        options.messages(),
        move |index| {
            let mut lines = logged_in(&address, &users[index % users.len()], &password);
            make_mailbox(&mut lines, &connect_mailbox);
            lines
        },
        move |lines, number, message| {
            let header = format!("X-Load: {label}-{number}\r\n");
            let length = header.len() + message.len();
            let command = format!("b APPEND {mailbox} (\\Seen) {{{length}+}}\r\n{header}");
            lines.write(&[command.as_bytes(), message, b"\r\n"]);
            lines.tagged("b");
        },
    )
}

/// Makes a mailbox; that it is there already is as good.
fn make_mailbox(lines: &mut Lines, mailbox: &str) {
    lines.write(&[format!("c CREATE {mailbox}\r\n").as_bytes()]);
    while !lines.read_line().starts_with(b"c ") {}
}

/// One FETCH of everything over one connection.
fn fetch(options: &Options) -> String {
    let mut lines = logged_in(options.text("imap"), options.text("user"), options.text("password"));
    lines.imap("d", &format!("SELECT {}", options.text("mailbox")));
    let (begun, own_cpu) = (Instant::now(), own_cpu_seconds());
    let byte_count = lines.imap("e", "UID FETCH 1:* (UID BODY.PEEK[])");
    let wall = begun.elapsed();
    let latencies_us = vec![wall.as_micros() as u64];
    report(wall, own_cpu_seconds() - own_cpu, vec![Part { latencies_us, byte_count }])
}

/// SELECT again and again; the mailbox is left by selecting an empty one, outside of the clock.
fn select(options: &Options) -> String {
    let mut lines = logged_in(options.text("imap"), options.text("user"), options.text("password"));
    make_mailbox(&mut lines, "empty");
    let command = format!("SELECT {}", options.text("mailbox"));
    let mut part = Part::default();
    let (begun, own_cpu) = (Instant::now(), own_cpu_seconds());
    for _ in 0..options.number("count") {
        lines.imap("f", "SELECT empty");
        let begun = Instant::now();
        lines.imap("g", &command);
        part.latencies_us.push(begun.elapsed().as_micros() as u64);
    }
    report(begun.elapsed(), own_cpu_seconds() - own_cpu, vec![part])
}

/// Makes a mailbox of `count` small messages: some appends, then copies onto itself.
fn grow(options: &Options) -> String {
    let mut lines = logged_in(options.text("imap"), options.text("user"), options.text("password"));
    let (mailbox, count) = (options.text("mailbox"), options.number("count"));
    make_mailbox(&mut lines, mailbox);
    let begun = Instant::now();
    let mut present = count.min(500);
    for number in 0..present {
        let message = format!("Subject: {number}\r\nFrom: a@load.example\r\n\r\n{number}\r\n");
        let command = format!("h APPEND {mailbox} {{{}+}}\r\n{message}\r\n", message.len());
        lines.write(&[command.as_bytes()]);
        lines.tagged("h");
    }
    lines.imap("i", &format!("SELECT {mailbox}"));
    while present < count {
        let more = present.min(count - present);
        lines.imap("j", &format!("COPY 1:{more} {mailbox}"));
        lines.imap("k", "NOOP");
        present += more;
    }
    let latencies_us = vec![begun.elapsed().as_micros() as u64];
    report(begun.elapsed(), 0.0, vec![Part { latencies_us, byte_count: 0 }])
}
