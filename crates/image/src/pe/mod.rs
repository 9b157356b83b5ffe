//! PE files, to be read: programs of UEFI, unified kernel images, Linux kernels with an EFI stub. Nothing in them is run.
//!
//! Source of the layout: PE Format of Microsoft; `Documentation/arch/x86/boot.rst` of Linux for what kernels have beside it.

mod extents;
mod layout;

pub use extents::extents;
pub(crate) use layout::{POINTER, SIGNATURE};

use crate::io::ReadError;

/// Why a file, or a part of it, could not be read.
pub type PeError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// A signature is another one.
    #[error("signature of {what} is {found:#x}")]
    Signature {
        /// What it is of.
        what: &'static str,
        /// What is there.
        found: u32,
    },
    /// Something reaches beyond the end of the file.
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
