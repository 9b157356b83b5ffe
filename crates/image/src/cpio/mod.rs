//! cpio archives in the "newc" format, as the kernel unpacks them for an initramfs.
//!
//! The format and each free choice of the writer are described in `docs/formats/cpio.md`. What an archive means is
//! what `init/initramfs.c` of Linux makes of it.

mod dump;
mod extents;
mod header;
mod old;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use dump::dump;
pub use extents::extents;
pub use old::extents as old_extents;
pub(crate) use old::is_binary;
pub use read::{Archive, Extent, read};
pub use write::{WriteError, length, write};

use crate::io::ReadError;
use crate::tar::{Corruption as PathCorruption, PathFault};
use crate::tree::TreeError;

/// Length of a header in bytes: a magic of 6 and 13 fields of 8 hexadecimal digits.
pub const HEADER: u64 = 110;
/// The name of the entry that ends an archive.
pub const TRAILER: &[u8] = b"TRAILER!!!";
/// Longest name in bytes without its NUL: the kernel skips entries with longer ones.
pub const MAX_NAME: u64 = 4_095;

/// Why an archive could not be read.
pub type CpioError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The header does not start with `070701`.
    #[error("header magic is {:?}", String::from_utf8_lossy(.0))]
    Magic([u8; 6]),
    /// A field is not 8 hexadecimal digits.
    #[error("header field {field} is {:?}", String::from_utf8_lossy(.value))]
    Number {
        /// Name of the field in cpio(5).
        field: &'static str,
        /// Its bytes.
        value: [u8; 8],
    },
    /// The entry goes on past the end of the source.
    #[error("entry needs {need} bytes, the source has {have}")]
    Truncated {
        /// Offset of the first byte after the entry.
        need: u64,
        /// Length of the source in bytes.
        have: u64,
    },
    /// The name is empty, longer than 4095 bytes, or does not end with its only NUL.
    #[error("name of {0} bytes is empty, too long, or does not end with its only NUL")]
    Name(u32),
    /// The path cannot be that of a file in a tree.
    #[error("path {:?} {fault}", String::from_utf8_lossy(.path))]
    Path {
        /// The path, cut after 300 bytes.
        path: Vec<u8>,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// The mode has no file type, an unknown one, or unknown bits.
    #[error("mode is {0:o} (octal)")]
    Mode(u32),
    /// An entry that is neither file nor symbolic link has data.
    #[error("mode {mode:o} with {size} bytes of data")]
    SizeWithoutBody {
        /// The mode.
        mode: u32,
        /// The size in bytes.
        size: u32,
    },
    /// The target of a symbolic link is empty, has a NUL or is longer than 4095 bytes.
    #[error("symbolic link target of {0} bytes is empty, too long or has a NUL")]
    Target(u32),
    /// A device number is out of the range of Linux.
    #[error("device {major}:{minor} is out of range")]
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Names of one file come with data of different lengths.
    #[error("a hard link has {found} bytes of data, another name of the same file had {earlier}")]
    LinkSizes {
        /// Bytes of data with the name before.
        earlier: u64,
        /// Bytes of data with this name.
        found: u64,
    },
    /// The tree cannot take the entry.
    #[error("entry does not fit into the tree: {0}")]
    Tree(TreeError),
}

/// Strips leading slashes and `.` components like the tar reader does.
fn normalise(name: &[u8]) -> Result<Vec<u8>, Corruption> {
    crate::tar::normalise(name).map_err(|error| match error {
        PathCorruption::Path { path, fault } => Corruption::Path { path, fault },
        // The only error of that function.
        _ => Corruption::Path { path: name.iter().copied().take(300).collect(), fault: PathFault::Long },
    })
}

/// How many bytes of padding bring `length` to a multiple of 4.
fn padding(length: u64) -> u64 {
    length.wrapping_neg() % 4
}
