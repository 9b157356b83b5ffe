//! tar archives: the dialect of dpkg for reading, one canonical form for writing.
//!
//! The format and each free choice of the writer are described in `docs/formats/tar.md`.

mod dump;
mod extents;
mod header;
mod number;
pub(crate) mod patch;
mod pax;
mod read;
mod sparse;
#[cfg(test)]
mod tests;
mod tree;
mod write;

use std::collections::BTreeMap;

pub use dump::dump;
pub use extents::extents;
pub use read::{Body, Reader};
#[cfg(test)]
pub(crate) use tests::sample;
pub use tree::{collect, read_tree};
pub(crate) use write::{CopyError, copy};
pub use write::{WriteError, write};

use crate::io::ReadError;
use crate::tree::Meta;

/// Length of a block: headers take one, data is padded to a multiple of it.
pub const BLOCK: u64 = 512;
/// Longest path in bytes after normalisation: what Linux takes in one call (`PATH_MAX` without its NUL).
pub const MAX_PATH: usize = 4_095;
/// Longest GNU long name or link record in bytes.
const MAX_LONG: u64 = 64 << 10;
/// Longest PAX header in bytes; Linux takes 64 KiB per extended attribute.
const MAX_PAX: u64 = 1 << 20;

/// Which extensions of ustar are understood; everything else is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// v7 and ustar with GNU long names (`L`, `K`) and base-256 numbers: deb(5). What dpkg would not unpack, or would
    /// unpack as something else, is refused.
    Dpkg,
    /// The same and PAX headers (`x`, `g`) with extended attributes.
    Any,
    /// To be looked at, not to be unpacked: also sparse files of GNU tar, whose bodies are what is stored of them, and PAX
    /// headers with any keys.
    Stored,
}

/// Why an archive could not be read.
pub type TarError = ReadError<Corruption>;

/// One name in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Offset in the plain archive of the header block of this entry, after any extension headers.
    pub at: u64,
    /// Path without leading and trailing slashes and without `.` components; empty for the root itself.
    pub path: Vec<u8>,
    /// What the name stands for.
    pub kind: Kind,
    /// Permission bits including set-id and sticky, 0 to 0o7777.
    pub mode: u16,
    /// Owning user by number.
    pub uid: u32,
    /// Owning group by number.
    pub gid: u32,
    /// Owning user by name, empty if the archive has none. dpkg prefers it over `uid` when the system knows it.
    pub user: Vec<u8>,
    /// Owning group by name, empty if the archive has none. dpkg prefers it over `gid` when the system knows it.
    pub group: Vec<u8>,
    /// Modification time in whole seconds since 1970-01-01 UTC; PAX fractions are cut off downwards.
    pub mtime: i64,
    /// Extended attributes; [`Dialect::Dpkg`] yields none.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// What a sparse file is made of; only [`Dialect::Stored`] yields some.
    sparse: Option<sparse::Sparse>,
}

impl Entry {
    /// Owner by number, permissions, time and extended attributes.
    pub fn meta(&self) -> Meta {
        Meta { mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.mtime, xattrs: self.xattrs.clone() }
    }
}

