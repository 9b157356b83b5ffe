//! The end records and the central directory: what an archive says of its entries.

use super::layout::{CENTRAL, END, END_64, LOCAL, LOCATOR, extras, number, short};
use super::{Corruption, ZipError};
use crate::io::{ReadAt, wide};

/// End records that are tried: a comment may hold what looks like one.
const MOST_ENDS: usize = 16;

/// Where the structures at the end lie. All of it is inside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// First byte of the central directory, and of what follows it.
    pub(super) start: u64,
    pub(super) end: u64,
    /// The zip64 end record: its first byte and length.
    pub(super) record_64: Option<(u64, u64)>,
    /// The end record: its first byte, and its length with the comment.
    pub(super) record: (u64, u64),
    /// What has to be added to offsets, modulo 2^64: archives may lie behind or in something else.
    pub(super) base: u64,
}

/// What the central directory says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    /// Length of the entry in the central directory.
    pub(super) len: u64,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) packed: u64,
    pub(super) plain: u64,
    /// Where its local header is said to be.
    pub(super) local: u64,
}

impl Directory {
    /// Finds the end record that comes last and leads to a central directory.
    pub(super) fn find(source: &dyn ReadAt, size: u64) -> Result<Self, ZipError> {
        let from = size.saturating_sub(END + u64::from(u16::MAX));
        let mut tail = vec![0; usize::try_from(size - from).expect("less than 66 KiB")];
        read(source, from, &mut tail)?;
        let places = (0..tail.len()).rev().filter(|at| tail[*at..].starts_with(b"PK\x05\x06"));
        for at in places.take(MOST_ENDS) {
            let record = &tail[at..];
            let len = END + u64::from(short(record, 20));
            if len > wide(record.len()) {
                continue;
            }
            if let Some(found) = Self::at(source, (from + wide(at), len), record) {
                return Ok(found);
            }
        }
        Err(ZipError::Corrupt { at: from, kind: Corruption::NoEnd })
    }

    /// What an end record leads to.
    fn at(source: &dyn ReadAt, record: (u64, u64), bytes: &[u8]) -> Option<Self> {
        let (mut len, mut offset) = (number(bytes, 12, 4), number(bytes, 16, 4));
        let record_64 = record_64(source, record.0);
        if let Some((_, bytes)) = &record_64 {
            // Only what does not fit is in the larger record (APPNOTE 4.4.1.4).
            len = if len == u64::from(u32::MAX) { number(bytes, 40, 8) } else { len };
            offset = if offset == u64::from(u32::MAX) { number(bytes, 48, 8) } else { offset };
        }
        let record_64 = record_64.map(|(place, _)| place);
        let behind = record_64.map_or(record.0, |(at, _)| at);
        // Directly in front of the records, whatever lies in front of the archive; or where it is said to be.
        let start = [behind.checked_sub(len), Some(offset)].into_iter().flatten().find(|start| {
            let empty = len == 0 && *start == behind;
            let fits = start.checked_add(len).is_some_and(|end| end <= behind);
            empty || fits && len >= CENTRAL && has(source, *start, b"PK\x01\x02")
        })?;
        let base = start.wrapping_sub(offset);
        Some(Self { start, end: start + len, record_64, record, base })
    }

    /// The entry at `at`; nothing behind the last one.
    pub(super) fn entry(&self, source: &dyn ReadAt, at: u64) -> Result<Option<Entry>, ZipError> {
        if at >= self.end {
            return Ok(None);
        }
        let mut head = [0; 46];
        read(source, at, &mut head)?;
        let found = *head.first_chunk().expect("it has 46 bytes");
        // A digital signature may follow the entries (APPNOTE 4.3.13).
        if found == *b"PK\x05\x05" {
            return Ok(None);
        }
        if found != *b"PK\x01\x02" {
            let kind = Corruption::Signature { what: "a central directory entry", found };
            return Err(ZipError::Corrupt { at, kind });
        }
        let [name_len, extra_len, comment_len] = [28, 30, 32].map(|at| u64::from(short(&head, at)));
        let len = CENTRAL + name_len + extra_len + comment_len;
        if len > self.end - at {
            let kind = Corruption::Behind { len, size: self.end };
            return Err(ZipError::Corrupt { at, kind });
        }
        let mut rest = vec![0; usize::try_from(name_len + extra_len).expect("less than 128 KiB")];
        read(source, at + CENTRAL, &mut rest)?;
        let extra = rest.split_off(usize::try_from(name_len).expect("two bytes"));
        let [packed, plain, local] = sizes(&head, &extra);
        Ok(Some(Entry {
            name: rest,
            len,
            flags: short(&head, 8),
            method: short(&head, 10),
            packed,
            plain,
            local: self.base.wrapping_add(local),
        }))
    }
}

