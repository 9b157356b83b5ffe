//! Caches of fontconfig, to be read: which directory they are of and its state, for comparing. The fonts are not taken apart.
//!
//! Source of the layout: `struct _FcCache` in `src/fcint.h` of fontconfig.

mod extents;

pub use extents::extents;

use crate::io::ReadError;

/// Why a cache could not be read.
pub type FontconfigError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// Something lies behind the end of the file.
    #[error("{what} of {len} bytes in a file of {size} bytes")]
    Behind {
        /// What it is.
        what: &'static str,
        /// Its length in bytes, as far as that is known.
        len: u64,
        /// Length of the file in bytes.
        size: u64,
    },
}

/// Whether a file that begins so is a cache: signature, and a small version, both of one byte order.
pub(crate) fn is_cache(start: &[u8; 17]) -> bool {
    matches!(
        start,
        [0x04, 0xfc, 0x02, 0xfc, 1..=255, 0, 0, 0, ..] | [0xfc, 0x02, 0xfc, 0x04, 0, 0, 0, 1..=255, ..]
    )
}
