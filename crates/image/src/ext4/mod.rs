//! ext2, ext3 and ext4 file systems, to be read: where everything is, for comparing.
//!
//! Source of the layout: `Documentation/filesystems/ext4/` of Linux.

mod attributes;
mod extents;
mod layout;
mod read;

pub use extents::extents;
pub use read::{Corruption, Ext4Error};
