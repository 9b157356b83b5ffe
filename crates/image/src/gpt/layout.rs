//! The structures as they lie on disk.

use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Master boot record: sector 0.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawMbr {
    /// Boot code.
    pub(super) code: [u8; 440],
    /// Disk signature.
    pub(super) disk_id: U32<LE>,
    /// Zero; Windows writes 0x5a5a for copy-protected.
    pub(super) reserved: U16<LE>,
    /// The four primary partitions.
    pub(super) partitions: [RawMbrPartition; 4],
    /// 55 aa.
    pub(super) signature: [u8; 2],
}

/// One of four entries of the MBR.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawMbrPartition {
    /// 0x80 active, else 0.
    pub(super) status: u8,
    /// Cylinder, head, sector of the first sector.
    pub(super) first_chs: [u8; 3],
    /// Partition type.
    pub(super) kind: u8,
    /// Cylinder, head, sector of the last sector.
    pub(super) last_chs: [u8; 3],
    /// First sector.
    pub(super) first: U32<LE>,
    /// Number of sectors.
    pub(super) sectors: U32<LE>,
}

/// GPT header, sector 1 and the last sector.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    /// `EFI PART`.
    pub(super) signature: [u8; 8],
    /// 1.0: 00 00 01 00.
    pub(super) revision: U32<LE>,
    /// Bytes covered by the checksum, 92.
    pub(super) header_size: U32<LE>,
    /// CRC-32 of the header with this field zero.
    pub(super) header_crc: U32<LE>,
    /// Zero.
    pub(super) reserved: U32<LE>,
    /// The sector of this copy.
    pub(super) this_sector: U64<LE>,
    /// The sector of the other copy.
    pub(super) other_sector: U64<LE>,
    /// First sector for partitions.
    pub(super) first_usable: U64<LE>,
    /// Last sector for partitions.
    pub(super) last_usable: U64<LE>,
    /// Disk GUID in disk order.
    pub(super) disk: [u8; 16],
    /// First sector of the entries.
    pub(super) entries_sector: U64<LE>,
    /// Number of entries.
    pub(super) entry_count: U32<LE>,
    /// Bytes of an entry.
    pub(super) entry_size: U32<LE>,
    /// CRC-32 of all entries.
    pub(super) entries_crc: U32<LE>,
}

/// An entry of the table.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawEntry {
    /// Partition type; zero for a free entry.
    pub(super) kind: [u8; 16],
    /// Partition GUID.
    pub(super) id: [u8; 16],
    /// First sector.
    pub(super) first: U64<LE>,
    /// Last sector, inclusive.
    pub(super) last: U64<LE>,
    /// Attribute bits.
    pub(super) attributes: U64<LE>,
    /// UTF-16LE, padded by zeros.
    pub(super) name: [u8; 72],
}

/// `signature` of a header.
pub(super) const SIGNATURE: [u8; 8] = *b"EFI PART";
/// `revision` of a header.
pub(super) const REVISION: u32 = 0x0001_0000;
/// `header_size` we write.
pub(super) const HEADER_SIZE: u32 = 92;
/// `entry_size` we read and write.
pub(super) const ENTRY_SIZE: u32 = 128;

const _: () = assert!(size_of::<RawMbr>() == 512);
const _: () = assert!(size_of::<RawHeader>() == 92);
const _: () = assert!(size_of::<RawEntry>() == 128);
