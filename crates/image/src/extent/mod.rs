//! What each byte of a file is: extents, each owned by one structure, that cover the file exactly once.
//!
//! A format's `extents.rs` claims what it knows; the [`Builder`] names what nobody claimed, and gives no byte two owners.

mod container;
mod faults;
mod field;
mod map;
mod ranges;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub(crate) use container::{Container, LONGEST_PATH, MOST_PATHS};
pub(crate) use faults::Faults;
pub use field::{Field, Role};
pub(crate) use field::{dated, fields_of, prefixed, show, uuid};
pub use map::{Builder, Extent, Map, Owner, Paths, Structure};
use ranges::HOLE;

use crate::detect::Format;
use crate::io::ReadAt;

/// Bytes that several readers share.
pub type Source = Arc<dyn ReadAt + Send>;

/// A file whose structure is known.
pub struct Parsed {
    /// What it is.
    pub format: &'static str,
    /// Who owns which of its bytes.
    pub map: Map,
    /// What its members hold.
    pub members: Box<dyn Members>,
    /// What could not be read, if anything: the bytes it is about are owned all the same.
    pub faults: Vec<Unreadable>,
    /// Bytes that have to be decompressed to be read.
    pub held: u64,
}

/// The files inside a file, by the numbers that its map has for them.
pub trait Members: Send + Sync {
    /// The bytes of a member, decoded, and what is known of their structure beforehand.
    fn open(&self, member: u32) -> Result<Member, Unreadable>;

    /// What a member is called.
    fn label(&self, member: u32) -> Label<'_>;

    /// How many there are; the first is 0.
    fn count(&self) -> u32;

    /// What a member is made of, in the order of its bytes. If that is the same in two files, so are the members.
    fn pieces(&self, member: u32) -> Result<Vec<Piece>, Unreadable>;
}

/// Bytes of a container, of which a member has some, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where they lie: first byte and length. `None` for zeros that lie nowhere.
    pub place: Option<(u64, u64)>,
    /// Whether they are stored as they are, and not encoded.
    pub plain: bool,
    /// First byte and length of what the member has of them, decoded.
    pub part: (u64, u64),
}

/// What a member is called. Members of two files with the same label are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label<'a> {
    /// A part of the container itself that is encoded: a table, the content of a compressed stream.
    Part(&'a str),
    /// A file, by its path in the container.
    Path(&'a [u8]),
}

/// The bytes of a member.
pub struct Member {
    /// Its bytes.
    pub source: Source,
    /// Its structure, if that is the container's own and need not be looked for.
    pub parsed: Option<Parsed>,
}

impl From<Source> for Member {
    fn from(source: Source) -> Self {
        Self { source, parsed: None }
    }
}

/// For files without members.
#[derive(Clone, Copy, Debug)]
pub struct NoMembers;

impl Members for NoMembers {
    fn open(&self, member: u32) -> Result<Member, Unreadable> {
        Err(Unreadable { format: "file", message: format!("it has no member {member}") })
    }

    fn label(&self, _: u32) -> Label<'_> {
        Label::Part("nothing")
    }

    fn count(&self) -> u32 {
        0
    }

    fn pieces(&self, _: u32) -> Result<Vec<Piece>, Unreadable> {
        Ok(Vec::new())
    }
}

/// Why a file could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be read as {format}: {message}")]
pub struct Unreadable {
    /// What it looked like.
    pub format: &'static str,
    /// What is wrong, and where.
    pub message: String,
}

impl Unreadable {
    pub(crate) fn new(format: &'static str, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self { format, message }
    }
}

/// What may be taken to look into a file.
#[derive(Clone, Debug)]
pub struct Room {
    /// Plain bytes of compressed streams that are read; a stream that needs more is not looked into.
    pub plain: u64,
    /// Bytes of memory in which they are kept, those of all streams together.
    memory: Arc<AtomicU64>,
}

impl Room {
    /// Room for so many plain bytes, of which as many are kept as `memory` bytes hold; others are decompressed again when
    /// they are needed again.
    pub fn new(plain: u64, memory: u64) -> Self {
        Self { plain, memory: Arc::new(AtomicU64::new(memory)) }
    }

    /// The same memory, and less room.
    #[must_use]
    pub fn with_plain(&self, plain: u64) -> Self {
        Self { plain, memory: self.memory() }
    }

    pub(crate) fn memory(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.memory)
    }
}

/// The structure of `source`; `None` if its format is none that is understood.
pub fn parse(source: &Source, room: &Room) -> Result<Option<Parsed>, Unreadable> {
    let format = crate::detect::format(source).map_err(|error| Unreadable::new("file", &error))?;
    match format {
        Some(Format::Squashfs) => crate::squashfs::extents(source).map(Some),
        Some(Format::Iso9660) => crate::iso9660::extents(source).map(Some),
        Some(Format::Fat) => crate::fat::extents(source).map(Some),
        Some(Format::Gpt | Format::Mbr) => crate::gpt::extents(source).map(Some),
        Some(Format::Cpio) => crate::cpio::extents(source).map(Some),
        Some(Format::OldCpio) => crate::cpio::old_extents(source).map(Some),
        Some(Format::Tar) => crate::tar::extents(source).map(Some),
        Some(Format::Deb | Format::Ar) => crate::ar::extents(source).map(Some),
        Some(Format::Gzip | Format::Xz | Format::Zstd | Format::Bzip2 | Format::Lz4 | Format::Lzma) => {
            crate::codec::extents(source, room).map(Some)
        }
        Some(Format::Png) => crate::png::extents(source).map(Some),
        Some(Format::Mo) => crate::mo::extents(source).map(Some),
        Some(Format::Pyc) => crate::pyc::extents(source).map(Some),
        Some(Format::Fontconfig) => crate::fontconfig::extents(source).map(Some),
        Some(Format::Zip) => crate::zip::extents(source, room).map(Some),
        Some(Format::Elf) => crate::elf::extents(source).map(Some),
        Some(Format::Ext4) => crate::ext4::extents(source).map(Some),
        Some(Format::Erofs) => crate::erofs::extents(source).map(Some),
        Some(Format::Qcow2) => crate::qcow2::extents(source, room).map(Some),
        Some(Format::Pe) => crate::pe::extents(source).map(Some),
        Some(Format::Sqlite) => crate::sqlite::extents(source).map(Some),
        None => Ok(None),
    }
}
