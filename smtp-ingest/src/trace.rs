//! The trace: header fields that we put on top of a message (RFC 5321 section 4.4).
//!
//! ```text
//! Return-Path: <sender>
//! Delivered-To: recipient            one recipient only
//! Received: from name ([address]) by host with ESMTPS id 6922a0f1-1c.1
//!     for <recipient>;               one recipient only
//!     Mon, 23 Nov 2026 05:24:15 +0000
//! ```
//!
//! One stored body serves all recipients of a delivery, so what names a recipient is written only
//! where there is exactly one: it would show each of them who the others are, blind copies too.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use engine::ids::UnixSeconds;

use crate::codec::address::{Address, ReversePath, is_address_literal};
use crate::codec::command::Hello;
use crate::codec::newline::find_newline;
use crate::extension::Tls;

/// What the fields say.
pub(crate) struct Trace<'a> {
    /// From MAIL.
    pub(crate) sender: &'a ReversePath,
    /// The only recipient, if there is only one.
    pub(crate) only_recipient: Option<&'a Address>,
    /// How the client greeted.
    pub(crate) hello: Hello,
    /// The name that it gave itself.
    pub(crate) hello_name: &'a str,
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
    /// Our name.
    pub(crate) hostname: &'a str,
    /// Whether the connection is encrypted.
    pub(crate) tls: Tls,
    /// Whether MAIL had SMTPUTF8.
    pub(crate) smtputf8: bool,
    /// The transaction's id, as the log has it.
    pub(crate) id: &'a str,
    /// Now.
    pub(crate) received: UnixSeconds,
}

impl Trace<'_> {
    /// Writes the fields.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        let mut write = |text: std::fmt::Arguments<'_>| {
            // Writing into memory does not fail.
            let _ = out.write_fmt(text);
        };
        write(format_args!("Return-Path: <{}>\r\n", self.sender));
        if let Some(recipient) = self.only_recipient {
            write(format_args!("Delivered-To: {recipient}\r\n"));
        }
        write(format_args!("Received: from {} (", hello_word(self.hello_name)));
        match self.peer.ip().to_canonical() {
            IpAddr::V4(address) => write(format_args!("[{address}]")),
            IpAddr::V6(address) => write(format_args!("[IPv6:{address}]")),
        }
        write(format_args!(")\r\n\tby {} with {} id {}", self.hostname, self.with(), self.id));
        if let Some(recipient) = self.only_recipient {
            write(format_args!("\r\n\tfor <{recipient}>"));
        }
        write(format_args!(";\r\n\t"));
        write_date(self.received, out);
        out.extend_from_slice(b"\r\n");
    }

    /// The transmission type (RFC 3848, RFC 6531 section 4.3).
    fn with(&self) -> &'static str {
        match (self.hello, self.tls == Tls::Active, self.smtputf8) {
            (Hello::Helo, false, _) => "SMTP",
            (Hello::Helo | Hello::Ehlo, true, false) => "ESMTPS",
            (Hello::Ehlo, false, false) => "ESMTP",
            (Hello::Ehlo, false, true) => "UTF8SMTP",
            (Hello::Helo | Hello::Ehlo, true, true) => "UTF8SMTPS",
            (Hello::Lhlo, false, false) => "LMTP",
            (Hello::Lhlo, true, false) => "LMTPS",
            (Hello::Lhlo, false, true) => "UTF8LMTP",
            (Hello::Lhlo, true, true) => "UTF8LMTPS",
        }
    }
}

/// A greeting as one word: what is neither a domain nor an address literal could end the field
/// early or pretend to be a comment of ours.
fn hello_word(name: &str) -> &str {
    let is_domain =
        name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_'));
    if is_domain || is_address_literal(name) { name } else { "unknown" }
}

/// `date-time` of RFC 5322 section 3.3, in UTC.
pub(crate) fn write_date(time: UnixSeconds, out: &mut Vec<u8>) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = time.0.div_euclid(86_400);
    let second = time.0.rem_euclid(86_400);
    let (year, month, day) = civil_date(days);
    let weekday = usize::try_from(days.rem_euclid(7)).unwrap_or(0);
    let month = usize::try_from(month - 1).unwrap_or(0);
    let _ = write!(
        out,
        "{}, {day} {} {year:04} {:02}:{:02}:{:02} +0000",
        DAYS.get(weekday).unwrap_or(&"Thu"),
        MONTHS.get(month).unwrap_or(&"Jan"),
        second / 3600,
        second / 60 % 60,
        second % 60,
    );
}

/// Year, month and day of a number of days since 1970, by eras of 400 years that begin in March, so
/// that the leap day is the last of its year.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Received fields at the top of a message: how often it was passed on.
pub(crate) fn hop_count(message: &[u8]) -> usize {
    const NAME: &[u8] = b"received:";
    let mut hops = 0;
    let mut rest = message;
    while let Some((line, later)) = find_newline(rest).and_then(|at| rest.split_at_checked(at + 1))
    {
        if line == b"\n" || line == b"\r\n" {
            break;
        }
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            hops += 1;
        }
        rest = later;
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::address::{path, reverse_path};

    fn date(seconds: i64) -> String {
        let mut out = Vec::new();
        write_date(UnixSeconds(seconds), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(date(951_827_696), "Tue, 29 Feb 2000 12:34:56 +0000");
        assert_eq!(date(1_795_411_455), "Mon, 23 Nov 2026 05:24:15 +0000");
        assert_eq!(date(4_107_542_400), "Mon, 1 Mar 2100 00:00:00 +0000");
        assert_eq!(date(-1), "Wed, 31 Dec 1969 23:59:59 +0000");
    }

    fn trace(only_recipient: Option<&Address>, hello_name: &str) -> String {
        let (sender, _) = reverse_path(b"<a@b.example>").unwrap();
        let mut out = Vec::new();
        Trace {
            sender: &sender,
            only_recipient,
            hello: Hello::Ehlo,
            hello_name,
            peer: "192.0.2.1:25".parse().unwrap(),
            hostname: "mx.example.org",
            tls: Tls::Active,
            smtputf8: false,
            id: "1.1",
            received: UnixSeconds(0),
        }
        .write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_trace_names_a_recipient_only_if_there_is_one() {
        let (recipient, _) = path(b"<c@d.example>").unwrap();
        assert_eq!(
            trace(Some(&recipient), "mail.b.example"),
            "Return-Path: <a@b.example>\r\nDelivered-To: c@d.example\r\n\
             Received: from mail.b.example ([192.0.2.1])\r\n\
             \tby mx.example.org with ESMTPS id 1.1\r\n\
             \tfor <c@d.example>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        assert!(!trace(None, "mail.b.example").contains("d.example"));
    }

    #[test]
    fn a_greeting_cannot_forge_the_trace() {
        let written = trace(None, "x) by trusted.example (y");
        assert!(written.contains("from unknown ([192.0.2.1])"), "{written}");
        assert!(trace(None, "[IPv6:::1]").contains("from [IPv6:::1] ("));
    }

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let message = b"Received: a\r\n b\r\nRECEIVED: c\r\nX-Received: d\r\n\r\nReceived: e\r\n";
        assert_eq!(hop_count(message), 2);
        assert_eq!(hop_count(b""), 0);
    }
}
