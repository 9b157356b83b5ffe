//! MBR and GPT partition tables.
//!
//! Nothing here invents an identifier: disk and partition GUIDs are arguments, and [`guid_from`] makes them from
//! content. Sectors are 512 bytes, as on every disk image and every stick that boots. Rules: UEFI 2.10, chapter 5.

mod check;
mod crc32;
mod dump;
mod extents;
mod guid;
mod layout;
mod mbr;
mod read;
mod write;

pub use check::{Problem, check};
pub(crate) use crc32::crc32;
pub use dump::dump;
pub(crate) use extents::claim;
pub use extents::extents;
pub use guid::{Guid, NotAGuid, guid_from, seed};
pub use mbr::{Mbr, MbrPartition};
pub use read::{Copy, Corruption, Disk, read, read_copy};
pub use write::{WriteError, write};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Sectors of one copy of the table: the header and 128 entries of 128 bytes.
pub const TABLE_SECTORS: u64 = 33;
/// Entries of the table we write.
pub const ENTRIES: u32 = 128;

/// A partition table and the disk it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpt {
    /// Name of the disk.
    pub disk: Guid,
    /// Sectors of the disk, both copies of the table included.
    pub sectors: u64,
    /// First sector a partition may use, at least 34.
    pub first_usable: u64,
    /// Last sector a partition may use, at most `sectors - 34`.
    pub last_usable: u64,
    /// The partitions by ascending number.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Place in the table, 1 to 128. Linux calls it sda1, sda2...
    pub number: u32,
    /// What it holds.
    pub kind: Guid,
    /// Name of this partition.
    pub id: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector, which belongs to the partition.
    pub last: u64,
    /// Bit 0 required, bit 1 ignored by firmware, bit 2 bootable for BIOSes, bits 48 to 63 by `kind`
    /// (basic data: 60 read-only, 62 hidden, 63 without drive letter).
    pub attributes: u64,
    /// Label, at most 36 UTF-16 units.
    pub name: String,
}

impl Gpt {
    /// A table without partitions for a disk of `sectors`, all of it usable.
    pub fn new(disk: Guid, sectors: u64) -> Self {
        let first_usable = 1 + TABLE_SECTORS;
        Self {
            disk,
            sectors,
            first_usable,
            last_usable: sectors.saturating_sub(first_usable),
            partitions: Vec::new(),
        }
    }
}
