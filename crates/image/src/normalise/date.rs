//! Dates in text: read by a pattern, and written again in the same form and length.
//!
//! In a pattern `Y`, `O`, `D`, `h`, `i` and `s` stand for a digit of year, month, day, hour, minute and second, `e` for one of
//! the day that may be a blank, `a` and `b` for a letter of the weekday and the month, `+` for the sign of the zone, `U` and `V`
//! for a digit of its hours and minutes. All others stand for themselves.

use super::Times;
use crate::epoch::{Civil, civil};

/// ISO 8601, as XMP and ImageMagick write it.
pub(super) const ISO: &[&str] = &["YYYY-OO-DDThh:ii:ss+UU:VV", "YYYY-OO-DDThh:ii:ssZ", "YYYY-OO-DDThh:ii:ss"];
/// PNG (11.3.3) wants RFC 1123 for a time of creation; most write something else.
pub(super) const CREATION_TIME: &[&str] = &[
    "aaa, DD bbb YYYY hh:ii:ss +UUVV",
    "aaa, DD bbb YYYY hh:ii:ss GMT",
    "DD bbb YYYY hh:ii:ss +UUVV",
    "YYYY-OO-DDThh:ii:ss+UU:VV",
    "YYYY-OO-DDThh:ii:ssZ",
    "YYYY-OO-DDThh:ii:ss",
    "YYYY-OO-DD hh:ii:ss",
    "YYYY:OO:DD hh:ii:ss",
    "aaa bbb ee hh:ii:ss YYYY",
    "YYYY-OO-DD",
];
/// What programs write into a comment of PostScript: ctime(3), and Ghostscript.
pub(super) const POSTSCRIPT: &[&str] = &[
    "aaa bbb ee hh:ii:ss YYYY",
    "YYYY/OO/DD hh:ii:ss",
    "YYYY-OO-DDThh:ii:ss+UU:VV",
    "YYYY-OO-DDThh:ii:ssZ",
    "YYYY-OO-DDThh:ii:ss",
];
/// Strings that are dates in PDF (ISO 32000-1, 7.9.4), behind their prefix: the month has no letter there.
pub(super) const PDF: &[&str] =
    &["YYYYOODDhhiiss+UU'VV'", "YYYYOODDhhiiss+UU'VV", "YYYYOODDhhiissZ", "YYYYOODDhhiiss"];
/// GNU gettext, "The Format of PO Files".
pub(super) const PO: &[&str] = &["YYYY-OO-DD hh:ii+UUVV"];
/// HTML's `<meta name="date">` as javadoc writes it.
pub(super) const DAY: &[&str] = &["YYYY-OO-DD"];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The first of January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// What a date is to be replaced with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It may stay.
    Good,
    /// A text of the same length.
    Late(Vec<u8>),
}

/// What becomes of `text`, if all of it is a date of one of these patterns.
pub(super) fn whole(patterns: &[&str], text: &[u8], times: Times) -> Option<Found> {
    patterns.iter().find_map(|pattern| {
        let seconds = read(pattern, text)?;
        let new = times.of(seconds).map(|seconds| write(pattern, seconds)).filter(|new| new != text);
        Some(new.map_or(Found::Good, Found::Late))
    })
}

/// Seconds since 1970 UTC; without a zone it is taken for UTC.
fn read(pattern: &str, text: &[u8]) -> Option<i64> {
    if pattern.len() != text.len() {
        return None;
    }
    let (mut numbers, mut month, mut sign) = ([0_u16; 256], Vec::new(), 1);
    for (token, byte) in pattern.bytes().zip(text) {
        match token {
            b'e' if *byte == b' ' => {}
            b'Y' | b'O' | b'D' | b'h' | b'i' | b's' | b'e' | b'U' | b'V' => {
                let number = &mut numbers[usize::from(token)];
                *number = *number * 10 + u16::from(byte.is_ascii_digit().then(|| byte - b'0')?);
            }
            b'a' => byte.is_ascii_alphabetic().then_some(())?,
            b'b' => month.push(*byte),
            b'+' => sign = [(b'+', 1), (b'-', -1)].into_iter().find(|(one, _)| one == byte)?.1,
            _ => (token == *byte).then_some(())?,
        }
    }
    let number = |token: u8| numbers[usize::from(token)];
    let small = |token: u8| u8::try_from(number(token)).ok();
    let by_name = MONTHS.iter().zip(1..).find(|(name, _)| name.as_bytes() == month).map(|(_, number)| number);
    let date = Civil {
        year: number(b'Y'),
        month: if month.is_empty() { small(b'O').filter(|_| pattern.contains('O'))? } else { by_name? },
        day: small(b'D')? + small(b'e')?,
        hour: small(b'h')?,
        minute: small(b'i')?,
        second: small(b's')?,
    };
    let zone = i64::from(number(b'U')) * 3_600 + i64::from(number(b'V')) * 60;
    Some(date.seconds()? - sign * zone)
}

