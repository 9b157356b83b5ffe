//! Which byte of a compressed stream is whose.

use std::sync::Arc;

use super::Wrapping;
use super::coding::Coding;
use super::kept::Keeper;
use super::rewind::{Rewind, Stream};
use crate::extent::{
    Builder, Field, Label, Member, Members, Owner, Parsed, Piece, Role, Room, Source, Structure, Unreadable,
    show,
};
use crate::io::{ReadAt, skip_zeros, wide};

/// What a member of such a file is called.
const CONTENT: &str = "content";

static GZIP_HEADER: Structure = Structure { name: "gzip header", fields: gzip_header };
static GZIP_TRAILER: Structure = Structure { name: "gzip trailer", fields: gzip_trailer };
static DEFLATE: Structure = Structure::plain("deflate data");
static XZ_HEADER: Structure = Structure { name: "xz stream header", fields: xz_header };
static XZ: Structure = Structure::plain("xz blocks and index");
static XZ_FOOTER: Structure = Structure { name: "xz stream footer", fields: xz_footer };
static ZSTD_HEADER: Structure = Structure { name: "zstd frame header", fields: zstd_header };
static ZSTD: Structure = Structure::plain("zstd blocks");
static BZIP2_HEADER: Structure = Structure { name: "bzip2 header", fields: bzip2_header };
static BZIP2: Structure = Structure::plain("bzip2 blocks");
static LZ4_HEADER: Structure = Structure { name: "lz4 frame header", fields: lz4_header };
static LZ4: Structure = Structure::plain("lz4 blocks");
static LZ4_CHECKSUM: Structure = Structure { name: "lz4 content checksum", fields: lz4_checksum };
static LZMA_HEADER: Structure = Structure { name: "lzma header", fields: lzma_header };
static LZMA: Structure = Structure::plain("lzma data");
static PADDING: Structure = Structure::plain("padding behind the stream");
static BEHIND: Structure = Structure::plain("data behind the stream");

/// The structure of a gzip, xz, zstd, bzip2, lz4 or lzma file: of each stream in it what comes first and last, and what is between, which
/// holds the content.
///
/// # Errors
/// If the first stream cannot be decompressed, or holds more bytes than there is room for.
pub fn extents(source: &Source, room: &Room) -> Result<Parsed, Unreadable> {
    let size = source.size().map_err(|error| Unreadable::new("compressed stream", &error))?;
    let (mut builder, mut plain) = (Builder::new(size), Keeper::new(room.memory()));
    let (mut streams, mut held): (Vec<Stream>, u64) = (Vec::new(), 0);
    let (mut faults, mut format, mut at) = (Vec::new(), None, 0);
    while at < size {
        match stream(source, at, (room.plain - held, &mut plain), &mut builder) {
            Ok((name, found)) => {
                let end = found.end;
                format.get_or_insert(name);
                held += found.plain;
                streams.push(found);
                // Zeros may fill up a block (gzip(1), xz(1)).
                let next = skip_zeros(source, end).map_err(|error| Unreadable::new(name, &error))?;
                at = next.unwrap_or(size);
                builder.claim(end, at - end, &PADDING, Owner::WHOLE);
            }
            Err(fault) if format.is_none() => return Err(fault),
            Err(fault) => {
                builder.claim(at, size - at, &BEHIND, Owner::WHOLE);
                faults.push(fault);
                break;
            }
        }
    }
    let plain = Rewind::new(Arc::clone(source), streams, plain.finish(held));
    let members = Content { plain: Arc::new(plain) };
    let map = builder.finish(Arc::default());
    Ok(Parsed { format: format.unwrap_or("empty"), map, members: Box::new(members), faults, held })
}

