//! ZIP archives, to be read: where everything is, for comparing. JAR, WHL, ODT and other files are archives, too.
//!
//! Source of the layout: .ZIP File Format Specification (APPNOTE.TXT) 6.3.10 of PKWARE.

mod directory;
mod extents;
mod layout;
mod listing;

pub use extents::extents;
pub(crate) use layout::{extras, number, short};
pub(crate) use listing::{Listed, Listing, Packed, list};

use crate::io::ReadError;

/// Why an archive, or a part of it, could not be read.
pub type ZipError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// No end record leads to a central directory.
    #[error("no end of central directory record is found")]
    NoEnd,
    /// A structure begins with something else.
    #[error("signature of {what} is {found:02x?}")]
    Signature {
        /// What it is.
        what: &'static str,
        /// The bytes that are there.
        found: [u8; 4],
    },
    /// The data of an entry reaches beyond the end of the file.
    #[error("{len} bytes of data reach behind the end at {size:#x}")]
    Behind {
        /// Their number.
        len: u64,
        /// Length of the file in bytes.
        size: u64,
    },
    /// The lengths of an entry cannot both be true.
    #[error("{packed} bytes cannot be {plain} by compression method {method}")]
    Lengths {
        /// Compressed size.
        packed: u64,
        /// Uncompressed size.
        plain: u64,
        /// Compression method.
        method: u16,
    },
}