/// The text of a moment, in UTC.
fn write(pattern: &str, seconds: u32) -> Vec<u8> {
    let Civil { year, month, day, hour, minute, second } = civil(seconds);
    let days = usize::try_from(seconds / 86_400).expect("32 bits");
    let text = |token: u8| match token {
        b'Y' => format!("{year:04}"),
        b'O' => format!("{month:02}"),
        b'D' => format!("{day:02}"),
        b'e' => format!("{day:2}"),
        b'h' => format!("{hour:02}"),
        b'i' => format!("{minute:02}"),
        b's' => format!("{second:02}"),
        b'U' | b'V' => "00".to_owned(),
        b'a' => WEEKDAYS[days % 7].to_owned(),
        b'b' => MONTHS[usize::from(month) - 1].to_owned(),
        _ => char::from(token).to_string(),
    };
    let tokens = pattern.as_bytes();
    let one = |(at, token): (usize, &u8)| {
        let before = tokens[..at].iter().filter(|one| *one == token).count();
        let text = text(*token);
        text.as_bytes()[before % text.len()]
    };
    tokens.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;

    const NOON: i64 = 1_423_159_771;

    #[test]
    fn each_form_is_read_and_written_again() {
        for (pattern, text, seconds) in [
            (ISO[0], "2015-02-05T19:09:31+01:00", NOON),
            (ISO[1], "2015-02-05T18:09:31Z", NOON),
            (CREATION_TIME[0], "Thu, 05 Feb 2015 16:39:31 -0130", NOON),
            (CREATION_TIME[1], "Thu, 05 Feb 2015 18:09:31 GMT", NOON),
            (POSTSCRIPT[0], "Thu Feb  5 18:09:31 2015", NOON),
            (POSTSCRIPT[0], "Thu Feb 15 18:09:31 2015", NOON + 10 * 86_400),
            (PDF[0], "20150205180931+00'00'", NOON),
            (PO[0], "2015-02-05 18:09+0000", NOON - 31),
            (DAY[0], "1969-12-31", -86_400),
        ] {
            assert_eq!(read(pattern, text.as_bytes()), Some(seconds), "{text}");
        }
        let seconds = u32::try_from(NOON).unwrap();
        let all = [ISO, CREATION_TIME, POSTSCRIPT, PDF, PO, DAY].concat();
        for pattern in all {
            let text = write(pattern, seconds);
            let again = read(pattern, &text).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&text)));
            assert!((NOON - 86_400..=NOON).contains(&again), "{pattern}");
        }
        assert_eq!(write(POSTSCRIPT[0], seconds), b"Thu Feb  5 18:09:31 2015");
        assert_eq!(write(CREATION_TIME[0], seconds), b"Thu, 05 Feb 2015 18:09:31 +0000");
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for (pattern, text) in [
            (ISO[1], "2015-02-30T18:09:31Z"),
            (ISO[1], "2015-02-05t18:09:31Z"),
            (ISO[1], "2015-02-05T18:09:3Z"),
            (PO[0], "YEAR-MO-DA HO:MI+ZONE"),
            (POSTSCRIPT[0], "Thu Mai  5 18:09:31 2015"),
            (POSTSCRIPT[0], "    Feb  5 18:09:31 2015"),
        ] {
            assert_eq!(read(pattern, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_late_changes() {
        let times = Times { epoch: Epoch(1_423_159_771), all: false };
        assert_eq!(whole(ISO, b"2015-02-05T18:09:31Z", times), Some(Found::Good));
        assert_eq!(whole(ISO, b"2014-02-05T18:09:31Z", times), Some(Found::Good));
        let late = Found::Late(b"2015-02-05T18:09:31+00:00".to_vec());
        assert_eq!(whole(ISO, b"2015-02-05T18:09:31-01:00", times), Some(late));
        assert_eq!(whole(ISO, b"2015-02-05T18:09:31-01:00, more", times), None);
        let all = Times { all: true, ..times };
        assert_eq!(whole(DAY, b"2014-02-05", all), Some(Found::Late(b"2015-02-05".to_vec())));
        assert_eq!(whole(DAY, b"2015-02-05", all), Some(Found::Good));
    }
}
