//! An archive as text, field by field.

use std::fmt::Write;

use super::header::Header;
use super::read::Reader;
use super::{CpioError, TRAILER};
use crate::io::{ReadAt, ReadError};
use crate::tree::text;

/// Every header field of the archive that starts at byte `start`, with the offset of each entry.
///
/// Numbers are hexadecimal as in the file, but the mode is octal. Names and targets are escaped as in tree texts. The
/// text is about four times as long as the headers.
pub fn dump(source: &impl ReadAt, start: u64) -> Result<String, CpioError> {
    let size = source.size().map_err(|source| ReadError::Io { at: start, len: 0, source })?;
    let reader = Reader::new(source, size);
    let mut out = String::new();
    let mut at = start;
    loop {
        let entry = reader.entry(at)?;
        let _ = write!(out, "{at:08x} {}", text::escaped(&entry.name));
        for (field, number) in entry.header.fields() {
            let _ = match field {
                "mode" => write!(out, " {field}={number:o}"),
                _ => write!(out, " {field}={number:x}"),
            };
        }
        let Header { mode, .. } = entry.header;
        if mode & !0o7777 == 0o120_000 {
            let target = reader.target(entry.at, &entry.header, entry.data)?;
            let _ = write!(out, " target={}", text::escaped(&target));
        }
        let _ = writeln!(out, " data={:x}", entry.data.at);
        if entry.name == TRAILER {
            let _ = writeln!(out, "{:08x} end", entry.next.min(size));
            return Ok(out);
        }
        at = entry.next;
    }
}
