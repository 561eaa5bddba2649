//! Times as an operator writes and reads them: UTC, or so long ago.

/// Seconds since 1970 of `2026-11-24`, `2026-11-24T10:00[:00][Z]`, `3d`, `12h` or `30m` (ago).
pub(crate) fn time(text: &str) -> Result<i64, String> {
    let wrong = || {
        "write a time in UTC, as 2026-11-24 or 2026-11-24T10:00, or how long ago, as 3d, 12h or 30m"
            .to_owned()
    };
    let ago = |seconds: i64| {
        let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
        let count = digits.parse::<u32>().ok()?;
        Some(now() - i64::from(count) * seconds)
    };
    let found = match text.chars().last() {
        Some('d') => ago(86_400),
        Some('h') => ago(3600),
        Some('m') => ago(60),
        _ => moment(text),
    };
    found.ok_or_else(wrong)
}

fn moment(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, clock) = text.split_once('T').unwrap_or((text, "00:00"));
    let date = numbers(date, '-')?;
    let &[year, month, day] = date.as_slice() else { return None };
    let clock = numbers(clock, ':')?;
    let (hour, minute, second) = match *clock.as_slice() {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let days = days_of(year, month, day);
    let is_a_time = (1970..10_000).contains(&year) && hour < 24 && minute < 60 && second < 60;
    // A day that the month does not have is another month's.
    let is_a_day = date_of(days) == (year, month, day);
    (is_a_time && is_a_day).then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn numbers(text: &str, between: char) -> Option<Vec<i64>> {
    let part = |part: &str| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i64>().ok().filter(|_| is_number && part.len() <= 4)
    };
    text.split(between).map(part).collect()
}

/// `2026-11-24 10:00`, in UTC.
pub(crate) fn show(seconds: i64) -> String {
    let (year, month, day) = date_of(seconds.div_euclid(86_400));
    let minutes = seconds.rem_euclid(86_400) / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Days since 1970-01-01. Years begin in March, so that the leap day is the last (Hinnant,
/// days_from_civil).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The other way round (civil_from_days).
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let table = [
            ("1970-01-01", Some(0), "the first day"),
            ("2026-11-24", Some(1_795_478_400), "a day"),
            ("2026-11-24T10:30", Some(1_795_516_200), "a minute"),
            ("2024-02-29T23:59:59Z", Some(1_709_251_199), "a leap day's last second"),
            ("2026-02-29", None, "a day that there was not"),
            ("2026-13-01", None, "a month that there is not"),
            ("2026-11-24T24:00", None, "an hour that there is not"),
            ("1969-12-31", None, "before time"),
            ("yesterday", None, "a word"),
            ("", None, "nothing"),
            ("d", None, "no number"),
            ("-3d", None, "the future"),
        ];
        for (text, expected, reason) in table {
            assert_eq!(time(text).ok(), expected, "{reason}: {text:?}");
        }
        assert!((now() - time("3d").unwrap() - 259_200).abs() < 5);
        assert_eq!(show(1_795_516_200), "2026-11-24 10:30");
    }
}
