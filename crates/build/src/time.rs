//! The moment of a build: where it may come from and which ones are refused.

use selfsame_image::Epoch;
use selfsame_image::epoch::civil;

/// Why a text does not name a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a moment: give seconds since 1970 (0 to 4294967295) or 2025-05-17T00:00:00Z")]
pub struct NotAMoment {
    /// The text.
    pub text: String,
}

/// Reads seconds since 1970 in decimal, or `YYYY-MM-DDTHH:MM:SSZ` in UTC.
pub fn parse_epoch(text: &str) -> Result<Epoch, NotAMoment> {
    let wrong = || NotAMoment { text: text.to_owned() };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Epoch).map_err(|_| wrong());
    }
    // Only one spelling is taken: the one that the moment prints as.
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let fields = [0..4, 5..7, 8..10, 11..13, 14..16, 17..19].map(number);
    let [Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)] = fields else {
        return Err(wrong());
    };
    if !(1970..=2106).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(wrong());
    }
    // Days before the month, found by asking the calendar itself for the month's first day.
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let before_year: u64 = (1970..year).map(|y| 365 + u64::from(leap(y))).sum();
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before_month: u64 = lengths.iter().take(usize::try_from(month).map_err(|_| wrong())? - 1).sum();
    let seconds = (((before_year + before_month + day - 1) * 24 + hour) * 60 + minute) * 60 + second;
    let seconds = u32::try_from(seconds).map_err(|_| wrong())?;
    if civil(seconds).to_string() != text { Err(wrong()) } else { Ok(Epoch(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_no_other() {
        assert_eq!(parse_epoch("0"), Ok(Epoch(0)));
        assert_eq!(parse_epoch("1752228997"), Ok(Epoch(1_752_228_997)));
        for seconds in [0, 951_782_400, 1_752_228_997, u32::MAX] {
            assert_eq!(parse_epoch(&civil(seconds).to_string()), Ok(Epoch(seconds)));
        }
        let bad = [
            "",
            "-1",
            "4294967296",
            "1e9",
            "2025-02-29T00:00:00Z",
            "2025-05-17",
            "2025-05-17T00:00:60Z",
            "é025-05-17T00:00:00Z",
        ];
        for text in bad {
            assert!(parse_epoch(text).is_err(), "{text}");
        }
    }
}