/// Claims the stream that starts at `at`, and writes its at most `limit` plain bytes; its name, and where it is.
fn stream(
    source: &Source,
    at: u64,
    (limit, plain): (u64, &mut Keeper),
    builder: &mut Builder,
) -> Result<(&'static str, Stream), Unreadable> {
    let failed = |error: std::io::Error| Unreadable::new("compressed stream", &error);
    let left = source.size().map_err(failed)?.saturating_sub(at);
    let mut start = vec![0; usize::try_from(left.min(4096)).expect("at most 4096")];
    source.read_exact_at(&mut start, at).map_err(failed)?;
    let Some(coding) = Coding::detect(&start) else {
        let message = format!("no known stream starts at byte {at:#x}");
        return Err(Unreadable { format: "compressed stream", message });
    };
    let (format, data): (_, &'static Structure) = match coding {
        Coding::Wrapped(Wrapping::Xz) => ("xz", &XZ),
        Coding::Wrapped(Wrapping::Zstd) => ("zstd", &ZSTD),
        Coding::Bzip2 => ("bzip2", &BZIP2),
        Coding::Lz4 => ("lz4", &LZ4),
        Coding::Lzma => ("lzma", &LZMA),
        Coding::Wrapped(Wrapping::Gzip | Wrapping::None) | Coding::Deflate => ("gzip", &DEFLATE),
    };
    let before = plain.written;
    let end = coding.copy_one(source, at, limit, plain);
    let end = end.map_err(|error| Unreadable::new(format, &error))?;
    frame(coding, &start, (at, end), builder);
    builder.claim_encoded(at, end - at, data, Owner::WHOLE, &[0]);
    Ok((format, Stream { coding, start: at, end, plain: plain.written - before }))
}

/// Claims what is around the data of a stream that begins with `start` and lies from `at` to `end`.
fn frame(coding: Coding, start: &[u8], (at, end): (u64, u64), builder: &mut Builder) {
    let mut head = |len: usize, structure| builder.claim(at, wide(len), structure, Owner::WHOLE);
    let tail: Option<(u64, &'static Structure)> = match coding {
        Coding::Wrapped(Wrapping::Gzip) => {
            head(gzip_length(start), &GZIP_HEADER);
            Some((8, &GZIP_TRAILER))
        }
        Coding::Wrapped(Wrapping::Xz) => {
            head(12, &XZ_HEADER);
            Some((12, &XZ_FOOTER))
        }
        Coding::Wrapped(Wrapping::Zstd) => {
            head(zstd_length(start), &ZSTD_HEADER);
            None
        }
        Coding::Bzip2 => {
            // What is at the end is no whole number of bytes.
            head(4, &BZIP2_HEADER);
            None
        }
        Coding::Lz4 => {
            head(lz4_length(start), &LZ4_HEADER);
            let checked = start.get(4).is_some_and(|flags| flags & 4 != 0);
            checked.then_some((4, &LZ4_CHECKSUM))
        }
        Coding::Lzma => {
            head(13, &LZMA_HEADER);
            None
        }
        Coding::Wrapped(Wrapping::None) | Coding::Deflate => None,
    };
    if let Some((len, structure)) = tail {
        builder.claim(end.saturating_sub(len).max(at), len, structure, Owner::WHOLE);
    }
}

struct Content {
    plain: Arc<Rewind>,
}

impl Members for Content {
    fn open(&self, _: u32) -> Result<Member, Unreadable> {
        let source: Source = Arc::clone(&self.plain) as Source;
        Ok(source.into())
    }

    fn label(&self, _: u32) -> Label<'_> {
        Label::Part(CONTENT)
    }

    fn count(&self) -> u32 {
        1
    }

    fn pieces(&self, _: u32) -> Result<Vec<Piece>, Unreadable> {
        let piece = |stream: &Stream| Piece {
            place: Some((stream.start, stream.end - stream.start)),
            plain: false,
            part: (0, stream.plain),
        };
        Ok(self.plain.streams().iter().map(piece).collect())
    }
}

/// Length of the header of a member (RFC 1952, 2.3).
fn gzip_length(bytes: &[u8]) -> usize {
    gzip_header(bytes).last().map_or(10, |field| usize::try_from(field.at + field.len).unwrap_or(10))
}

