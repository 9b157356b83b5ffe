//! `Packages`: the binary packages of one component for one architecture.
//!
//! The text is kept once, as it came, and every value is a range of it; values beyond those that every user needs
//! are read again from their range. A stanza that dpkg or apt could read in another way refuses the whole index.

mod closure;
mod index;
mod unpack;

pub use closure::{Unsatisfied, closure};
pub use index::{Index, Package};
pub use unpack::{MAX_PLAIN, UnpackError, unpack};

use selfsame_image::digest::NotADigest;

use crate::deb822::Malformed;
use crate::release::Unsafe;
use crate::version::NotAVersion;

/// Why an index is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Not deb822.
    #[error("package index is malformed")]
    Malformed(#[from] Malformed),
    /// 4 GiB or more.
    #[error("package index of {size} bytes is above the limit of 4 GiB")]
    TooLong {
        /// Length in bytes.
        size: usize,
    },
    /// A field that must be there is not.
    #[error("stanza at byte {at}: no field {field}")]
    Missing {
        /// Byte offset of the stanza.
        at: usize,
        /// Name of the field.
        field: &'static str,
    },
    /// A value that is not of the form it must have.
    #[error("byte {at}: field {field}: {value:?} is not {expected}")]
    Value {
        /// Byte offset of the field.
        at: usize,
        /// Name of the field.
        field: &'static str,
        /// The value, shortened.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A version that is none.
    #[error("byte {at}: field Version")]
    Version {
        /// Byte offset of the field.
        at: usize,
        /// What is wrong with it.
        source: NotAVersion,
    },
    /// A digest that is none.
    #[error("byte {at}: field SHA256")]
    Digest {
        /// Byte offset of the field.
        at: usize,
        /// What is wrong with it.
        source: NotADigest,
    },
    /// A path that leads outside the archive.
    #[error("byte {at}: field Filename")]
    Path {
        /// Byte offset of the field.
        at: usize,
        /// What is wrong with it.
        source: Unsafe,
    },
    /// Two stanzas of the same package, version and architecture that are not the same file.
    #[error("{package} is listed at byte {first} and at byte {second} as different files")]
    Conflict {
        /// Name, version and architecture.
        package: String,
        /// Byte offset of the first stanza.
        first: usize,
        /// Byte offset of the second stanza.
        second: usize,
    },
}

#[cfg(test)]
mod tests;
