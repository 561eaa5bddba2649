//! The extensions that EHLO and LHLO announce.
//!
//! | keyword | RFC | note |
//! |--|--|--|
//! | PIPELINING | 2920 | replies of one input buffer leave in one write |
//! | SIZE | 1870 | refused at MAIL, enforced while the message arrives |
//! | 8BITMIME | 6152 | every message is stored as it came |
//! | ENHANCEDSTATUSCODES | 2034, 3463 | on every reply but greetings and 354 |
//! | STARTTLS | 3207 | only where a certificate is configured, and not within TLS |
//! | SMTPUTF8 | 6531 | addresses in UTF-8 |
//! | CHUNKING | 3030 | without BINARYMIME: a chunk's newlines are treated as DATA's are |

use std::io::Write;

/// Whether a STARTTLS command would be obeyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tls {
    /// No certificate.
    Unavailable,
    /// It would.
    Offered,
    /// The connection is encrypted already.
    Active,
}

/// Keywords without arguments, in the order in which they are announced.
const KEYWORDS: [&str; 5] =
    ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "CHUNKING"];

/// Writes the whole answer to EHLO or LHLO (RFC 5321 section 4.1.1.1).
pub(crate) fn announce(hostname: &str, size_limit: u64, tls: Tls, out: &mut Vec<u8>) {
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing into memory does not fail.
        let _ = out.write_fmt(text);
    };
    line(format_args!("250-{hostname}\r\n"));
    for keyword in KEYWORDS {
        line(format_args!("250-{keyword}\r\n"));
    }
    if tls == Tls::Offered {
        line(format_args!("250-STARTTLS\r\n"));
    }
    line(format_args!("250 SIZE {size_limit}\r\n"));
}
