//! Archives from before the new ASCII format, to be told only: with binary headers of either byte order, or octal digits.
//!
//! Source of the layout: cpio(5) of FreeBSD, "Old Binary Format" and "Portable ASCII Format".

use std::io;

use super::{Corruption, CpioError, MAX_NAME, TRAILER};
use crate::extent::{Container, Field, Owner, Parsed, Role, Source, Structure, Unreadable, show};
use crate::io::{ReadAt, ReadError, wide};

const FORMAT: &str = "oldcpio";

static HEAD: Structure = Structure { name: "cpio header", fields: header };
static NAME: Structure = Structure::plain("cpio name");
static DATA: Structure = Structure::plain("data");
static PADDING: Structure = Structure::plain("padding");
static TRAILER_ENTRY: Structure = Structure { name: "cpio trailer", fields: header };
static BEHIND: Structure = Structure::plain("data behind the archive");

/// How headers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Binary { big: bool },
    Octal,
}

/// Name, first byte and length of each field.
type Places = [(&'static str, usize, usize); 11];

const BINARY: Places = [
    ("magic", 0, 2),
    ("dev", 2, 2),
    ("ino", 4, 2),
    ("mode", 6, 2),
    ("uid", 8, 2),
    ("gid", 10, 2),
    ("nlink", 12, 2),
    ("rdev", 14, 2),
    ("mtime", 16, 4),
    ("namesize", 20, 2),
    ("filesize", 22, 4),
];
const OCTAL: Places = [
    ("magic", 0, 6),
    ("dev", 6, 6),
    ("ino", 12, 6),
    ("mode", 18, 6),
    ("uid", 24, 6),
    ("gid", 30, 6),
    ("nlink", 36, 6),
    ("rdev", 42, 6),
    ("mtime", 48, 11),
    ("namesize", 59, 6),
    ("filesize", 65, 11),
];

impl Form {
    fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0xc7, 0x71, ..] => Some(Self::Binary { big: false }),
            [0x71, 0xc7, ..] => Some(Self::Binary { big: true }),
            _ => start.starts_with(b"070707").then_some(Self::Octal),
        }
    }

    fn places(self) -> Places {
        if self == Self::Octal { OCTAL } else { BINARY }
    }

    /// Bytes of a header.
    fn len(self) -> usize {
        let (_, at, len) = self.places()[10];
        at + len
    }

    /// Names and data end at multiples of this.
    fn align(self) -> u64 {
        if self == Self::Octal { 1 } else { 2 }
    }

    /// The number in a field of this name.
    fn field(self, header: &[u8], name: &str) -> Option<u64> {
        let (_, at, len) = self.places().into_iter().find(|(one, ..)| *one == name)?;
        let raw = header.get(at..at + len)?;
        let Self::Binary { big } = self else {
            let digit = |byte: &u8| (b'0'..=b'7').contains(byte).then(|| u64::from(byte - b'0'));
            return raw.iter().try_fold(0, |value, byte| Some(value << 3 | digit(byte)?));
        };
        // Two bytes at a time; of four the upper ones come first.
        Some(raw.chunks_exact(2).fold(0, |value, pair| {
            let pair = [pair[0], pair[1]];
            value << 16 | u64::from(if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
        }))
    }
}

/// Whether a file begins with a binary header: its signature has two bytes only, so the mode and the name are looked at, too.
pub(crate) fn is_binary(image: &(impl ReadAt + ?Sized), size: u64) -> io::Result<bool> {
    let mut header = [0; 26];
    if size < wide(header.len()) {
        return Ok(false);
    }
    image.read_exact_at(&mut header, 0)?;
    let Some(form @ Form::Binary { .. }) = Form::of(&header) else { return Ok(false) };
    let of = |name| form.field(&header, name).unwrap_or(0);
    let (name, end) = (of("namesize"), wide(header.len()) + of("namesize"));
    if !matches!(of("mode") >> 12, 1 | 2 | 4 | 6 | 8 | 10 | 12) || name < 2 || end > size {
        return Ok(false);
    }
    let mut last = [0; 2];
    image.read_exact_at(&mut last, end - 2)?;
    Ok(last[0] != 0 && last[1] == 0)
}