fn gzip_header(bytes: &[u8]) -> Vec<Field> {
    let Some(head) = bytes.first_chunk::<10>() else { return Vec::new() };
    let flags = head[3];
    let mut all = vec![
        show(bytes, 0, 2, "signature"),
        show(bytes, 2, 1, "method"),
        show(bytes, 3, 1, "flags"),
        show(bytes, 4, 4, "mtime"),
        show(bytes, 8, 1, "extra flags"),
        show(bytes, 9, 1, "operating system"),
    ];
    let mtime = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    all[3].value =
        if mtime == 0 { "none".into() } else { format!("{} ({mtime})", crate::epoch::civil(mtime)) };
    let mut at = 10;
    if flags & 4 != 0
        && let Some([low, high]) = bytes.get(at..at + 2)
    {
        let length = 2 + usize::from(u16::from_le_bytes([*low, *high]));
        all.push(show(bytes, at, length, "extra"));
        at += length;
    }
    for (bit, name) in [(8, "name"), (16, "comment")] {
        let rest = bytes.get(at..).unwrap_or_default();
        if flags & bit != 0
            && let Some(end) = rest.iter().position(|byte| *byte == 0)
        {
            let mut field = show(bytes, at, end + 1, name);
            field.value = crate::raw::show_bytes(&rest[..end]);
            all.push(field);
            at += end + 1;
        }
    }
    if flags & 2 != 0 {
        let mut field = show(bytes, at, 2, "header checksum");
        field.role = Role::Checksum;
        all.push(field);
    }
    all
}

fn gzip_trailer(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![show(bytes, 0, 4, "CRC-32"), show(bytes, 4, 4, "length")];
    all.iter_mut().for_each(|field| field.role = Role::Checksum);
    all
}

fn xz_header(bytes: &[u8]) -> Vec<Field> {
    let mut all =
        vec![show(bytes, 0, 6, "signature"), show(bytes, 6, 2, "check"), show(bytes, 8, 4, "CRC-32")];
    all[2].role = Role::Checksum;
    all
}

fn xz_footer(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![
        show(bytes, 0, 4, "CRC-32"),
        show(bytes, 4, 4, "size of the index"),
        show(bytes, 8, 2, "check"),
        show(bytes, 10, 2, "signature"),
    ];
    all[0].role = Role::Checksum;
    all[1].role = Role::Place;
    all
}

/// Length of a frame header (RFC 8878, 3.1.1.1).
fn zstd_length(bytes: &[u8]) -> usize {
    let descriptor = bytes.get(4).copied().unwrap_or(0);
    let single = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = match descriptor >> 6 {
        0 => usize::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    5 + usize::from(!single) + dictionary + size
}

fn zstd_header(bytes: &[u8]) -> Vec<Field> {
    let rest = bytes.len().saturating_sub(5);
    vec![
        show(bytes, 0, 4, "signature"),
        show(bytes, 4, 1, "descriptor"),
        show(bytes, 5, rest, "window, dictionary and size"),
    ]
}

fn bzip2_header(bytes: &[u8]) -> Vec<Field> {
    vec![show(bytes, 0, 3, "signature"), show(bytes, 3, 1, "block size")]
}

/// Length of a frame header: signature, flags, block size, then what the flags say, and a checksum.
fn lz4_length(bytes: &[u8]) -> usize {
    let flags = bytes.get(4).copied().unwrap_or(0);
    7 + if flags & 8 != 0 { 8 } else { 0 } + if flags & 1 != 0 { 4 } else { 0 }
}

fn lz4_header(bytes: &[u8]) -> Vec<Field> {
    let rest = bytes.len().saturating_sub(7);
    let mut all = vec![
        show(bytes, 0, 4, "signature"),
        show(bytes, 4, 1, "flags"),
        show(bytes, 5, 1, "block size"),
        show(bytes, 6, rest, "size and dictionary"),
        show(bytes, 6 + rest, 1, "header checksum"),
    ];
    all[4].role = Role::Checksum;
    all
}

fn lz4_checksum(bytes: &[u8]) -> Vec<Field> {
    let mut field = show(bytes, 0, 4, "xxHash-32");
    field.role = Role::Checksum;
    vec![field]
}

fn lzma_header(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![
        show(bytes, 0, 1, "properties"),
        show(bytes, 1, 4, "dictionary size"),
        show(bytes, 5, 8, "length"),
    ];
    all[2].role = Role::Place;
    all
}
