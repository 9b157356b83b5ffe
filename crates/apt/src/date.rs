//! Dates as `Release` files write them (RFC 1123 in UTC), and the names snapshots get from them.

use selfsame_image::epoch;

/// The text is not a date in UTC as a `Release` file writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date like \"Sat, 11 Jul 2026 10:16:37 UTC\"")]
pub struct NotADate(pub String);

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970-01-01 UTC of a date such as `Sat, 11 Jul 2026 10:16:37 UTC`.
///
/// The zone must be `UTC`, `GMT`, `Z`, `+0000` or `-0000`, as apt wants it; the year is 1970 to 2105; the weekday must
/// be the right one. Day and hour may have one digit.
pub fn parse(text: &str) -> Result<i64, NotADate> {
    read(text).ok_or_else(|| NotADate(text.chars().take(80).collect()))
}

fn read(text: &str) -> Option<i64> {
    let mut words = text.split(' ');
    let weekday = words.next()?.strip_suffix(',')?;
    let day = number(words.next()?, 1..=2, 1, 31)?;
    let month_name = words.next()?;
    let month = MONTHS.iter().position(|&name| name == month_name)?;
    let year = number(words.next()?, 4..=4, 1970, 2105)?;
    let mut clock = words.next()?.split(':');
    let hour = number(clock.next()?, 1..=2, 0, 23)?;
    let minute = number(clock.next()?, 2..=2, 0, 59)?;
    let second = number(clock.next()?, 2..=2, 0, 59)?;
    let zone = words.next()?;
    if !matches!(zone, "UTC" | "GMT" | "Z" | "+0000" | "-0000")
        || clock.next().is_some()
        || words.next().is_some()
    {
        return None;
    }
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if day > lengths[month] {
        return None;
    }
    let before = year - 1;
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let days = (year - 1970) * 365 + leap_days(before) - leap_days(1969)
        + lengths[..month].iter().sum::<i64>()
        + day
        - 1;
    let right = WEEKDAYS[usize::try_from(days % 7).ok()?];
    (weekday == right).then_some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>, low: i64, high: i64) -> Option<i64> {
    if !digits.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|value| (low..=high).contains(value))
}

/// The form `20260711T101637Z` that names snapshots. Times outside 1970 to 2106 are limited to that range.
pub fn serial(seconds: i64) -> String {
    let epoch::Civil { year, month, day, hour, minute, second } =
        epoch::civil(u32::try_from(seconds.max(0)).unwrap_or(u32::MAX));
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip_through_the_calendar() {
        // Every 1000th hour or so of the range, and the ends.
        for seconds in (0..i64::from(u32::MAX)).step_by(3_600_123).chain([951_782_400, 4_102_444_799]) {
            let civil = epoch::civil(u32::try_from(seconds).unwrap());
            if civil.year > 2105 {
                continue;
            }
            let weekday = WEEKDAYS[usize::try_from(seconds / 86_400 % 7).unwrap()];
            let month = MONTHS[usize::from(civil.month) - 1];
            let epoch::Civil { year, day, hour, minute, second, .. } = civil;
            let text = format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} UTC");
            assert_eq!(parse(&text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn known_dates_and_serials() {
        for (text, seconds, name) in [
            ("Sat, 11 Jul 2026 10:16:37 UTC", 1_783_764_997, "20260711T101637Z"),
            ("Thu, 1 Jan 1970 0:00:00 GMT", 0, "19700101T000000Z"),
            ("Tue, 29 Feb 2000 23:59:59 +0000", 951_868_799, "20000229T235959Z"),
        ] {
            assert_eq!(parse(text), Ok(seconds));
            assert_eq!(serial(seconds), name);
        }
        assert_eq!(serial(-5), "19700101T000000Z");
    }

    #[test]
    fn changed_bytes_never_panic_and_rarely_pass() {
        let good = "Sat, 11 Jul 2026 10:16:37 UTC";
        let mut passed = 0;
        for at in 0..good.len() {
            assert!(parse(&good[..at]).is_err());
            for byte in b' '..=b'~' {
                let mut bad = good.as_bytes().to_vec();
                bad[at] = byte;
                passed += usize::from(parse(std::str::from_utf8(&bad).unwrap()).is_ok());
            }
        }
        // The digits of the time of day (3 + 6 + 6 tens, 10 each of ones; hour 1x and x0 to 2x) and the byte itself.
        assert!((29..100).contains(&passed), "{passed}");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "Sat, 11 Jul 2026 10:16:37",
            "Sat, 11 Jul 2026 10:16:37 CEST",
            "Sat, 11 Jul 2026 10:16:37 +0200",
            "Sun, 11 Jul 2026 10:16:37 UTC",
            "11 Jul 2026 10:16:37 UTC",
            "Sat 11 Jul 2026 10:16:37 UTC",
            "Sat,  11 Jul 2026 10:16:37 UTC",
            "Sat, 11 Jul 2026 10:16:37 UTC ",
            "Sat, 11 jul 2026 10:16:37 UTC",
            "Sat, 11 Jul 26 10:16:37 UTC",
            "Sat, 11 Jul 2026 10:16 UTC",
            "Sat, 11 Jul 2026 10:16:60 UTC",
            "Sat, 11 Jul 2026 24:16:00 UTC",
            "Sat, 11 Jul 2026 1:2:3 UTC",
            "Sat, 011 Jul 2026 10:16:37 UTC",
            "Tue, 29 Feb 2100 00:00:00 UTC",
            "Mon, 29 Feb 2100 00:00:00 UTC",
            "Fri, 31 Apr 2026 00:00:00 UTC",
            "Sat, 00 Jul 2026 10:16:37 UTC",
            "Sat, +1 Jul 2026 10:16:37 UTC",
            "Thu, 01 Jan 9999 00:00:00 UTC",
            "2026-07-11T10:16:37Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