/// Compressed size, uncompressed size and offset: those of 64 bits if they are not in the entry itself.
fn sizes(head: &[u8], extra: &[u8]) -> [u64; 3] {
    let mut wide = extras(extra).find(|(id, ..)| *id == 1).map_or(&[][..], |(_, _, data)| data);
    // In the extra field the uncompressed size comes first.
    let [plain, packed, local] = [24, 20, 42].map(|at| match number(head, at, 4) {
        value if value == u64::from(u32::MAX) && wide.len() >= 8 => {
            let value = number(wide, 0, 8);
            wide = &wide[8..];
            value
        }
        value => value,
    });
    [packed, plain, local]
}

/// The zip64 end record whose locator is in front of the end record: its place, and its bytes.
fn record_64(source: &dyn ReadAt, end: u64) -> Option<((u64, u64), [u8; 56])> {
    let locator_at = end.checked_sub(LOCATOR)?;
    let mut locator = [0; 20];
    source.read_exact_at(&mut locator, locator_at).ok()?;
    if !locator.starts_with(b"PK\x06\x07") {
        return None;
    }
    // What lies in front of the archive moves it; then it is directly in front of its locator.
    let places = [Some(number(&locator, 8, 8)), locator_at.checked_sub(END_64)];
    places.into_iter().flatten().find_map(|at| {
        let fits = at.checked_add(END_64).is_some_and(|end| end <= locator_at);
        let mut bytes = [0; 56];
        if !fits || source.read_exact_at(&mut bytes, at).is_err() || !bytes.starts_with(b"PK\x06\x06") {
            return None;
        }
        let len = number(&bytes, 4, 8).saturating_add(12).clamp(END_64, locator_at - at);
        Some(((at, len), bytes))
    })
}

/// Length of a local header with its name and extra field.
pub(super) fn local_len(source: &dyn ReadAt, at: u64) -> Result<u64, ZipError> {
    let mut head = [0; 30];
    read(source, at, &mut head)?;
    let found = *head.first_chunk().expect("it has 30 bytes");
    if found != *b"PK\x03\x04" {
        let kind = Corruption::Signature { what: "a local file header", found };
        return Err(ZipError::Corrupt { at, kind });
    }
    Ok(LOCAL + u64::from(short(&head, 26)) + u64::from(short(&head, 28)))
}

/// Length of the data descriptor at `at` if it has the lengths of an entry; 0 if none does.
pub(super) fn descriptor_len(source: &dyn ReadAt, at: u64, entry: &Entry) -> u64 {
    let mut bytes = [0; 24];
    for (signature, width) in [(4, 4), (4, 8), (0, 4), (0, 8)] {
        let len = signature + 4 + 2 * width;
        let part = &mut bytes[..len];
        if source.read_exact_at(part, at).is_err() || (signature > 0 && !part.starts_with(b"PK\x07\x08")) {
            continue;
        }
        let [packed, plain] = [0, 1].map(|index| number(part, signature + 4 + index * width, width));
        if (packed, plain) == (entry.packed, entry.plain) {
            return wide(len);
        }
    }
    0
}

fn has(source: &dyn ReadAt, at: u64, magic: &[u8; 4]) -> bool {
    let mut found = [0; 4];
    source.read_exact_at(&mut found, at).is_ok() && found == *magic
}

fn read(source: &dyn ReadAt, at: u64, buf: &mut [u8]) -> Result<(), ZipError> {
    let len = wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source| ZipError::Io { at, len, source })
}
