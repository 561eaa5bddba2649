//! A service on this machine as an extractor: the document is PUT, its text comes back, as Apache
//! Tika's server does it.
//!
//! HTTP is written here, over a socket of the standard library: one request, one answer, the
//! connection closed after it. It goes to loopback alone, so there is no TLS and no name to look
//! up; the answer is read by the parser that asks about tokens (`imap::http`), within bounds.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use engine::search::{Extracted, Flaw};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::{Patience, extracted, nothing};
use crate::config::ExtractorSection;

/// Bytes of an answer beside its text: its head, and what frames its chunks.
const BESIDE_BYTES: usize = 64 << 10;
/// Bytes that are written or read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Where a service is: `http://ADDRESS[:PORT]/PATH` on this machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(into = "String")]
pub(crate) struct ServiceUrl {
    text: String,
    address: SocketAddr,
    path: String,
}

impl ServiceUrl {
    fn parse(text: &str) -> Option<ServiceUrl> {
        let rest = text.strip_prefix("http://")?;
        let (place, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return None;
        }
        let place = match place.strip_prefix("localhost") {
            Some(port) => format!("{}{port}", Ipv4Addr::LOCALHOST),
            None => place.to_owned(),
        };
        let bare = place.strip_prefix('[').and_then(|place| place.strip_suffix(']'));
        let address: SocketAddr = match bare.unwrap_or(&place).parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, 80),
            Err(_) => place.parse().ok()?,
        };
        let path = path.to_owned();
        let is_here = address.ip().is_loopback() && address.port() != 0;
        is_here.then(|| ServiceUrl { text: text.to_owned(), address, path })
    }
}

impl From<ServiceUrl> for String {
    fn from(url: ServiceUrl) -> String {
        url.text
    }
}

impl<'de> Deserialize<'de> for ServiceUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServiceUrl, D::Error> {
        let text = String::deserialize(deserializer)?;
        ServiceUrl::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no service of this machine, such as \"http://127.0.0.1:9998/tika\""
            ))
        })
    }
}

/// Has a service make text of a document.
pub(super) fn extract(
    url: &ServiceUrl,
    (media_type, bytes): (&str, &[u8]),
    extractor: &ExtractorSection,
    patience: &Patience<'_>,
) -> Extracted {
    let text_max = extractor.output_bytes.count();
    let answer = match ask(url, (media_type, bytes), text_max, patience) {
        Ok(answer) => answer,
        Err((flaw, reason)) => return nothing(flaw, reason),
    };
    let answer = match imap::http::parse(&answer, true, text_max) {
        Ok(Some(answer)) => answer,
        Ok(None) => return nothing(Flaw::Failed, "its answer is not whole"),
        Err(why) => {
            return nothing(Flaw::Failed, format!("its answer is not understood: {}", why.0));
        }
    };
    match answer.status {
        200 => extracted(&answer.body, None),
        204 => Extracted::default(),
        429 | 502..=504 => nothing(Flaw::NotNow, format!("status {}", answer.status)),
        status => nothing(Flaw::Failed, format!("status {status}")),
    }
}

type Refusal = (Flaw, String);

/// Sends the request, and reads to the end of the answer.
fn ask(
    url: &ServiceUrl,
    (media_type, bytes): (&str, &[u8]),
    text_max: usize,
    patience: &Patience<'_>,
) -> Result<Vec<u8>, Refusal> {
    let not_now = |cause: std::io::Error| (Flaw::NotNow, format!("{}: {cause}", url.text));
    let tick = patience.tick().ok_or_else(|| patience.flaw())?;
    let mut stream = TcpStream::connect_timeout(&url.address, tick).map_err(not_now)?;
    stream.set_read_timeout(Some(super::TICK)).map_err(not_now)?;
    stream.set_write_timeout(Some(super::TICK)).map_err(not_now)?;
    let is_token = |byte: u8| byte.is_ascii_graphic() && !b"\"(),:;<=>?@[\\]{}".contains(&byte);
    let media_type = match media_type.bytes().all(is_token) {
        true => media_type,
        false => "application/octet-stream",
    };
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {media_type}\r\nAccept: text/plain\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        url.path,
        url.address,
        bytes.len()
    );
    for mut left in [head.as_bytes(), bytes] {
        while let [_, ..] = left {
            patience.tick().ok_or_else(|| patience.flaw())?;
            let piece = left.get(..PIECE_BYTES).unwrap_or(left);
            match stream.write(piece) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(cause) if is_wait(&cause) => {}
                // It may have said why before it hung up.
                Err(_) => break,
            }
        }
    }
    let mut answer = Vec::new();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        patience.tick().ok_or_else(|| patience.flaw())?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(cause) if is_wait(&cause) => {}
            Err(_) if !answer.is_empty() => return Ok(answer),
            Err(cause) => return Err((Flaw::Failed, format!("{}: {cause}", url.text))),
        }
        if answer.len() > text_max.saturating_mul(2).saturating_add(BESIDE_BYTES) {
            return Err((Flaw::Cut, "its answer is longer than output_bytes".to_owned()));
        }
    }
}

fn is_wait(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_on_this_machine() {
        let table = [
            ("http://127.0.0.1:9998/tika", Some(("127.0.0.1:9998", "/tika")), "as usual"),
            ("http://localhost:9998/tika", Some(("127.0.0.1:9998", "/tika")), "by name"),
            ("http://localhost/a?b=c", Some(("127.0.0.1:80", "/a?b=c")), "without a port"),
            ("http://[::1]:5/x", Some(("[::1]:5", "/x")), "IPv6"),
            ("http://[::1]", Some(("[::1]:80", "/")), "IPv6 alone"),
            ("http://192.0.2.1:9998/tika", None, "another machine"),
            ("http://localhost.example.org/", None, "another name"),
            ("https://127.0.0.1:9998/tika", None, "TLS"),
            ("http://127.0.0.1:99999/tika", None, "no port"),
            ("http://127.0.0.1:0/tika", None, "port 0"),
            ("http://127.0.0.1:1/a b", None, "a blank"),
            ("http://127.0.0.1:1/a\r\nX: y", None, "a line end"),
            ("127.0.0.1:9998", None, "no scheme"),
        ];
        for (text, expected, reason) in table {
            let url = ServiceUrl::parse(text);
            let found = url.as_ref().map(|url| (url.address.to_string(), url.path.as_str()));
            let expected = expected.map(|(address, path)| (address.to_owned(), path));
            assert_eq!(found, expected, "{reason}: {text}");
        }
    }
}
