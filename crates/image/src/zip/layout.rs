//! Structures as they lie in the archive, cut into their fields.

use crate::epoch::{Civil, civil};
use crate::extent::{Field, Role, Structure, show};
use crate::io::wide;
use crate::raw::show_bytes;

/// Lengths without what can have any length (APPNOTE 4.3.7, 4.3.12, 4.3.14 to 4.3.16).
pub(super) const LOCAL: u64 = 30;
pub(super) const CENTRAL: u64 = 46;
pub(super) const END_64: u64 = 56;
pub(super) const LOCATOR: u64 = 20;
pub(super) const END: u64 = 22;

/// The identifier of the extra field that has lengths above 4 GiB (APPNOTE 4.5.3).
const ZIP64: u16 = 1;

pub(super) static LOCAL_HEADER: Structure = Structure { name: "local file header", fields: local };
pub(super) static CENTRAL_ENTRY: Structure = Structure { name: "central directory entry", fields: central };
pub(super) static DESCRIPTOR: Structure = Structure { name: "data descriptor", fields: descriptor };
pub(super) static END_RECORD_64: Structure =
    Structure { name: "zip64 end of central directory record", fields: end_64 };
pub(super) static END_LOCATOR: Structure =
    Structure { name: "zip64 end of central directory locator", fields: locator };
pub(super) static END_RECORD: Structure = Structure { name: "end of central directory record", fields: end };

/// The little-endian number of at most 8 bytes at `at`; what is cut off is 0.
pub(crate) fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let part = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
    part.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// As [`number`], for a number of two bytes.
pub(crate) fn short(bytes: &[u8], at: usize) -> u16 {
    u16::try_from(number(bytes, at, 2)).expect("two bytes")
}

/// Extra fields with their identifiers, and where their data begins.
pub(crate) fn extras(bytes: &[u8]) -> impl Iterator<Item = (u16, usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = usize::from(short(bytes.get(at..)?.get(..4)?, 2));
        let start = at + 4;
        let data = bytes.get(start..start + len)?;
        let id = short(bytes, at);
        at = start + len;
        Some((id, start, data))
    })
}