/// What an entry stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file, whose bytes are the body of the entry.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A symbolic link and its target: 1 to 4095 bytes without NUL, as they are in the archive.
    Symlink(Vec<u8>),
    /// One more name for the entry with this path, normalised like [`Entry::path`].
    Hardlink(Vec<u8>),
    /// A character device.
    Char {
        /// Major number, 0 to 4095.
        major: u32,
        /// Minor number, 0 to 1048575.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number, 0 to 4095.
        major: u32,
        /// Minor number, 0 to 1048575.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The archive ends inside a header or a body.
    #[error("the archive ends {missing} bytes too early")]
    Truncated {
        /// How many bytes of this header or body are missing.
        missing: u64,
    },
    /// The archive ends without a block of zeros.
    #[error("the archive ends without a block of zeros")]
    NoEnd,
    /// There are bytes other than zero after the end.
    #[error("data follows the end of the archive")]
    AfterEnd,
    /// The sum of the header's bytes is not what the header says.
    #[error("header checksum is {computed:o}, the header says {stored:o} (octal)")]
    Checksum {
        /// Sum of the bytes with the field taken as spaces.
        computed: u64,
        /// What the field says.
        stored: u64,
    },
    /// A numeric field is neither octal nor base-256, or out of range.
    #[error("header field {field} is {value:02x?}")]
    Number {
        /// Name of the field in tar(5).
        field: &'static str,
        /// Its bytes.
        value: Vec<u8>,
    },
    /// The header is not ustar, and not v7 either because bytes after the link name are used.
    #[error("header magic is {0:02x?}")]
    Magic([u8; 8]),
    /// Type bits in the mode contradict the type flag, or unknown bits are set.
    #[error("mode {mode:o} does not fit type flag {flag:?}")]
    Mode {
        /// The whole mode field.
        mode: u64,
        /// The type flag.
        flag: char,
    },
    /// No type of entry has this flag.
    #[error("unknown type flag {0:?}")]
    TypeFlag(char),
    /// An entry that has no body claims one.
    #[error("an entry with type flag {flag:?} claims {size} bytes of data")]
    SizeWithoutBody {
        /// The type flag.
        flag: char,
        /// The claimed size in bytes.
        size: u64,
    },
    /// A file is longer than 2^63 - 1 bytes.
    #[error("size {0} does not fit in 63 bits")]
    Size(u64),
    /// The path cannot be that of a file in a tree.
    #[error("path {:?} {fault}", String::from_utf8_lossy(.path))]
    Path {
        /// The path, cut after 300 bytes.
        path: Vec<u8>,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// The target of a symbolic link is empty, has a NUL or is longer than 4095 bytes.
    #[error("symbolic link target of {length} bytes is empty, too long or has a NUL")]
    Target {
        /// Length of the target in bytes.
        length: usize,
    },
    /// A device number is out of the range of Linux.
    #[error("device {major}:{minor} is out of range")]
    Device {
        /// Major number.
        major: u64,
        /// Minor number.
        minor: u64,
    },
    /// An extension header is longer than allowed.
    #[error("extension header of {size} bytes, at most {limit} are allowed")]
    LongHeader {
        /// Its length in bytes.
        size: u64,
        /// The most bytes allowed.
        limit: u64,
    },
    /// Two extension headers speak about the same thing, or GNU and PAX headers are mixed.
    #[error("extension header {0:?} contradicts one before it")]
    Contradiction(char),
    /// An extension header is not followed by the entry it is about.
    #[error("the archive ends after an extension header")]
    Dangling,
    /// A PAX record is not `LENGTH KEY=VALUE\n`, or its value cannot be that of its key.
    #[error("PAX record {0:?} is malformed")]
    PaxRecord(String),
    /// A PAX key of which it is not known whether it may be left out of account.
    #[error("PAX key {0:?} is not understood")]
    PaxKey(String),
    /// The map of a sparse file is malformed, or does not fit what is stored of the file.
    #[error("map of a sparse file does not fit its data")]
    Sparse,
    /// There are more entries than the caller allows.
    #[error("more than {limit} entries")]
    Entries {
        /// The most entries allowed.
        limit: u64,
    },
    /// The tree cannot take the entry.
    #[error("entry does not fit into the tree: {0}")]
    Tree(crate::tree::TreeError),
    /// A hard link refers to something that is no file before it in the archive.
    #[error("hard link to {:?}, which is no earlier entry that can be linked", String::from_utf8_lossy(.0))]
    Link(Vec<u8>),
}

/// Why a path cannot be that of a file in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// The path is empty.
    #[error("is empty")]
    Empty,
    /// A component is `..`.
    #[error("has a component \"..\"")]
    Parent,
    /// The path has a NUL byte.
    #[error("has a NUL byte")]
    Nul,
    /// A component has more than 255 bytes or the path more than 4095.
    #[error("is too long")]
    Long,
}

/// Strips leading and trailing slashes and `.` components; refuses everything that could lead out of a tree.
pub(crate) fn normalise(raw: &[u8]) -> Result<Vec<u8>, Corruption> {
    let fault = |fault| Corruption::Path { path: raw.iter().copied().take(300).collect(), fault };
    if raw.is_empty() {
        return Err(fault(PathFault::Empty));
    }
    let mut path = Vec::with_capacity(raw.len().min(MAX_PATH));
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(fault(PathFault::Parent)),
            _ if part.contains(&0) => return Err(fault(PathFault::Nul)),
            _ if part.len() > 255 => return Err(fault(PathFault::Long)),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
        if path.len() > MAX_PATH {
            return Err(fault(PathFault::Long));
        }
    }
    Ok(path)
}
