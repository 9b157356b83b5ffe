//! The one moment an image knows.

use std::fmt;

/// The time given to everything that has none of its own, and the latest any time in an output may be.
///
/// Seconds since 1970-01-01 UTC, 0 to 2^32 - 1 (2106-02-07): the range of the SquashFS time field.
/// Source: <https://reproducible-builds.org/specs/source-date-epoch/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u32);

/// A UTC date and time of day in the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1970 to 2106.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59; leap seconds do not exist in Unix time.
    pub second: u8,
}

impl Epoch {
    /// `mtime` limited to the range from 0 to this epoch.
    pub fn clamp(self, mtime: i64) -> u32 {
        u32::try_from(mtime.max(0)).unwrap_or(u32::MAX).min(self.0)
    }

    /// The calendar form of this moment, in UTC.
    pub fn civil(self) -> Civil {
        civil(self.0)
    }
}

impl Civil {
    /// Seconds since 1970-01-01 UTC, also of a leap second; `None` for what is no date or no time of day.
    pub fn seconds(self) -> Option<i64> {
        let Self { year, month, day, hour, minute, second } = self;
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=12).contains(&month) || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60
        {
            return None;
        }
        // As `civil`, the other way round.
        let year = i64::from(year) - i64::from(month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((i64::from(month) + 9) % 12) + 2) / 5 + i64::from(day) - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
        Some(days * 86_400 + i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second))
    }
}

/// The calendar form of `seconds` since 1970-01-01 UTC.
pub fn civil(seconds: u32) -> Civil {
    // Days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let days = i64::from(seconds / 86_400) + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |n: i64| u8::try_from(n).expect("months and days are below 32");
    let of_day = seconds % 86_400;
    Civil {
        year: u16::try_from(year).expect("a u32 of seconds ends in 2106"),
        month: small(month),
        day: small(day_of_year - (153 * shifted + 2) / 5 + 1),
        hour: small(i64::from(of_day / 3_600)),
        minute: small(i64::from(of_day / 60 % 60)),
        second: small(i64::from(of_day % 60)),
    }
}

impl fmt::Display for Civil {
    /// `2023-06-10T09:53:00Z`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_match_date_1() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_686_390_780, "2023-06-10T09:53:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u32::MAX, "2106-02-07T06:28:15Z"),
        ] {
            assert_eq!(civil(seconds).to_string(), text);
            assert_eq!(civil(seconds).seconds(), Some(seconds.into()));
        }
    }

    #[test]
    fn what_is_no_date_has_no_seconds() {
        let good = Civil { year: 2023, month: 6, day: 30, hour: 23, minute: 59, second: 60 };
        assert_eq!(good.seconds(), Some(1_688_169_600));
        assert_eq!(Civil { year: 1969, month: 12, day: 31, second: 59, ..good }.seconds(), Some(-1));
        for bad in [
            Civil { month: 0, ..good },
            Civil { month: 13, ..good },
            Civil { day: 31, ..good },
            Civil { month: 2, day: 29, ..good },
            Civil { day: 0, ..good },
            Civil { hour: 24, ..good },
            Civil { minute: 60, ..good },
            Civil { second: 61, ..good },
        ] {
            assert_eq!(bad.seconds(), None, "{bad:?}");
        }
    }

    #[test]
    fn clamp_limits_both_ends() {
        let epoch = Epoch(100);
        assert_eq!([-5, 0, 99, 100, 101, i64::MAX].map(|t| epoch.clamp(t)), [0, 0, 99, 100, 100, 100]);
    }
}
