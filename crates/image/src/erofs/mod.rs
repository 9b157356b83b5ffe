//! EROFS, to be read: where everything is, for comparing.
//!
//! Source of the layout: `Documentation/filesystems/erofs.rst` of Linux, and what mkfs.erofs writes.

mod extents;
mod index;
mod layout;
mod read;

pub use extents::extents;
pub use read::{Corruption, ErofsError};
