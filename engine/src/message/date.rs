//! The Date field (RFC 5322 section 3.3), in the forms that mail really has.
//!
//! ```text
//! [day-name ","] day month year hour ":" minute [":" second] [zone]
//! ```
//! Comments are blanks; a month is known by its first three letters; years of two or three digits
//! are those of RFC 5322 section 4.3; `Jan 2 15:04:05 2006` (ctime) is understood. A time or zone
//! that does not parse is midnight or UTC; without a day, a month and a year there is no date.

/// A day as a calendar shows it. Orders by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CalendarDate {
    /// The year, 1 to 9999.
    pub year: u16,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month, 1 to 31.
    pub day: u8,
}

impl CalendarDate {
    /// Days since 1970-01-01 in the Gregorian calendar.
    pub fn days_since_1970(self) -> i64 {
        // Years begin in March, so that the leap day is the last (Hinnant, days_from_civil).
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }
}

/// The date that the value of a Date field shows, whatever its time zone (RFC 9051, SENTBEFORE).
pub fn sent_date_as_written(value: &[u8]) -> Option<CalendarDate> {
    parse(value).map(|sent| sent.date)
}

/// The value of a Date field as seconds since 1970 UTC.
pub fn sent_seconds(value: &[u8]) -> Option<i64> {
    let sent = parse(value)?;
    Some(sent.date.days_since_1970() * 86_400 + sent.second_of_day - sent.zone_seconds)
}

struct Sent {
    date: CalendarDate,
    second_of_day: i64,
    zone_seconds: i64,
}

fn parse(value: &[u8]) -> Option<Sent> {
    let value = without_comments(value.get(..512).unwrap_or(value));
    let (mut day, mut month, mut year, mut time, mut zone) = (None, None, None, None, None);
    let separates = |c: char| c.is_ascii_whitespace() || c == ',';
    for token in value.split(separates).filter(|token| !token.is_empty()) {
        if token.contains(':') {
            if time.is_none() {
                time = time_of(token);
            }
        } else if let Some((first, second, third)) = dashed(token).filter(|_| day.is_none()) {
            (day, month, year) = (number(first), month_of(second), year_of(third));
        } else if token.starts_with(['+', '-']) && year.is_some()
            || time.is_some() && is_zone(token)
        {
            zone = zone.or_else(|| zone_of(token));
        } else if token.bytes().all(|byte| byte.is_ascii_digit()) {
            if day.is_none() && token.len() <= 2 {
                day = number(token);
            } else if year.is_none() {
                year = year_of(token);
            }
        } else if month.is_none() {
            month = month_of(token);
        }
    }
    let date = CalendarDate { year: year?, month: month?, day: u8::try_from(day?).ok()? };
    if !(1..=days_in(date.year, date.month)).contains(&date.day) || date.year == 0 {
        return None;
    }
    Some(Sent { date, second_of_day: time.unwrap_or(0), zone_seconds: zone.unwrap_or(0) })
}

fn days_in(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn without_comments(value: &[u8]) -> String {
    let mut depth = 0_usize;
    let mut text = String::with_capacity(value.len());
    for byte in value {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && byte.is_ascii() => text.push(char::from(*byte)),
            _ => {}
        }
        if depth > 0 {
            text.push(' ');
        }
    }
    text
}

fn number(token: &str) -> Option<i64> {
    if token.len() <= 4 && token.bytes().all(|byte| byte.is_ascii_digit()) {
        token.parse().ok()
    } else {
        None
    }
}

/// `02-Jan-2006`
fn dashed(token: &str) -> Option<(&str, &str, &str)> {
    let (first, rest) = token.split_once('-')?;
    let (second, third) = rest.split_once('-')?;
    if first.is_empty() { None } else { Some((first, second, third)) }
}

fn month_of(token: &str) -> Option<u8> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let name = token.get(..3)?;
    let at = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    u8::try_from(at + 1).ok()
}

