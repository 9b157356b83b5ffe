//! SquashFS 4.0: a compressed, read-only file system for Linux.
//!
//! [`write()`] makes an image from a tree, [`Image`] reads one, [`dump`] shows every field, [`check`] looks for what
//! readers do not notice. The choices that the format leaves to its writers are in `docs/formats/squashfs.md`.

mod check;
mod dump;
mod error;
mod extents;
mod layout;
mod read;
mod resolved;
mod scan;
mod sort;
#[cfg(test)]
mod tests;
mod window;
mod write;

pub use check::{Problem, ProblemKind, check};
pub use dump::dump;
pub use error::{Corruption, EntryRule, Error, OptionsError, Path, WriteError};
pub use extents::extents;
pub use read::{Compression, File, FileRef, Files, Image};
pub use sort::{Sort, SortError};
pub use write::{BlockCache, Options, Written, codec_for, keys, warm, write};
