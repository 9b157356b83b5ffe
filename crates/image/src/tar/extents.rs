//! Which byte of an archive is whose.

use std::sync::Arc;

use super::sparse::{self, Sparse};
use super::{BLOCK, Corruption, Dialect, Entry, Kind, Reader, TarError, number, pax};
use crate::extent::{Container, Field, Owner, Parsed, Role, Source, Structure, Unreadable, prefixed, show};
use crate::io::{Cursor, wide};

const FORMAT: &str = "tar";

static HEAD: Structure = Structure { name: "tar header", fields: header };
static EXTENSION: Structure = Structure { name: "extension header", fields: extensions };
static MAP: Structure = Structure::plain("sparse map");
static DATA: Structure = Structure::plain("data");
static PADDING: Structure = Structure::plain("padding");
static END: Structure = Structure::plain("end of archive");

/// The structure of an archive.
///
/// # Errors
/// If its first entry cannot be read.
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let mut archive = Container::new(FORMAT, source)?;
    let (size, mut at) = (archive.size(), 0);
    let mut reader = Reader::new(Cursor::new(Arc::clone(source), 0), Dialect::Stored);
    // Pieces of sparse files that are still looked at.
    let mut room = sparse::MOST_PIECES;
    loop {
        match reader.next() {
            Ok(Some(entry)) => {
                let owner = archive.owner(if entry.path.is_empty() { b"." } else { &entry.path });
                archive.claim(at, entry.at - at, &EXTENSION, owner);
                archive.claim(entry.at, BLOCK, &HEAD, owner);
                let start = reader.position();
                archive.claim(entry.at + BLOCK, start - (entry.at + BLOCK), &MAP, owner);
                at = start;
                if let Kind::File { size } = entry.kind {
                    let Entry { sparse, at: header, .. } = entry;
                    match sparse {
                        Some(sparse) => {
                            let body = Body { owner, header, start, size };
                            body.claim(&mut archive, source, sparse, &mut room);
                        }
                        None if size > 0 => {
                            let file = archive.file(owner);
                            archive.data(file, start, size, &DATA);
                        }
                        None => {}
                    }
                    at = start.saturating_add(size.next_multiple_of(BLOCK)).min(archive.size());
                    archive.claim(start + size, at - start.saturating_add(size).min(at), &PADDING, owner);
                }
            }
            Ok(None) => {
                archive.claim_own(at, size - at, &END);
                break;
            }
            Err(error) if at == 0 => return Err(Unreadable::new(FORMAT, &error)),
            Err(error) => {
                archive.note(&error);
                break;
            }
        }
    }
    Ok(archive.finish())
}

/// What is stored of a sparse file.
struct Body {
    owner: Owner,
    /// Offset of its header.
    header: u64,
    start: u64,
    size: u64,
}

impl Body {
    fn claim(&self, archive: &mut Container, source: &Source, sparse: Sparse, room: &mut usize) {
        let (owner, size) = (self.owner, sparse.size);
        let file = archive.file(owner);
        let layout = sparse::layout(source, sparse, (self.start, self.size));
        let enough = |(_, pieces): &(u64, Vec<(u64, u64)>)| pieces.len() <= *room;
        let Some((map, pieces)) = layout.filter(enough) else {
            archive.note(&TarError::Corrupt { at: self.header, kind: Corruption::Sparse });
            archive.data(file, self.start, self.size, &DATA);
            return;
        };
        *room -= pieces.len();
        archive.claim(self.start, map, &MAP, owner);
        let (mut at, mut done) = (self.start + map, 0);
        for (offset, len) in pieces {
            archive.hole(file, offset - done);
            if len > 0 {
                archive.data(file, at, len, &DATA);
            }
            (at, done) = (at + len, offset + len);
        }
        archive.hole(file, size - done);
    }
}

/// The fields of extension headers, which lie one behind the other: what each record of PAX says, and long names of GNU.
fn extensions(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + HEADER) {
        all.extend(header(head).into_iter().map(|field| moved(prefixed(field, "header"), at)));
        let size = number::parse(&head[124..136]).and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        let start = at + HEADER;
        let Some(body) = start.checked_add(size).and_then(|end| bytes.get(start..end)) else { break };
        match head[156] {
            b'x' | b'g' => all.extend(records(body).into_iter().map(|field| moved(field, start))),
            b'L' => all.push(moved(show(body, 0, size, "long name"), start)),
            b'K' => all.push(moved(show(body, 0, size, "long link"), start)),
            _ => {}
        }
        at = start + size.next_multiple_of(HEADER);
    }
    all
}

/// Length of a header block.
const HEADER: usize = 512;

fn moved(mut field: Field, by: usize) -> Field {
    field.at += wide(by);
    field
}

/// What each record of a PAX header says, by its key.
fn records(body: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    let mut rest = body;
    while let Some((record, next)) = pax::split_record(rest) {
        let equals = record.iter().position(|byte| *byte == b'=').unwrap_or(record.len());
        let key = String::from_utf8_lossy(&record[..equals]).into_owned();
        // These say where bytes lie.
        let place = key == "size" || key.starts_with("GNU.sparse.") && key != "GNU.sparse.name";
        all.push(Field {
            at: wide(body.len() - rest.len()),
            len: wide(rest.len() - next.len()),
            name: key.into(),
            value: crate::raw::show_bytes(record.get(equals + 1..).unwrap_or_default()),
            role: if place { Role::Place } else { Role::Value },
        });
        rest = next;
    }
    all
}

/// The fields of a header block (POSIX.1-2001, ustar).
fn header(bytes: &[u8]) -> Vec<Field> {
    let places = [
        (0, 100, "name"),
        (100, 8, "mode"),
        (108, 8, "uid"),
        (116, 8, "gid"),
        (124, 12, "size"),
        (136, 12, "mtime"),
        (148, 8, "checksum"),
        (156, 1, "type"),
        (157, 100, "link"),
        (257, 8, "magic"),
        (265, 32, "user"),
        (297, 32, "group"),
        (329, 8, "device, major"),
        (337, 8, "device, minor"),
        (345, 155, "prefix"),
        (500, 12, "rest"),
    ];
    let mut all: Vec<Field> = places.map(|(at, len, name)| show(bytes, at, len, name)).into();
    for ((at, len, name), field) in places.into_iter().zip(&mut all) {
        let Some(raw) = bytes.get(at..at + len) else { continue };
        let end = raw.iter().position(|byte| *byte == 0).unwrap_or(raw.len());
        // Only what ends in zeros can be shown without them.
        if end > 0 && raw[end..].iter().all(|byte| *byte == 0) {
            field.value = crate::raw::show_bytes(&raw[..end]);
        }
        match name {
            "checksum" => field.role = Role::Checksum,
            "size" => field.role = Role::Place,
            "mtime" => {
                let seconds = super::number::parse(raw).and_then(|value| u32::try_from(value).ok());
                if let Some(seconds) = seconds {
                    field.value = format!("{} ({})", crate::epoch::civil(seconds), field.value);
                }
            }
            _ => {}
        }
    }
    all
}
