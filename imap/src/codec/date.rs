//! Dates of the grammar: days that SEARCH names, and INTERNALDATE.
//!
//! IMAP's searches go by the day as written, without regard to zone; INTERNALDATE is kept in UTC
//! and shown in UTC.

use engine::ids::UnixSeconds;

use super::cursor::{Cursor, SyntaxError};

/// A day of the Gregorian calendar; orders as days do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Day {
    /// Year, 0 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day, 1 to 31.
    pub day: u8,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECONDS_PER_DAY: i64 = 86_400;

impl Day {
    /// The day in UTC at that second.
    pub fn of(time: UnixSeconds) -> Day {
        // Days to civil, by Howard Hinnant's algorithm: eras of 400 years beginning in March.
        let shifted = time.0.div_euclid(SECONDS_PER_DAY).saturating_add(719_468);
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era.saturating_mul(400) + year_of_era + i64::from(month <= 2);
        Day {
            year: u16::try_from(year.clamp(0, 9999)).unwrap_or(0),
            month: u8::try_from(month).unwrap_or(1),
            day: u8::try_from(day).unwrap_or(1),
        }
    }

    /// Seconds since 1970 at its beginning in UTC.
    pub fn begin(self) -> UnixSeconds {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let march_month = (month + 9) % 12;
        let of_year = (153 * march_month + 2) / 5 + day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        UnixSeconds((era * 146_097 + of_era - 719_468) * SECONDS_PER_DAY)
    }

    fn checked(year: u16, month: u8, day: u8) -> Option<Day> {
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let last = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        ((1..=last).contains(&day) && year <= 9999).then_some(Day { year, month, day })
    }
}

fn month_number(name: &[u8]) -> Option<u8> {
    let index = MONTHS.iter().position(|month| name.eq_ignore_ascii_case(month.as_bytes()))?;
    u8::try_from(index + 1).ok()
}

/// `date = date-text / DQUOTE date-text DQUOTE`
pub fn parse_day(cursor: &mut Cursor<'_>) -> Result<Day, SyntaxError> {
    let quoted = cursor.take(b'"');
    let day = day_text(cursor)?;
    if quoted {
        cursor.expect(b'"', "a closing quotation mark")?;
    }
    Ok(day)
}

/// `date-text = date-day "-" date-month "-" date-year`
fn day_text(cursor: &mut Cursor<'_>) -> Result<Day, SyntaxError> {
    const EXPECTED: &str = "a date such as 1-Feb-1994";
    let start = cursor.clone();
    let day = cursor.number()?;
    cursor.expect(b'-', EXPECTED)?;
    let month = month_number(cursor.run(|byte| byte.is_ascii_alphabetic(), EXPECTED)?);
    cursor.expect(b'-', EXPECTED)?;
    let year = cursor.number()?;
    let checked = month
        .and_then(|month| Day::checked(u16::try_from(year).ok()?, month, u8::try_from(day).ok()?));
    match checked {
        Some(day) => Ok(day),
        None => start.expected(EXPECTED),
    }
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
pub fn parse_date_time(cursor: &mut Cursor<'_>) -> Result<UnixSeconds, SyntaxError> {
    const EXPECTED: &str = "a date and time such as \"01-Feb-1994 13:45:00 +0100\"";
    cursor.expect(b'"', EXPECTED)?;
    while cursor.take(b' ') {}
    let day = day_text(cursor)?;
    cursor.space()?;
    let start = cursor.clone();
    let hour = cursor.number()?;
    cursor.expect(b':', EXPECTED)?;
    let minute = cursor.number()?;
    cursor.expect(b':', EXPECTED)?;
    let second = cursor.number()?;
    if hour > 23 || minute > 59 || second > 60 {
        return start.expected(EXPECTED);
    }
    cursor.space()?;
    let west = match cursor.peek() {
        Some(b'-') => true,
        Some(b'+') => false,
        _ => return cursor.expected(EXPECTED),
    };
    cursor.take(if west { b'-' } else { b'+' });
    let zone = cursor.run(|byte| byte.is_ascii_digit(), EXPECTED)?;
    let [h1, h2, m1, m2] = zone else { return start.expected(EXPECTED) };
    cursor.expect(b'"', "a closing quotation mark")?;
    let digit = |byte: &u8| i64::from(byte - b'0');
    let offset = (digit(h1) * 10 + digit(h2)) * 3600 + (digit(m1) * 10 + digit(m2)) * 60;
    let local = day.begin().0 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Ok(UnixSeconds(if west { local + offset } else { local - offset }))
}

/// `date-time` in UTC, with its quotation marks.
pub fn put_date_time(out: &mut Vec<u8>, time: UnixSeconds) {
    let day = Day::of(time);
    let second = time.0.rem_euclid(SECONDS_PER_DAY);
    let month = MONTHS.get(usize::from(day.month.saturating_sub(1))).copied().unwrap_or("Jan");
    let text = format!(
        "\"{:02}-{month}-{:04} {:02}:{:02}:{:02} +0000\"",
        day.day,
        day.year,
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_and_time_is_read_and_shown_in_utc() {
        for (text, seconds) in [
            ("\" 1-Jan-1970 00:00:00 +0000\"", 0),
            ("\"01-Jan-1970 01:00:00 +0100\"", 0),
            ("\"17-Jul-1996 02:44:25 -0700\"", 837_596_665),
            ("\"29-Feb-2024 23:59:59 +0000\"", 1_709_251_199),
        ] {
            let mut cursor = Cursor::new(text.as_bytes(), &[]);
            assert_eq!(parse_date_time(&mut cursor), Ok(UnixSeconds(seconds)), "{text}");
        }
        let mut out = Vec::new();
        put_date_time(&mut out, UnixSeconds(837_596_665));
        assert_eq!(out, b"\"17-Jul-1996 09:44:25 +0000\"");
        for bad in
            ["\"31-Feb-2024 00:00:00 +0000\"", "\"1-Jan-2024 24:00:00 +0000\"", "\"1-Jan-2024 \""]
        {
            assert!(parse_date_time(&mut Cursor::new(bad.as_bytes(), &[])).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn days_and_seconds_agree(days in 0i64..2_900_000) {
            let day = Day::of(UnixSeconds(days * SECONDS_PER_DAY + 1));
            proptest::prop_assert_eq!(day.begin().0, days * SECONDS_PER_DAY);
        }

        #[test]
        fn no_second_panics(seconds: i64) {
            let _ = Day::of(UnixSeconds(seconds));
            put_date_time(&mut Vec::new(), UnixSeconds(seconds));
        }
    }
}
