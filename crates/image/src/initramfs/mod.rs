//! An initramfs as the kernel unpacks it: cpio archives one after the other, each plain or inside a compressed stream.
//!
//! The first segment is usually plain and holds microcode, which the kernel looks for before it can decompress
//! anything. The format is described in `docs/formats/cpio.md`.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::io;

pub use read::{Segment, dump, read};
pub use write::{Part, write};

use crate::cpio::{self, CpioError};

/// Why an initramfs could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitramfsError {
    /// The source could not be read.
    #[error("cannot read the initramfs at byte {at:#x}")]
    Io {
        /// Offset of the read.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// No segment of an initramfs starts like this.
    #[error("at byte {at:#x} there is neither a cpio archive nor a known compression: {found:02x?}")]
    Junk {
        /// Offset in the initramfs.
        at: u64,
        /// The bytes there.
        found: Vec<u8>,
    },
    /// A plain archive starts at an offset that is no multiple of 4, which the kernel does not take.
    #[error("a cpio archive starts at byte {0:#x}, which is no multiple of 4")]
    Misaligned(u64),
    /// The kernel may know this compression, this program does not.
    #[error("the segment at byte {at:#x} is compressed with {name}, which is not supported")]
    Compression {
        /// Offset of the segment.
        at: u64,
        /// Name of the compression.
        name: &'static str,
    },
    /// A segment could not be decompressed, or is longer than the caller allows.
    #[error("cannot decompress the segment at byte {at:#x}")]
    Unpack {
        /// Offset of the segment.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// An archive is damaged. Offsets in the source error count from the start of the segment's plain bytes.
    #[error("cannot read the archive in the segment at byte {at:#x}")]
    Archive {
        /// Offset of the segment.
        at: u64,
        /// Why.
        source: CpioError,
    },
    /// A compressed segment holds something else after its archives.
    #[error("the segment at byte {at:#x} holds no archive at plain byte {inner:#x}: {found:02x?}")]
    JunkInside {
        /// Offset of the segment.
        at: u64,
        /// Offset in its plain bytes.
        inner: u64,
        /// The bytes there.
        found: Vec<u8>,
    },
}

/// Why an initramfs could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The archive of a segment could not be written.
    #[error("cannot write segment {index}")]
    Archive {
        /// Number of the segment from 0 on.
        index: usize,
        /// Why.
        source: cpio::WriteError,
    },
    /// The output or the compression failed.
    #[error("cannot write segment {index}")]
    Output {
        /// Number of the segment from 0 on.
        index: usize,
        /// Why.
        source: io::Error,
    },
}
