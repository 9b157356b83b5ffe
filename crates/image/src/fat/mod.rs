//! FAT12, FAT16 and FAT32 file systems, as far as an EFI system partition needs them.
//!
//! FAT has neither owners, nor permissions, nor links: a tree loses them when it is written, and names of one inode
//! become separate files. `docs/formats/fat.md` holds the layout and the reason for each free choice. Rules:
//! Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (2000), which UEFI 2.10, 13.3 refers to.

mod check;
mod dump;
mod extents;
mod geometry;
mod layout;
mod names;
mod plan;
mod read;
mod time;
mod write;

pub use check::{Problem, check};
pub use dump::dump;
pub use extents::extents;
pub use geometry::Width;
pub use read::{Chain, Corruption, Volume, open, read_tree};
pub use write::{WriteError, write};

use crate::epoch::Epoch;
use crate::gpt::{guid_from, seed};
use crate::iso9660::Extent;
use crate::tree::Tree;

/// What a file system shall be.
#[derive(Clone, Debug)]
pub struct Fat<'a> {
    /// Files and directories; nothing else has a place in FAT.
    pub tree: &'a Tree,
    /// Latest time, and the time of the label. FAT begins in 1980: earlier times become 1980-01-01.
    pub epoch: Epoch,
    /// Label, at most 11 of the characters that short names have, and spaces; empty for none.
    pub label: String,
    /// Serial number of the volume; [`serial`] derives one.
    pub serial: u32,
    /// How large.
    pub size: Size,
    /// Sectors in front of the partition on its disk. Only boot code of old systems reads it; 0 does no harm.
    pub hidden_sectors: u32,
}

/// How large a file system shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The smallest number of MiB that holds the tree and `free` bytes more.
    Fit {
        /// Bytes that stay free, at least.
        free: u64,
    },
    /// Exactly so many bytes, a multiple of 512.
    Exact(u64),
}

/// Where everything went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file system.
    pub size: u64,
    /// Width of an entry of the table.
    pub width: Width,
    /// Files with bytes, in the order of the image.
    pub files: Vec<(Vec<u8>, Extent)>,
}

/// A serial number for a file system that holds `tree`.
pub fn serial(tree: &Tree, epoch: Epoch) -> u32 {
    let [a, b, c, d, ..] = guid_from("fat serial", &seed(tree, epoch)).0;
    u32::from_le_bytes([a, b, c, d])
}
