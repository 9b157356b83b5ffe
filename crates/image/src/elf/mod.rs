//! ELF files, to be read: where everything is, for comparing. Nothing in them is interpreted or run.
//!
//! Source of the layout: System V ABI, chapters 4 and 5 (gABI), and the GNU extensions to it.

mod extents;
mod header;
mod layout;
mod strings;
mod symbols;

pub use extents::extents;
pub(crate) use symbols::{Symbol, Symbols};

use crate::io::ReadError;

/// Why a file, or a part of it, could not be read.
pub type ElfError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The identification has another signature, class, encoding or version.
    #[error("identification is {0:02x?}, not that of an ELF file of version 1")]
    Identification([u8; 7]),
    /// Entries of a table are shorter than the fields that they have.
    #[error("{field} is {value}, below {least}")]
    EntrySize {
        /// Name of the field in the file header.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Length of the fields of an entry in bytes.
        least: u64,
    },
    /// A table or section reaches beyond the end of the file.
    #[error("{what} of {len} bytes reaches behind the end at {size:#x}")]
    Behind {
        /// What it is.
        what: String,
        /// Its length in bytes.
        len: u64,
        /// Length of the file in bytes.
        size: u64,
    },
}
