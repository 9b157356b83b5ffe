//! An archive as text, field by field.

use std::fmt::Write;
use std::io::Read;

use super::{Dialect, Kind, Reader, TarError, pax};
use crate::tree::text::escaped;

/// The fields of a header block with their lengths; together they are the 512 bytes.
const FIELDS: [(&str, usize); 17] = [
    ("name", 100),
    ("mode", 8),
    ("uid", 8),
    ("gid", 8),
    ("size", 12),
    ("mtime", 12),
    ("chksum", 8),
    ("typeflag", 1),
    ("linkname", 100),
    ("magic", 6),
    ("version", 2),
    ("uname", 32),
    ("gname", 32),
    ("devmajor", 8),
    ("devminor", 8),
    ("prefix", 155),
    ("rest", 12),
];

/// Every header of the archive with its offset, every record of extension headers, and where data lies.
///
/// Fields are the bytes as they are, escaped as in tree texts, without NULs at their ends; empty ones are left out.
pub fn dump(archive: impl Read, dialect: Dialect) -> Result<String, TarError> {
    let mut reader = Reader::new(archive, dialect);
    reader.trace = Some(String::new());
    loop {
        let entry = reader.next()?;
        let at = reader.position();
        let Some(out) = &mut reader.trace else { return Ok(String::new()) };
        match entry {
            Some(entry) => {
                if let Kind::File { size: size @ 1.. } = entry.kind {
                    let _ = writeln!(out, "{at:08x} data {size} bytes");
                }
            }
            None => return Ok(reader.trace.unwrap_or_default()),
        }
    }
}

pub(super) fn header(out: &mut String, block: &[u8; 512], at: u64) {
    let _ = write!(out, "{at:08x}");
    let mut rest = &block[..];
    for (name, length) in FIELDS {
        let (field, after) = rest.split_at(length);
        rest = after;
        let end = field.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if end > 0 {
            let _ = write!(out, " {name}={}", escaped(&field[..end]));
        }
    }
    out.push('\n');
}

pub(super) fn end(out: &mut String, at: u64) {
    let _ = writeln!(out, "{at:08x} end");
}

pub(super) fn long(out: &mut String, text: &[u8]) {
    let _ = writeln!(out, "         long {}", escaped(text.strip_suffix(b"\0").unwrap_or(text)));
}

pub(super) fn records(out: &mut String, mut body: &[u8]) {
    while let Some((record, rest)) = pax::split_record(body) {
        body = rest;
        let equals = record.iter().position(|byte| *byte == b'=').unwrap_or(record.len());
        let (key, value) = (&record[..equals], record.get(equals + 1..).unwrap_or_default());
        let _ = writeln!(out, "         pax {}={}", escaped(key), escaped(value));
    }
}
