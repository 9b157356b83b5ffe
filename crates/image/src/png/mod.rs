//! PNG images, to be read: which chunk is where, for comparing. Pixels are not decoded.
//!
//! Source of the layout: ISO/IEC 15948 (W3C Portable Network Graphics, third edition), chapters 5 and 11.

mod extents;

pub use extents::extents;

use crate::io::ReadError;

/// Why an image, or a part of it, could not be read.
pub type PngError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The type of a chunk is not four letters.
    #[error("type of a chunk is {0:02x?}")]
    Type([u8; 4]),
    /// A chunk reaches beyond the end of the file.
    #[error("a chunk with {len} bytes of data reaches behind the end at {size:#x}")]
    Behind {
        /// Length of its data in bytes.
        len: u64,
        /// Length of the file in bytes.
        size: u64,
    },
    /// The file ends without an end chunk.
    #[error("there is no end chunk")]
    NoEnd,
}
