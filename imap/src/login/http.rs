//! As much of HTTP/1.1 (RFC 9112) as asking one question takes: a POST written whole, an answer
//! read within bounds. No I/O.

/// Bytes of an answer, head and body; an introspection has some hundred.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 10;

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnswer {
    /// Its status.
    pub status: u16,
    /// Its body, whole.
    pub body: Vec<u8>,
}

/// An answer that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoHttp(pub &'static str);

/// How long a body is (RFC 9112 section 6.3).
enum Framing {
    Chunked,
    Length(usize),
    ToTheEnd,
}

/// A POST of a form, after which the connection is closed.
pub(crate) fn post(host: &str, path: &str, authorization: &str, form: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{form}",
        form.len()
    )
}

/// `application/x-www-form-urlencoded`: letters and digits as they are, all else as `%XX`.
pub(crate) fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The answer in `bytes`, if it is complete; `ended` says that no more will come. A body of more
/// bytes than `body_max` is none.
///
/// # Errors
/// [`NoHttp`] if it never will be one.
pub fn parse(bytes: &[u8], ended: bool, body_max: usize) -> Result<Option<HttpAnswer>, NoHttp> {
    let more = |what| if ended { Err(NoHttp(what)) } else { Ok(None) };
    let Some(border) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return more("it ends within its header");
    };
    let (head, body) = bytes.split_at(border);
    let body = body.get(4..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| NoHttp("its header is not text"))?;
    let mut lines = head.split("\r\n");
    let status = status(lines.next().unwrap_or_default()).ok_or(NoHttp("it has no status"))?;
    let body = match framing(lines, body_max)? {
        Framing::Length(length) => body.get(..length).map(<[u8]>::to_vec),
        Framing::ToTheEnd => ended.then(|| body.to_vec()),
        Framing::Chunked => joined_chunks(body, body_max)?,
    };
    match body {
        Some(body) if body.len() > body_max => Err(NoHttp("its body is too long")),
        Some(body) => Ok(Some(HttpAnswer { status, body })),
        None => more("it ends within its body"),
    }
}

/// `status-line = HTTP-version SP status-code SP [ reason-phrase ]`
fn status(line: &str) -> Option<u16> {
    let code = line.strip_prefix("HTTP/1.")?.get(1..)?.strip_prefix(' ')?.get(..3)?;
    code.bytes().all(|byte| byte.is_ascii_digit()).then(|| code.parse().ok()).flatten()
}

fn framing<'a>(lines: impl Iterator<Item = &'a str>, body_max: usize) -> Result<Framing, NoHttp> {
    let mut framing = Framing::ToTheEnd;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Err(NoHttp("a line of its header has no name"));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("Transfer-Encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(NoHttp("its transfer encoding is not known"));
            }
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("Content-Length")
            && !matches!(framing, Framing::Chunked)
        {
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            let length = value.parse().ok().filter(|&length| digits && length <= body_max);
            framing = Framing::Length(length.ok_or(NoHttp("its length is none"))?);
        }
    }
    Ok(framing)
}

/// `chunked-body = *chunk last-chunk trailer-section CRLF`; `None` if the last one is not here.
fn joined_chunks(mut rest: &[u8], body_max: usize) -> Result<Option<Vec<u8>>, NoHttp> {
    let mut body = Vec::new();
    loop {
        let Some(end) = memchr::memmem::find(rest, b"\r\n") else { return Ok(None) };
        let (line, behind) = rest.split_at(end);
        let size = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(size).ok().filter(|size| !size.starts_with('+'));
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.filter(|&size| size <= body_max);
        let size = size.ok_or(NoHttp("the size of a chunk is none"))?;
        if size == 0 {
            return Ok(Some(body));
        }
        let Some(chunk) = behind.get(2..2 + size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        match behind.get(2 + size..4 + size) {
            Some(b"\r\n") => {}
            Some(_) => return Err(NoHttp("a chunk does not end where it should")),
            None => return Ok(None),
        }
        rest = behind.get(4 + size..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let cases: [(&[u8], &str, &str); 3] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "{}", "a length"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  1\r\n{\r\n1;x\r\n}\r\n0\r\n\r\n",
                "{}",
                "chunks",
            ),
            (b"HTTP/1.0 401 No\r\nX: y\r\n\r\nno", "no", "the end of the stream"),
        ];
        for (bytes, body, why) in cases {
            let whole = parse(bytes, true, ANSWER_BYTES_MAX).unwrap().unwrap();
            assert_eq!(whole.body, body.as_bytes(), "{why}");
            for length in 0..bytes.len() - 4 {
                let cut = parse(&bytes[..length], false, ANSWER_BYTES_MAX);
                assert_eq!(cut, Ok(None), "{why}, cut at {length}");
            }
        }
        assert_eq!(parse(b"HTTP/1.0 401 No\r\n\r\n", true, 9).unwrap().unwrap().status, 401);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (bytes, why) in [
            ("SSH-2.0\r\n\r\n", "another protocol"),
            ("HTTP/1.1 20x OK\r\n\r\n", "no status"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "too long"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "negative"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "another encoding"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", "a huge chunk"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "a long chunk"),
            ("HTTP/1.1 200 OK\r\nno name\r\n\r\n", "no field"),
        ] {
            assert!(parse(bytes.as_bytes(), true, ANSWER_BYTES_MAX).is_err(), "{why}");
        }
    }

    #[test]
    fn a_form_holds_no_letter_that_means_something() {
        assert_eq!(form_encoded("a+b/c= &é"), "a%2Bb%2Fc%3D%20%26%C3%A9");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(
            bytes in proptest::collection::vec(
                proptest::sample::select(b"HTTP/1. 200\r\n:;cafe\0Content-".to_vec()), 0..200),
        ) {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            for bytes in [bytes.clone(), [head.as_slice(), &bytes].concat()] {
                let _ = (parse(&bytes, false, 90), parse(&bytes, true, 90));
            }
        }
    }
}
