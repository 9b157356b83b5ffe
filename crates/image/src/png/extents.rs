//! Which byte of an image is whose.

use super::{Corruption, PngError};
use crate::epoch::Civil;
use crate::extent::{Container, Field, Owner, Parsed, Role, Source, Structure, Unreadable, show};
use crate::io::{ReadAt, wide};

const FORMAT: &str = "png";
const SIGNATURE_LEN: u64 = 8;
/// Chunks that are looked at.
const MOST_CHUNKS: u32 = 1 << 20;
/// Longest keyword, with the zero behind it (11.3.3.1).
const KEYWORD: usize = 80;

static SIGNATURE: Structure = Structure::plain("signature");
static HEAD: Structure = Structure { name: "chunk header", fields: head };
static IMAGE_HEADER: Structure = Structure { name: "image header", fields: image_header };
static TIME: Structure = Structure { name: "time of last change", fields: time };
static KEY: Structure = Structure::plain("keyword");
static TEXT: Structure = Structure::plain("text");
static DATA: Structure = Structure::plain("chunk data");
static CHECKSUM: Structure = Structure { name: "chunk checksum", fields: checksum };
static BEHIND: Structure = Structure::plain("data behind the end");

/// The structure of an image. Each chunk is owned by its type, and those of text by type and keyword.
///
/// # Errors
/// If it cannot be read at all. Everything that is wrong with chunks is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let mut found = Container::new(FORMAT, source)?;
    let size = found.size();
    found.claim_own(0, SIGNATURE_LEN, &SIGNATURE);
    let mut at = SIGNATURE_LEN;
    for _ in 0..MOST_CHUNKS {
        match chunk(source, &mut found, at) {
            Ok((end, kind)) => {
                at = end;
                if kind == *b"IEND" {
                    break;
                }
            }
            Err(error) => {
                found.note(&error);
                break;
            }
        }
    }
    if at < size {
        found.part(BEHIND.name, at, size - at, &BEHIND);
    }
    Ok(found.finish())
}

/// Claims the chunk at `at`: where it ends, and its type.
fn chunk(source: &Source, found: &mut Container, at: u64) -> Result<(u64, [u8; 4]), PngError> {
    let size = found.size();
    if at >= size {
        return Err(PngError::Corrupt { at, kind: Corruption::NoEnd });
    }
    let mut head = [0; 8];
    if size - at < 12 {
        return Err(PngError::Corrupt { at, kind: Corruption::Behind { len: 0, size } });
    }
    let read = |buf: &mut [u8], at: u64| {
        let len = wide(buf.len());
        source.read_exact_at(buf, at).map_err(|source| PngError::Io { at, len, source })
    };
    read(&mut head, at)?;
    let [a, b, c, d, kind @ ..] = head;
    let len = u64::from(u32::from_be_bytes([a, b, c, d]));
    if !kind.iter().all(u8::is_ascii_alphabetic) {
        return Err(PngError::Corrupt { at, kind: Corruption::Type(kind) });
    }
    let (data, end) = (at + 8, at + 12 + len);
    if end > size {
        return Err(PngError::Corrupt { at, kind: Corruption::Behind { len, size } });
    }
    let mut start = vec![0; usize::try_from(len).unwrap_or(KEYWORD).min(KEYWORD)];
    let keyed = matches!(&kind, b"tEXt" | b"zTXt" | b"iTXt");
    let keyword = if keyed {
        read(&mut start, data)?;
        start.iter().position(|byte| *byte == 0)
    } else {
        None
    };
    let owner = match keyword {
        Some(end) => found.owner(&[&kind, &b" "[..], &start[..end]].concat()),
        None => found.owner(&kind),
    };
    found.claim(at, 8, &HEAD, owner);
    claim_data(found, owner, kind, (data, len), keyword.map_or(0, |end| wide(end) + 1));
    found.claim(data + len, 4, &CHECKSUM, owner);
    Ok((end, kind))
}

fn claim_data(found: &mut Container, owner: Owner, kind: [u8; 4], (data, len): (u64, u64), keyword: u64) {
    found.claim(data, keyword, &KEY, owner);
    let structure = match &kind {
        b"tEXt" if keyword > 0 && keyword < len => {
            let file = found.file(owner);
            return found.data(file, data + keyword, len - keyword, &TEXT);
        }
        b"IHDR" => &IMAGE_HEADER,
        b"tIME" => &TIME,
        _ => &DATA,
    };
    found.claim(data + keyword, len - keyword, structure, owner);
}

fn head(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![show(bytes, 0, 4, "length"), show(bytes, 4, 4, "type")];
    all[0].role = Role::Place;
    all
}

fn image_header(bytes: &[u8]) -> Vec<Field> {
    let places = [
        (0, 4, "width"),
        (4, 4, "height"),
        (8, 1, "bit depth"),
        (9, 1, "colour type"),
        (10, 1, "compression"),
        (11, 1, "filter"),
        (12, 1, "interlace"),
    ];
    let mut all: Vec<Field> = places.map(|(at, len, name)| show(bytes, at, len, name)).into();
    for (field, raw) in all.iter_mut().zip(bytes.chunks_exact(4)).take(2) {
        field.value = raw.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)).to_string();
    }
    all
}

fn time(bytes: &[u8]) -> Vec<Field> {
    let mut field = show(bytes, 0, 7, "time");
    if let [high, low, month, day, hour, minute, second] = *bytes {
        let year = u16::from_be_bytes([high, low]);
        field.value = Civil { year, month, day, hour, minute, second }.to_string();
    }
    vec![field]
}

fn checksum(bytes: &[u8]) -> Vec<Field> {
    let mut field = show(bytes, 0, 4, "CRC-32");
    field.role = Role::Checksum;
    vec![field]
}
