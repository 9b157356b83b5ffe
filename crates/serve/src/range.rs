//! `Range` and the conditions of requests: RFC 9110, sections 13 and 14.

use std::ops::Range;
use std::time::SystemTime;

/// What to send of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// The range lies behind the end.
    Unsatisfiable,
}

/// What a `Range` header asks of a file of `size` bytes. What is no single range of bytes is ignored, as the rules allow.
pub fn part(header: &str, size: u64) -> Part {
    let Some(list) = header.trim().strip_prefix("bytes=") else { return Part::Whole };
    let Some((first, last)) = list.split_once('-').filter(|_| !list.contains(',')) else {
        return Part::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Part::Whole;
    }
    // More digits than a number has lie behind the end of every file.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let range = match (first, last) {
        ("", "") => return Part::Whole,
        ("", length) => size - number(length).min(size)..size,
        (first, "") => number(first)..size,
        (first, last) if number(first) > number(last) => return Part::Whole,
        (first, last) => number(first)..number(last).saturating_add(1).min(size),
    };
    if range.is_empty() { Part::Unsatisfiable } else { Part::Bytes(range) }
}

/// Whether `tag` is in the list of an `If-None-Match` header.
pub(crate) fn matches(list: &str, tag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Whether nothing changed since the time of an `If-Modified-Since` header; one that cannot be read is ignored.
pub(crate) fn unchanged(header: &str, modified: SystemTime) -> bool {
    httpdate::parse_http_date(header).is_ok_and(|since| modified <= since)
}

/// Whether `If-Range` allows a part: it names the very file, by tag or by time.
pub(crate) fn same(header: &str, tag: &str, modified: SystemTime) -> bool {
    header.trim() == tag || httpdate::parse_http_date(header).is_ok_and(|since| modified == since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_file_of_ten_bytes() {
        let cases = [
            ("bytes=0-3", Part::Bytes(0..4)),
            ("bytes=4-", Part::Bytes(4..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-30", Part::Bytes(0..10)),
            ("bytes=9-9", Part::Bytes(9..10)),
            ("bytes=0-99999999999999999999999", Part::Bytes(0..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=10-12", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("", Part::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(part(header, 10), expected, "{header}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Unsatisfiable);
        assert_eq!(part("bytes=-1", 0), Part::Unsatisfiable);
    }

    #[test]
    fn tags_and_times() {
        let tag = "\"abc\"";
        assert!(matches("\"x\", W/\"abc\"", tag) && matches("*", tag) && !matches("\"ab\"", tag));
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let time = httpdate::fmt_http_date(at(1_000_000));
        assert!(unchanged(&time, at(1_000_000)) && unchanged(&time, at(999_999)));
        assert!(!unchanged(&time, at(1_000_001)) && !unchanged("yesterday", at(0)));
        assert!(same(tag, tag, at(1)) && same(&time, tag, at(1_000_000)));
        assert!(!same(&time, tag, at(999_999)) && !same("\"x\"", tag, at(1)));
    }
}
