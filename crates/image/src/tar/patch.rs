//! Single fields of headers, to be changed in place in the form they have.

use super::{header, number, pax};

/// Where fields lie.
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Bytes of data behind a header.
pub(crate) fn size(block: &[u8]) -> Option<u64> {
    u64::try_from(number::parse(block.get(SIZE)?)?).ok()
}

/// The time in a header, in seconds since 1970.
pub(crate) fn mtime(block: &[u8; 512]) -> Option<i64> {
    i64::try_from(number::parse(&block[MTIME])?).ok()
}

/// Gives a header another time; nothing if it has no room for it.
pub(crate) fn set_mtime(block: &mut [u8; 512], seconds: u32) -> Option<()> {
    set(&mut block[MTIME], seconds.into())
}

/// Gives a header the checksum that belongs to it; nothing if it has no room for it.
pub(crate) fn set_checksum(block: &mut [u8; 512]) -> Option<()> {
    let sum = header::checksum(block);
    set(&mut block[CHECKSUM], sum)
}

/// Writes a number where another is: with as many octal digits, or to the base 256.
fn set(field: &mut [u8], value: u64) -> Option<()> {
    if matches!(field.first()?, 0x80 | 0xff) {
        let last = field.len().checked_sub(8)?;
        field.fill(0);
        field[last..].copy_from_slice(&value.to_be_bytes());
        field[0] = 0x80;
        return Some(());
    }
    let start = field.iter().position(u8::is_ascii_digit)?;
    let digits = field[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = format!("{value:0digits$o}");
    (text.len() == digits).then(|| field[start..start + digits].copy_from_slice(text.as_bytes()))
}

/// Of each record of a PAX header where its value lies in the body, its key and its value.
pub(crate) fn records(body: &[u8]) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (record, next) = pax::split_record(rest)?;
        // A line end is behind the record.
        let end = body.len() - next.len() - 1;
        rest = next;
        let equals = record.iter().position(|byte| *byte == b'=').unwrap_or(record.len());
        let value = record.get(equals + 1..).unwrap_or_default();
        Some((end - value.len(), &record[..equals], value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_form() {
        for (old, value, new) in [
            (&b"14464532733\0"[..], 8, Some(&b"00000000010\0"[..])),
            (b"   17  \0", 1, Some(b"   01  \0")),
            (b"7\0\0\0", 8, None),
            (b"\0\0\0\0", 1, None),
            (b"\x80\0\0\0\0\0\0\0\0\x01\x02\x03", 5, Some(b"\x80\0\0\0\0\0\0\0\0\0\0\x05")),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", 5, Some(b"\x80\0\0\0\0\0\0\x05")),
        ] {
            let mut field = old.to_vec();
            let done = set(&mut field, value);
            assert_eq!(done.map(|()| &field[..]), new, "{old:?}");
        }
    }
}