/// Fields at fixed places.
fn cut(bytes: &[u8], places: &[(usize, usize, &'static str)]) -> Vec<Field> {
    let one = |(at, len, name): &(usize, usize, &'static str)| {
        let mut field = show(bytes, *at, *len, name);
        field.role = match *name {
            "CRC-32" => Role::Checksum,
            "compressed size"
            | "uncompressed size"
            | "file name length"
            | "extra field length"
            | "file comment length"
            | "relative offset of local header"
            | "size of the record"
            | "entries on this disk"
            | "entries"
            | "size of the central directory"
            | "offset of the central directory"
            | "offset of the end record"
            | "comment length" => Role::Place,
            _ => Role::Value,
        };
        if wide(*len) == field.len {
            let value = number(bytes, *at, *len);
            match *name {
                "signature" => {}
                "CRC-32" | "general purpose bit flag" | "external file attributes" => {
                    field.value = format!("{value:#x}");
                }
                "last modified" => field.value = dos_time(value),
                "compression method" => field.value = method(value),
                "mode" => field.value = format!("{value:#o}"),
                _ => field.value = value.to_string(),
            }
        }
        field
    };
    // What another structure overlaps is cut off.
    places.iter().map(one).filter(|field| field.len > 0).collect()
}

fn method(value: u64) -> String {
    let name = match value {
        0 => "stored",
        8 => "deflated",
        9 => "Deflate64",
        12 => "bzip2",
        14 => "LZMA",
        93 => "Zstandard",
        95 => "xz",
        99 => "AE-x encryption",
        _ => return value.to_string(),
    };
    format!("{name} ({value})")
}

/// A time and a date of MS-DOS (APPNOTE 4.4.6), which are in a time zone that nobody knows.
fn dos_time(value: u64) -> String {
    let bits = |from: u32, count: u32| value >> from & ((1 << count) - 1);
    let small = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
    let [second, minute, hour] = [2 * bits(0, 5), bits(5, 6), bits(11, 5)];
    let [day, month, year] = [bits(16, 5), bits(21, 4), 1980 + bits(25, 7)];
    if second > 59 || minute > 59 || hour > 23 || !(1..=12).contains(&month) || day == 0 {
        return format!("{value:#010x}");
    }
    let date = Civil {
        year: u16::try_from(year).unwrap_or(u16::MAX),
        month: small(month),
        day: small(day),
        hour: small(hour),
        minute: small(minute),
        second: small(second),
    };
    format!("{date} if in UTC ({value:#010x})")
}

/// A field of any length, of text.
fn text(all: &mut Vec<Field>, bytes: &[u8], at: usize, len: usize, name: &'static str) {
    let field = show(bytes, at, len, name);
    if field.len > 0 {
        all.push(field);
    }
}

/// The extra fields of `len` bytes from `at` on.
fn extra_fields(all: &mut Vec<Field>, bytes: &[u8], at: usize, len: usize) {
    let part = bytes.get(at..).map_or(&[][..], |rest| &rest[..rest.len().min(len)]);
    let mut end = 0;
    for (id, start, data) in extras(part) {
        let name = match id {
            ZIP64 => "extra field 0x0001 (zip64)",
            0x000a => "extra field 0x000a (NTFS)",
            0x5455 => "extra field 0x5455 (extended timestamp)",
            0x5855 | 0x7855 => "extra field (Info-ZIP Unix)",
            0x7875 => "extra field 0x7875 (owner)",
            0xcafe => "extra field 0xcafe (JAR)",
            _ => "",
        };
        let mut field = show(part, start, data.len(), name);
        if name.is_empty() {
            field.name = format!("extra field {id:#06x}").into();
        }
        if id == 0x5455 {
            field.value = timestamps(data);
        }
        if id == ZIP64 {
            field.role = Role::Place;
        }
        (field.at, field.len) = (wide(at + start - 4), wide(data.len() + 4));
        all.push(field);
        end = start + data.len();
    }
    text(all, bytes, at + end, part.len() - end, "padding of the extra field");
}

/// Flags, and then seconds since 1970 (Info-ZIP's `proginfo/extrafld.txt`).
fn timestamps(data: &[u8]) -> String {
    let hex = show_bytes(data);
    let Some((_, times)) = data.split_first() else { return hex };
    let dates: Vec<String> = times
        .chunks_exact(4)
        .map(|time| civil(u32::try_from(number(time, 0, 4)).expect("four bytes")).to_string())
        .collect();
    format!("{} ({hex})", dates.join(", "))
}

fn local(bytes: &[u8]) -> Vec<Field> {
    let mut all = cut(
        bytes,
        &[
            (0, 4, "signature"),
            (4, 2, "version needed to extract"),
            (6, 2, "general purpose bit flag"),
            (8, 2, "compression method"),
            (10, 4, "last modified"),
            (14, 4, "CRC-32"),
            (18, 4, "compressed size"),
            (22, 4, "uncompressed size"),
            (26, 2, "file name length"),
            (28, 2, "extra field length"),
        ],
    );
    let (name, extra) = (usize::from(short(bytes, 26)), usize::from(short(bytes, 28)));
    text(&mut all, bytes, 30, name, "file name");
    extra_fields(&mut all, bytes, 30 + name, extra);
    all
}

fn central(bytes: &[u8]) -> Vec<Field> {
    let mut all = cut(
        bytes,
        &[
            (0, 4, "signature"),
            (4, 1, "version made by"),
            (5, 1, "host system"),
            (6, 2, "version needed to extract"),
            (8, 2, "general purpose bit flag"),
            (10, 2, "compression method"),
            (12, 4, "last modified"),
            (16, 4, "CRC-32"),
            (20, 4, "compressed size"),
            (24, 4, "uncompressed size"),
            (28, 2, "file name length"),
            (30, 2, "extra field length"),
            (32, 2, "file comment length"),
            (34, 2, "disk number start"),
            (36, 2, "internal file attributes"),
        ],
    );
    // On Unix, the upper half is what stat(2) has as st_mode.
    all.extend(match bytes.get(5) {
        Some(3) => cut(bytes, &[(38, 2, "external file attributes"), (40, 2, "mode")]),
        _ => cut(bytes, &[(38, 4, "external file attributes")]),
    });
    all.extend(cut(bytes, &[(42, 4, "relative offset of local header")]));
    let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(short(bytes, at)));
    text(&mut all, bytes, 46, name, "file name");
    extra_fields(&mut all, bytes, 46 + name, extra);
    text(&mut all, bytes, 46 + name + extra, comment, "file comment");
    all
}

fn descriptor(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    // With or without a signature, and with lengths of 4 or 8 bytes: no two of these are as long.
    let start = if matches!(bytes.len(), 16 | 24) { 4 } else { 0 };
    if start > 0 {
        all.extend(cut(bytes, &[(0, 4, "signature")]));
    }
    let width = if bytes.len() >= 20 { 8 } else { 4 };
    all.extend(cut(
        bytes,
        &[
            (start, 4, "CRC-32"),
            (start + 4, width, "compressed size"),
            (start + 4 + width, width, "uncompressed size"),
        ],
    ));
    all
}

fn end_64(bytes: &[u8]) -> Vec<Field> {
    let mut all = cut(
        bytes,
        &[
            (0, 4, "signature"),
            (4, 8, "size of the record"),
            (12, 2, "version made by"),
            (14, 2, "version needed to extract"),
            (16, 4, "number of this disk"),
            (20, 4, "disk of the central directory"),
            (24, 8, "entries on this disk"),
            (32, 8, "entries"),
            (40, 8, "size of the central directory"),
            (48, 8, "offset of the central directory"),
        ],
    );
    text(&mut all, bytes, 56, bytes.len().saturating_sub(56), "extensible data sector");
    all
}

fn locator(bytes: &[u8]) -> Vec<Field> {
    cut(
        bytes,
        &[
            (0, 4, "signature"),
            (4, 4, "disk of the end record"),
            (8, 8, "offset of the end record"),
            (16, 4, "number of disks"),
        ],
    )
}

fn end(bytes: &[u8]) -> Vec<Field> {
    let mut all = cut(
        bytes,
        &[
            (0, 4, "signature"),
            (4, 2, "number of this disk"),
            (6, 2, "disk of the central directory"),
            (8, 2, "entries on this disk"),
            (10, 2, "entries"),
            (12, 4, "size of the central directory"),
            (16, 4, "offset of the central directory"),
            (20, 2, "comment length"),
        ],
    );
    text(&mut all, bytes, 22, usize::from(short(bytes, 20)), "comment");
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_ms_dos_are_dates_or_numbers() {
        assert_eq!(dos_time(0x5d01_0000), "2026-08-01T00:00:00Z if in UTC (0x5d010000)");
        assert_eq!(dos_time(0x0021_bf7d), "1980-01-01T23:59:58Z if in UTC (0x0021bf7d)");
        for wrong in [0, 0x0001_0000, 0x0020_0000, 0x5d01_f800, 0x5d01_0780, 0x5d01_001e, 0x5da1_0000] {
            assert_eq!(dos_time(wrong), format!("{wrong:#010x}"));
        }
    }
}
