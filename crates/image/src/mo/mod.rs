//! Message catalogs of GNU gettext, to be read: which string is where, for comparing.
//!
//! Source of the layout: GNU gettext utilities, "The Format of GNU MO Files".

mod extents;

pub use extents::extents;

use crate::io::ReadError;

/// Why a catalog, or a part of it, could not be read.
pub type MoError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The file ends inside its header.
    #[error("the file has {0} bytes, and the header 28")]
    Short(u64),
    /// A table or string reaches beyond the end of the file.
    #[error("{what} of {len} bytes reaches behind the end at {size:#x}")]
    Behind {
        /// What it is.
        what: &'static str,
        /// Its length in bytes.
        len: u64,
        /// Length of the file in bytes.
        size: u64,
    },
}
