//! STARTTLS on every port that offers it: encrypted for real, and deaf to what came before.
//!
//! Whoever sits in the path can put commands behind the client's STARTTLS. Carried out after the
//! handshake they would pass for the client's own (RFC 3207 section 6, RFC 9051 section 11.1).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use support::imap::quoted;
use support::site::{DOMAIN, PASSWORD, Site, USER};

const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A line with its CRLF, read byte by byte, so that nothing of the handshake is taken.
fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn lines_to(stream: &mut TcpStream, last: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    loop {
        let line = line(stream);
        text += &line;
        if last(&line) {
            return text;
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).unwrap();
    stream
}

type Encrypted = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// Shakes hands and verifies the certificate that the server made for itself.
fn encrypt(site: &Site, stream: TcpStream) -> Encrypted {
    let mut roots = RootCertStore::empty();
    let pem = site.folder.join("data.tls/certificate.pem");
    roots.add(CertificateDer::from_pem_file(pem).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(format!("mail.{DOMAIN}")).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    BufReader::new(StreamOwned::new(connection, stream))
}

/// Sends a command and reads to the line that `last` takes for the end of its answer.
fn ask(stream: &mut Encrypted, command: &str, last: impl Fn(&str) -> bool) -> String {
    stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    loop {
        let begin = text.len();
        assert_ne!(stream.read_line(&mut text).unwrap(), 0, "hung up after {command}: {text}");
        if last(&text[begin..]) {
            return text;
        }
    }
}

fn last_of_reply(line: &str) -> bool {
    line.as_bytes().get(3) == Some(&b' ')
}

#[test]
fn smtp_and_lmtp_encrypt_and_forget_what_came_before() {
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    for (address, hello, replies) in [(site.smtp, "EHLO", 1), (site.lmtp, "LHLO", 1)] {
        let mut plain = connect(address);
        lines_to(&mut plain, last_of_reply);
        plain.write_all(format!("{hello} client.example\r\n").as_bytes()).unwrap();
        let offered = lines_to(&mut plain, last_of_reply);
        assert!(offered.contains("STARTTLS"), "{hello}: {offered}");
        let injected = format!(
            "STARTTLS\r\n{hello} injected.example\r\nMAIL FROM:<injected@evil.example>\r\n\
             RCPT TO:<{USER}>\r\n"
        );
        plain.write_all(injected.as_bytes()).unwrap();
        assert!(line(&mut plain).starts_with("220 2.0.0"));

        let mut stream = encrypt(&site, plain);
        let unknown = ask(&mut stream, "MAIL FROM:<s@example.net>", last_of_reply);
        assert!(unknown.starts_with("503"), "{hello}: it has to be said again: {unknown}");
        let offered = ask(&mut stream, &format!("{hello} client.example"), last_of_reply);
        assert!(offered.starts_with("250-mail."), "the answer to this command: {offered}");
        assert!(!offered.contains("STARTTLS"), "{hello}: only once: {offered}");
        let recipient = ask(&mut stream, &format!("RCPT TO:<{USER}>"), last_of_reply);
        assert!(recipient.starts_with("503"), "no sender was injected: {recipient}");
        for (command, code) in [
            ("MAIL FROM:<s@example.net>", "250"),
            (&format!("RCPT TO:<{USER}>"), "250"),
            ("DATA", "354"),
            ("Subject: sealed\r\n\r\nbody\r\n.", "250"),
            ("QUIT", "221"),
        ] {
            for _ in 0..replies {
                let reply = ask(&mut stream, command, last_of_reply);
                assert!(reply.starts_with(code), "{hello}: {command}: {reply}");
            }
        }
    }
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 2);
    let first = imap.fetch("1", "(BODY.PEEK[HEADER])").unwrap().remove(0).body.unwrap();
    let header = String::from_utf8(first).unwrap();
    assert!(header.contains("with ESMTPS"), "Received tells of it (RFC 3848): {header}");
}

#[test]
fn imap_encrypts_and_forgets_what_came_before() {
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mut plain = connect(site.imap);
    assert!(line(&mut plain).contains("STARTTLS"), "the greeting offers it");
    let login = format!("LOGIN {} {}", quoted(USER), quoted(PASSWORD));
    plain.write_all(format!("a STARTTLS\r\nb {login}\r\n").as_bytes()).unwrap();
    assert!(line(&mut plain).starts_with("a OK"));
    let mut stream = encrypt(&site, plain);
    let answer = ask(&mut stream, "c SELECT INBOX", |line| !line.starts_with('*'));
    assert!(answer.starts_with("c BAD"), "nobody has logged in: {answer}");
    let answer = ask(&mut stream, "d CAPABILITY", |line| line.starts_with("d "));
    assert!(!answer.contains("STARTTLS"), "only once: {answer}");
    let answer = ask(&mut stream, &format!("e {login}"), |line| line.starts_with("e "));
    assert!(answer.contains("e OK"), "{answer}");
    let answer = ask(&mut stream, "f SELECT INBOX", |line| line.starts_with("f "));
    assert!(answer.contains("f OK"), "{answer}");
}
