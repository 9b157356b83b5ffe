//! Which byte of an archive, or of several behind each other, is whose.

use super::read::{Entry, Reader};
use super::{CpioError, HEADER, TRAILER};
use crate::extent::{Container, Field, Owner, Parsed, Role, Source, Structure, Unreadable};
use crate::io::{ReadAt, wide};

const FORMAT: &str = "cpio";

static HEAD: Structure = Structure { name: "cpio header", fields: header };
static NAME: Structure = Structure::plain("cpio name");
static DATA: Structure = Structure::plain("data");
static PADDING: Structure = Structure::plain("padding");
static TRAILER_ENTRY: Structure = Structure { name: "cpio trailer", fields: header };
static SEGMENT: Structure = Structure::plain("segment behind the archive");

/// The structure of a file that starts with an archive. What lies behind the last one is a file of its own: an initramfs
/// has its compressed part there.
///
/// # Errors
/// If the first entry cannot be read.
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let found = Container::new(FORMAT, source)?;
    let size = found.size();
    let mut walk = Walk { reader: Reader::new(source, size), found };
    let (mut at, mut number) = (0, 1);
    while at < size && walk.starts(source, at) {
        match walk.archive(at, number) {
            (0, Err(error)) => return Err(Unreadable::new(FORMAT, &error)),
            (end, Err(error)) => {
                walk.found.note(&error);
                at = end;
                break;
            }
            (end, Ok(())) => {
                // Padding behind the last name may be missing.
                let end = end.min(size);
                let next = crate::io::skip_zeros(source, end);
                at = next.map_err(|error| Unreadable::new(FORMAT, &error))?.unwrap_or(size);
                walk.found.claim_own(end, at - end, &PADDING);
                number += 1;
            }
        }
    }
    if at < size {
        walk.found.part("segment behind the archive", at, size - at, &SEGMENT);
    }
    Ok(walk.found.finish())
}

struct Walk<'a> {
    reader: Reader<'a, Source>,
    found: Container,
}

impl Walk<'_> {
    /// Whether an archive starts at `at`.
    fn starts(&self, source: &Source, at: u64) -> bool {
        let mut magic = [0; 6];
        at.is_multiple_of(4) && source.read_exact_at(&mut magic, at).is_ok() && magic.starts_with(b"0707")
    }

    /// Claims the entries of the archive that starts at `at`; where it ends, or where it cannot be read any more.
    fn archive(&mut self, mut at: u64, number: u32) -> (u64, Result<(), CpioError>) {
        loop {
            let entry = match self.reader.entry(at) {
                Ok(entry) => entry,
                Err(error) => return (at, Err(error)),
            };
            let last = entry.name == TRAILER;
            at = entry.next;
            self.entry(&entry, number);
            if last {
                return (at, Ok(()));
            }
        }
    }

    fn entry(&mut self, entry: &Entry, number: u32) {
        let path = match number {
            1 => entry.name.clone(),
            _ => [format!("archive {number}: ").as_bytes(), &entry.name].concat(),
        };
        let last = entry.name == TRAILER;
        let owner = if last { Owner::WHOLE } else { self.found.owner(&path) };
        self.found.claim(entry.at, HEADER, if last { &TRAILER_ENTRY } else { &HEAD }, owner);
        self.found.claim(entry.at + HEADER, wide(entry.name.len()) + 1, &NAME, owner);
        if entry.data.size > 0 {
            let file = self.found.file(owner);
            self.found.data(file, entry.data.at, entry.data.size, &DATA);
        }
        self.found.claim(entry.at, entry.next - entry.at, &PADDING, owner);
    }
}

/// The fields of a header: eight hexadecimal digits each.
fn header(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![crate::extent::show(bytes, 0, 6, "magic")];
    let names = super::header::FIELDS.into_iter();
    for (index, (name, digits)) in names.zip(bytes.get(6..).unwrap_or_default().chunks_exact(8)).enumerate() {
        let text = String::from_utf8_lossy(digits).into_owned();
        let value = match (u32::from_str_radix(&text, 16), name) {
            (Ok(mode), "mode") => format!("{mode:#o}"),
            (Ok(seconds), "mtime") => format!("{} ({seconds})", crate::epoch::civil(seconds)),
            // Digits may be of either case.
            (Ok(number), _) if text == format!("{number:08X}") => number.to_string(),
            _ => crate::raw::show_bytes(digits),
        };
        let role = if matches!(name, "ino" | "filesize") { Role::Place } else { Role::Value };
        all.push(Field { at: wide(6 + 8 * index), len: 8, name: name.into(), value, role });
    }
    all
}
