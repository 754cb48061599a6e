//! Times as people write them: RFC 3339 in UTC, and so long ago. No time zones: a node's logs are
//! compared with those of others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// A time to the second, such as `2026-11-21T10:31:05Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let (date, hour, minute, second) = parts(since_1970(time).as_secs());
    format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A time to the millisecond, such as `2026-11-21T10:31:05.123Z`.
pub fn rfc3339_milliseconds(time: SystemTime) -> String {
    let since = since_1970(time);
    let (date, hour, minute, second) = parts(since.as_secs());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Reads `2026-11-21`, `2026-11-21T10:31:05Z`, or how long ago: `90s`, `10m`, `2h`, `3d`.
pub fn parse(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let wrong = || "a time is 2026-11-21, 2026-11-21T10:31:05Z (UTC), or 90s, 10m, 2h, 3d ago";
    ago(text)
        .and_then(|ago| now.checked_sub(ago))
        .or_else(|| instant(text))
        .ok_or_else(|| wrong().to_owned())
}

fn ago(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => DAY,
        _ => return None,
    };
    number(&text[..text.len() - 1])?.checked_mul(unit).map(Duration::from_secs)
}

fn instant(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time.strip_suffix('Z')?, ':')?;
    let valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    valid.then(|| {
        let seconds = days(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
        UNIX_EPOCH + Duration::from_secs(seconds)
    })
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let parts: Option<Vec<u64>> = text.split(separator).map(number).collect();
    parts?.try_into().ok()
}

fn number(text: &str) -> Option<u64> {
    // A sign is no part of a number here.
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

// Days are counted from 1 March of the year 0, so that a leap day is the last of its year; 400
// years have 146,097 days. After H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".

/// Date, hour, minute, second.
fn parts(seconds: u64) -> (String, u64, u64, u64) {
    let (days, seconds) = (seconds / DAY + 719_468, seconds % DAY);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    (format!("{year:04}-{month:02}-{day:02}"), seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Days since 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year / 400, year % 400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: &[(u64, &str)] = &[
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_795_247_999, "2026-11-21T07:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ];

    #[test]
    fn times_are_written_and_read() {
        for &(seconds, text) in TIMES {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(time), text);
            assert_eq!(parse(text, UNIX_EPOCH), Ok(time));
        }
        let time = UNIX_EPOCH + Duration::from_millis(1_007);
        assert_eq!(rfc3339_milliseconds(time), "1970-01-01T00:00:01.007Z");
    }

    #[test]
    fn what_else_is_a_time_and_what_is_none() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (text, seconds) in [
            ("90s", Some(999_910)),
            ("10m", Some(999_400)),
            ("2h", Some(992_800)),
            ("3d", Some(740_800)),
            ("1970-01-03", Some(2 * DAY)),
            ("99999999999999999999s", None),
            ("-1s", None),
            ("1970-01", None),
            ("1970-13-01", None),
            ("1970-00-00", None),
            ("0000-01-01", None),
            ("1970-01-01T25:00:00Z", None),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("yesterday", None),
            ("ä", None),
            ("", None),
        ] {
            let time = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(parse(text, now).ok(), time, "{text}");
        }
    }
}
