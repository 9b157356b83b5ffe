//! Numbers in tar headers: octal text, or base 256 where octal has no room.

/// Reads a field: octal digits between optional spaces before and spaces or NULs after, or base 256.
///
/// A field without digits is 0. `None` if the field is something else or the number does not fit.
pub(super) fn parse(field: &[u8]) -> Option<i128> {
    match field.first()? {
        0x80 | 0xff => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i128> {
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let field = &field[start..];
    let end = field.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    // At most 12 digits of 3 bits.
    digits.iter().try_fold(0i128, |value, digit| match digit {
        b'0'..=b'7' => Some(value << 3 | i128::from(digit - b'0')),
        _ => None,
    })
}

/// Two's complement after a first byte of 0x80 (not negative) or 0xff (negative); at most 12 bytes.
fn base_256(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    let start = if *first == 0xff { -1 } else { 0 };
    let value = rest.iter().fold(start, |value: i128, byte| value << 8 | i128::from(*byte));
    Some(value)
}

/// Writes `value` as octal digits that fill the field but for one NUL, or as base 256 if it has no room.
///
/// # Panics
/// If the field is shorter than 8 bytes, which no number field of the format is.
pub(super) fn write(field: &mut [u8], value: i64) {
    let digits = field.len() - 1;
    let bits = 3 * u32::try_from(digits).expect("fields have 8 or 12 bytes");
    if value >= 0 && value >> bits.min(62) == 0 {
        let text = format!("{value:0digits$o}");
        field[..digits].copy_from_slice(text.as_bytes());
        field[digits] = 0;
        return;
    }
    field.fill(if value < 0 { 0xff } else { 0 });
    let room = field.len();
    let bytes = value.to_be_bytes();
    let take = bytes.len().min(room - 1);
    field[room - take..].copy_from_slice(&bytes[bytes.len() - take..]);
    field[0] = if value < 0 { 0xff } else { 0x80 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_as_tars_of_all_times_write_them() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644     ", Some(0o644)),
            (b"00000644", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"644\0 644", None),
            (b"0x00644\0", None),
        ] {
            assert_eq!(parse(field), value, "{field:?}");
        }
    }

    #[test]
    fn both_forms_round_trip_at_their_limits() {
        for value in [0, 1, 0o7_777_777, 0o10_000_000, i64::from(u32::MAX), -1, -77] {
            let mut field = [0xaa; 8];
            write(&mut field, value);
            assert_eq!(parse(&field), Some(i128::from(value)), "{field:02x?}");
        }
        for value in [0, (1 << 33) - 1, 1 << 33, i64::MAX, i64::MIN, -1] {
            let mut field = [0xaa; 12];
            write(&mut field, value);
            assert_eq!(parse(&field), Some(i128::from(value)), "{field:02x?}");
        }
    }

    #[test]
    fn octal_is_used_as_long_as_it_has_room() {
        let mut field = [0; 12];
        write(&mut field, (1 << 33) - 1);
        assert_eq!(&field, b"77777777777\0");
        write(&mut field, 1 << 33);
        assert_eq!(field, [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }
}
