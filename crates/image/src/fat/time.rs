//! FAT counts years from 1980 and seconds in steps of two. Always UTC when written.

use crate::epoch::civil;

/// 1980-01-01.
const FIRST: u32 = 315_532_800;

/// A moment in the fields of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DosTime {
    pub(super) date: u16,
    pub(super) time: u16,
    /// Hundredths of a second beyond `time`, 0 or 100.
    pub(super) fine: u8,
}

/// `seconds` since 1970-01-01, at least 1980-01-01.
pub(super) fn dos(seconds: u32) -> DosTime {
    let at = civil(seconds.max(FIRST));
    let field = u16::from;
    DosTime {
        date: (at.year - 1980) << 9 | field(at.month) << 5 | field(at.day),
        time: field(at.hour) << 11 | field(at.minute) << 5 | field(at.second / 2),
        fine: at.second % 2 * 100,
    }
}

/// Seconds since 1970-01-01; fields out of range give some other, but defined, moment.
pub(super) fn seconds(date: u16, time: u16) -> i64 {
    let (year, month, day) = (1980 + i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
    // Days from civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let month = month.clamp(1, 12);
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_era = year % 400;
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = year / 400 * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let (hour, minute, second) = (i64::from(time >> 11), i64::from(time >> 5 & 63), i64::from(time & 31) * 2);
    days * 86_400 + hour * 3_600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_down_to_two_seconds() {
        for at in (FIRST..u32::MAX - 8_000_011).step_by(8_000_011).chain([951_782_400, u32::MAX]) {
            let DosTime { date, time, fine } = dos(at);
            assert_eq!(seconds(date, time) + i64::from(fine / 100), i64::from(at));
        }
    }

    #[test]
    fn nothing_is_before_1980() {
        assert_eq!(dos(0), DosTime { date: 0x21, time: 0, fine: 0 });
        assert_eq!(dos(FIRST + 3), DosTime { date: 0x21, time: 1, fine: 100 });
    }
}
