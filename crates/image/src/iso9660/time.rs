//! Times in their two ISO 9660 forms. Always UTC when written.

use crate::epoch::civil;

/// The 7 bytes of a directory record (ECMA-119, 9.1.5) and of a Rock Ridge TF entry.
pub(super) fn short(seconds: u32) -> [u8; 7] {
    let time = civil(seconds);
    // The range of a u32 ends in 2106, which is 206.
    let year = u8::try_from(time.year - 1900).unwrap_or(u8::MAX);
    [year, time.month, time.day, time.hour, time.minute, time.second, 0]
}

/// The 17 bytes of a volume descriptor (ECMA-119, 8.4.26.1): digits down to hundredths, then the zone.
pub(super) fn long(seconds: u32) -> [u8; 17] {
    let time = civil(seconds);
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}00\0",
        time.year, time.month, time.day, time.hour, time.minute, time.second
    );
    let mut bytes = [0; 17];
    bytes.copy_from_slice(text.as_bytes());
    bytes
}

/// The long form of no time at all.
pub(super) const NONE: [u8; 17] = *b"0000000000000000\0";

/// Seconds since 1970-01-01 UTC of the short form; nonsense in a field gives a nonsensical, but defined, time.
pub(super) fn from_short(bytes: [u8; 7]) -> i64 {
    let [year, month, day, hour, minute, second, zone] = bytes;
    let date = [1900 + i64::from(year), i64::from(month), i64::from(day)];
    seconds(date, [hour, minute, second].map(i64::from), zone)
}

/// Seconds since 1970-01-01 UTC of the long form; `None` if it is not made of digits, or stands for no time.
pub(super) fn from_long(bytes: &[u8]) -> Option<i64> {
    let (digits, zone) = bytes.split_at_checked(16)?;
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse::<u16>().ok().map(i64::from);
    let year = number(&digits[..4]).filter(|year| *year > 0)?;
    let mut rest = [0; 5];
    for (value, part) in rest.iter_mut().zip(digits[4..].chunks_exact(2)) {
        *value = number(part)?;
    }
    let [month, day, hour, minute, second] = rest;
    Some(seconds([year, month, day], [hour, minute, second], *zone.first()?))
}

fn seconds([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3], zone: u8) -> i64 {
    // Days from civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let month = month.clamp(1, 12);
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let quarters = i64::from(i8::from_le_bytes([zone]));
    days * 86_400 + hour * 3_600 + minute * 60 + second - quarters * 900
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_form_round_trips_over_the_whole_range() {
        for seconds in (0..u32::MAX - 8_000_011).step_by(8_000_011).chain([951_782_400, u32::MAX]) {
            assert_eq!(from_short(short(seconds)), i64::from(seconds));
        }
    }

    #[test]
    fn zones_are_east_of_utc() {
        let mut bytes = short(1_686_390_780);
        bytes[6] = 8;
        assert_eq!(from_short(bytes), 1_686_390_780 - 2 * 3_600);
        bytes[6] = 0xfc;
        assert_eq!(from_short(bytes), 1_686_390_780 + 3_600);
    }

    #[test]
    fn long_form_has_the_digits_of_the_standard() {
        assert_eq!(&long(1_686_390_780), b"2023061009530000\0");
        assert_eq!(from_long(&long(1_686_390_780)), Some(1_686_390_780));
        assert_eq!(from_long(&NONE), None);
        assert_eq!(from_long(b"20230610x9530000\0"), None);
    }
}
