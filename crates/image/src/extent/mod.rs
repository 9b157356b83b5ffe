//! What each byte of a file is: extents, each owned by one structure, that cover the file exactly once.
//!
//! A format's `extents.rs` claims what it knows; the [`Builder`] names what nobody claimed, and gives no byte two owners.

mod field;
mod map;
mod ranges;

use std::sync::Arc;

pub use field::{Field, Role};
pub(crate) use field::{fields_of, show};
pub use map::{Builder, Extent, Map, Owner, Paths, Structure};
pub(crate) use ranges::{HOLE, InRanges, Ranges};

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

/// The structure of `source`; `None` if its format is none that is understood. At most `room` bytes are decompressed
/// for it.
pub fn parse(source: &Source, room: u64) -> Result<Option<Parsed>, Unreadable> {
    let format = crate::detect::format(source).map_err(|error| Unreadable::new("file", &error))?;
    match format {
        Some(Format::Squashfs) => crate::squashfs::extents(source).map(Some),
        Some(Format::Iso9660) => crate::iso9660::extents(source).map(Some),
        Some(Format::Fat) => crate::fat::extents(source).map(Some),
        Some(Format::Gpt | Format::Mbr) => crate::gpt::extents(source).map(Some),
        Some(Format::Cpio) => crate::cpio::extents(source).map(Some),
        Some(Format::Tar) => crate::tar::extents(source).map(Some),
        Some(Format::Deb | Format::Ar) => crate::ar::extents(source).map(Some),
        Some(Format::Gzip | Format::Xz | Format::Zstd) => crate::codec::extents(source, room).map(Some),
        Some(Format::Ext4) => crate::ext4::extents(source).map(Some),
        None => Ok(None),
    }
}