struct Entry {
    name: Vec<u8>,
    header: u64,
    data: (u64, u64),
    next: u64,
}

/// The structure of an archive.
///
/// # Errors
/// If the first entry cannot be read.
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let mut found = Container::new(FORMAT, source)?;
    let (size, mut at) = (found.size(), 0);
    loop {
        let entry = match entry(source, at, size) {
            Ok(entry) => entry,
            Err(error) if at == 0 => return Err(Unreadable::new(FORMAT, &error)),
            Err(error) => {
                found.note(&error);
                break;
            }
        };
        let last = entry.name == TRAILER;
        let owner = if last { Owner::WHOLE } else { found.owner(&entry.name) };
        found.claim(at, entry.header, if last { &TRAILER_ENTRY } else { &HEAD }, owner);
        found.claim(at + entry.header, wide(entry.name.len()) + 1, &NAME, owner);
        if entry.data.1 > 0 {
            let file = found.file(owner);
            found.data(file, entry.data.0, entry.data.1, &DATA);
        }
        found.claim(at, entry.next - at, &PADDING, owner);
        at = entry.next;
        if last {
            break;
        }
    }
    let end = crate::io::skip_zeros(source, at).map_err(|error| Unreadable::new(FORMAT, &error))?;
    found.claim_own(at, end.unwrap_or(size).saturating_sub(at), &PADDING);
    found.claim_own(at, size.saturating_sub(at), &BEHIND);
    Ok(found.finish())
}

fn entry(source: &Source, at: u64, have: u64) -> Result<Entry, CpioError> {
    let corrupt = |kind| ReadError::Corrupt { at, kind };
    let read = |buf: &mut [u8], at: u64| {
        let len = wide(buf.len());
        let need = at.saturating_add(len);
        if need > have {
            return Err(corrupt(Corruption::Truncated { need, have }));
        }
        source.read_exact_at(buf, at).map_err(|source| ReadError::Io { at, len, source })
    };
    let mut magic = [0; 6];
    read(&mut magic, at)?;
    let form = Form::of(&magic).ok_or(corrupt(Corruption::Magic(magic)))?;
    let mut header = vec![0; form.len()];
    read(&mut header, at)?;
    let field = |name: &'static str| {
        form.field(&header, name).ok_or(corrupt(Corruption::Number { field: name, value: [b'?'; 8] }))
    };
    let (length, size) = (field("namesize")?, field("filesize")?);
    let bad = || corrupt(Corruption::Name(u32::try_from(length).unwrap_or(u32::MAX)));
    if !(2..=MAX_NAME + 1).contains(&length) {
        return Err(bad());
    }
    let mut name = vec![0; usize::try_from(length).expect("at most 4096")];
    let len = wide(header.len());
    read(&mut name, at + len)?;
    if name.pop() != Some(0) || name.contains(&0) {
        return Err(bad());
    }
    // Lengths have at most 33 bits.
    let data = at + (len + length).next_multiple_of(form.align());
    let end = data + size;
    if end > have {
        return Err(corrupt(Corruption::Truncated { need: end, have }));
    }
    Ok(Entry { name, header: len, data: (data, size), next: end.next_multiple_of(form.align()).min(have) })
}

fn header(bytes: &[u8]) -> Vec<Field> {
    let Some(form) = Form::of(bytes) else { return vec![show(bytes, 0, bytes.len(), "header")] };
    let one = |(name, at, len)| {
        let mut field = show(bytes, at, len, name);
        match (form.field(bytes, name), name) {
            (_, "magic") | (None, _) => {}
            (Some(mode), "mode") => field.value = format!("{mode:#o}"),
            (Some(number), "mtime") => {
                field.value = number.to_string();
                crate::extent::dated(&mut field);
            }
            (Some(number), _) => field.value = number.to_string(),
        }
        if matches!(name, "ino" | "filesize") {
            field.role = Role::Place;
        }
        field
    };
    form.places().into_iter().map(one).collect()
}