/// RFC 5322 section 4.3: 00 to 49 are 2000 to 2049, all others of two or three digits add 1900.
fn year_of(token: &str) -> Option<u16> {
    let year = u16::try_from(number(token)?).ok()?;
    match token.len() {
        1 | 2 if year < 50 => Some(year + 2000),
        1..=3 => Some(year + 1900),
        _ => Some(year),
    }
}

fn time_of(token: &str) -> Option<i64> {
    let mut fields = token.split(':').map(|field| field.split('.').next().unwrap_or(field));
    let hour = number(fields.next()?)?;
    let minute = number(fields.next()?)?;
    let second = fields.next().map_or(Some(0), number)?;
    let valid = hour < 24 && minute < 60 && second <= 60;
    if valid { Some(hour * 3600 + minute * 60 + second) } else { None }
}

fn is_zone(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// zone = ("+" / "-") 4DIGIT / obs-zone, in seconds east of Greenwich.
fn zone_of(token: &str) -> Option<i64> {
    let sign = if token.starts_with('-') { -1 } else { 1 };
    if let Some(digits) = token.strip_prefix(['+', '-']) {
        let zone = number(digits).filter(|_| digits.len() == 4)?;
        return Some(sign * (zone / 100 * 3600 + zone % 100 * 60));
    }
    let hours = match token.to_ascii_uppercase().as_str() {
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        "CET" | "MET" | "BST" => 1,
        "CEST" | "MEST" | "EET" => 2,
        "JST" => 9,
        "UT" | "GMT" | "UTC" | "Z" => 0,
        _ => return None,
    };
    Some(hours * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_all_kinds_are_understood() {
        #[expect(clippy::type_complexity, reason = "a table of a test")]
        let table: &[(&str, Option<i64>, Option<(u16, u8, u8)>, &str)] = &[
            ("Thu, 01 Jan 1970 00:00:00 +0000", Some(0), Some((1970, 1, 1)), "epoch"),
            ("Fri, 21 Nov 1997 09:55:06 -0600", Some(880_127_706), Some((1997, 11, 21)), "RFC"),
            ("21 Nov 97 09:55 CST", Some(880_127_700), Some((1997, 11, 21)), "obsolete"),
            ("Fri Nov 21 09:55:06 1997", Some(880_106_106), Some((1997, 11, 21)), "ctime"),
            ("1 Mar 2000 00:30:00 +0100 (CET)", Some(951_867_000), Some((2000, 3, 1)), "comment"),
            ("21-Nov-1997 09:55:06 -0600", Some(880_127_706), Some((1997, 11, 21)), "IMAP's"),
            ("29 Feb 2000 00:00:00 GMT", Some(951_782_400), Some((2000, 2, 29)), "leap day"),
            ("29 Feb 1900 00:00:00 GMT", None, None, "no leap day"),
            ("Mon, 32 Jan 2000 00:00 +0000", None, None, "no such day"),
            ("yesterday", None, None, "words"),
            ("", None, None, "empty"),
        ];
        for (value, seconds, date, reason) in table {
            assert_eq!(sent_seconds(value.as_bytes()), *seconds, "{reason}: {value}");
            let found = sent_date_as_written(value.as_bytes());
            assert_eq!(found.map(|d| (d.year, d.month, d.day)), *date, "{reason}: {value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(value in "[0-9A-Za-z:+, ()-]{0,60}") {
            let seconds = sent_seconds(value.as_bytes());
            let date = sent_date_as_written(value.as_bytes());
            prop_assert_eq!(seconds.is_some(), date.is_some());
        }

        #[test]
        fn days_are_consecutive(days in 0_i64..20_000) {
            // Walk a calendar to the day and compare.
            let (mut year, mut left) = (1970_u16, days);
            loop {
                let length = if days_in(year, 2) == 29 { 366 } else { 365 };
                if left < length { break; }
                left -= length;
                year += 1;
            }
            let mut month = 1_u8;
            while left >= i64::from(days_in(year, month)) {
                left -= i64::from(days_in(year, month));
                month += 1;
            }
            let date = CalendarDate { year, month, day: u8::try_from(left + 1).unwrap() };
            prop_assert_eq!(date.days_since_1970(), days);
        }
    }
}
