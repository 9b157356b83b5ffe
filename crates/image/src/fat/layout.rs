//! The structures as they lie on disk.

use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a sector in what we write.
pub(super) const SECTOR: u64 = 512;
/// Bytes of a directory entry.
pub(super) const ENTRY: u64 = 32;

/// Attribute: the label of the volume.
pub(super) const LABEL: u8 = 8;
/// Attribute: directory.
pub(super) const DIRECTORY: u8 = 0x10;
/// Attributes of a part of a long name.
pub(super) const LONG_NAME: u8 = 0x0f;
/// Bit of the sequence number of the last part of a long name, which comes first.
pub(super) const LAST_PART: u8 = 0x40;
/// Units of a long name in one entry.
pub(super) const UNITS: usize = 13;
/// First byte of an entry that is free.
pub(super) const FREE: u8 = 0xe5;

/// Start of sector 0: the parameters that all widths share.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawBoot {
    pub(super) jump: [u8; 3],
    pub(super) maker: [u8; 8],
    pub(super) bytes_per_sector: U16<LE>,
    pub(super) sectors_per_cluster: u8,
    pub(super) reserved_sectors: U16<LE>,
    pub(super) tables: u8,
    /// Entries of the root directory; 0 for FAT32.
    pub(super) root_entries: U16<LE>,
    /// Sectors if they fit, else 0.
    pub(super) sectors_16: U16<LE>,
    pub(super) media: u8,
    /// Sectors of one table; 0 for FAT32.
    pub(super) table_sectors_16: U16<LE>,
    pub(super) sectors_per_track: U16<LE>,
    pub(super) heads: U16<LE>,
    pub(super) hidden_sectors: U32<LE>,
    pub(super) sectors_32: U32<LE>,
}

/// What follows in FAT32.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawBoot32 {
    pub(super) table_sectors: U32<LE>,
    /// Which tables are used; 0 for all.
    pub(super) flags: U16<LE>,
    pub(super) version: U16<LE>,
    pub(super) root_cluster: U32<LE>,
    pub(super) info_sector: U16<LE>,
    pub(super) backup_sector: U16<LE>,
    pub(super) reserved: [u8; 12],
}

/// What ends the parameters of all widths.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawNames {
    pub(super) drive: u8,
    pub(super) reserved: u8,
    /// 0x29: the fields that follow are there.
    pub(super) signature: u8,
    pub(super) serial: U32<LE>,
    pub(super) label: [u8; 11],
    /// `FAT16   `: for people, not for programs.
    pub(super) kind: [u8; 8],
}

/// Sector 1 of FAT32: hints about free clusters.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawInfo {
    /// `RRaA`.
    pub(super) lead: [u8; 4],
    pub(super) reserved: [u8; 480],
    /// `rrAa`.
    pub(super) signature: [u8; 4],
    pub(super) free_clusters: U32<LE>,
    pub(super) next_free: U32<LE>,
    pub(super) reserved_2: [u8; 12],
    /// 00 00 55 aa.
    pub(super) trail: [u8; 4],
}

/// A directory entry with a short name.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawEntry {
    pub(super) name: [u8; 11],
    pub(super) attributes: u8,
    /// Windows NT: base or extension is lower-case.
    pub(super) lower_case: u8,
    /// Hundredths of a second, 0 to 199.
    pub(super) created_fine: u8,
    pub(super) created_time: U16<LE>,
    pub(super) created_date: U16<LE>,
    pub(super) accessed_date: U16<LE>,
    pub(super) cluster_high: U16<LE>,
    pub(super) modified_time: U16<LE>,
    pub(super) modified_date: U16<LE>,
    pub(super) cluster_low: U16<LE>,
    pub(super) size: U32<LE>,
}

/// A directory entry with a part of a long name.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawLongName {
    pub(super) sequence: u8,
    pub(super) name_1: [u8; 10],
    pub(super) attributes: u8,
    pub(super) kind: u8,
    /// Of the short name that follows.
    pub(super) checksum: u8,
    pub(super) name_2: [u8; 12],
    pub(super) cluster: U16<LE>,
    pub(super) name_3: [u8; 4],
}

const _: () = assert!(size_of::<RawBoot>() == 36);
const _: () = assert!(size_of::<RawBoot32>() == 28);
const _: () = assert!(size_of::<RawNames>() == 26);
const _: () = assert!(size_of::<RawInfo>() == 512);
const _: () = assert!(size_of::<RawEntry>() == 32);
const _: () = assert!(size_of::<RawLongName>() == 32);
