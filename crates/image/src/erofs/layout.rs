//! The structures as they lie on disk, all little-endian.

use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Byte offset of the superblock, whatever the size of a block.
pub(super) const SUPERBLOCK: u64 = 1024;
/// `magic` of the superblock.
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// Inodes lie on multiples of that many bytes, and are numbered so.
pub(super) const SLOT: u64 = 32;
/// Bytes of a directory entry, without its name.
pub(super) const ENTRY: usize = 12;
/// Bytes of the longest name (`EROFS_NAME_LEN`): names of a damaged block could all be the whole block.
const LONGEST_NAME: usize = 255;
/// Bytes of the header of the attributes in an inode.
pub(super) const XATTR_HEADER: usize = 12;
/// The number of a block that is not there.
pub(super) const NO_BLOCK: u32 = u32::MAX;

/// Features that change where things lie.
pub(super) mod feature {
    /// incompat: each algorithm has its settings behind the superblock.
    pub(in crate::erofs) const CONFIGS: u32 = 2;
    /// incompat: data on other devices, or a second algorithm for a file.
    pub(in crate::erofs) const DEVICES: u32 = 8;
    /// incompat: ends of files are together in an inode of their own.
    pub(in crate::erofs) const FRAGMENTS: u32 = 0x20;
    /// incompat: longer prefixes of attributes.
    pub(in crate::erofs) const PREFIXES: u32 = 0x40;
    /// incompat: all that is understood; the others are padding in front of compressed data, chunks, and ends of compressed
    /// files in their inodes.
    pub(in crate::erofs) const KNOWN: u32 = 0x7f;
}

/// How an inode has its data (bits 1 to 3 of `format`).
pub(super) mod data {
    pub(in crate::erofs) const PLAIN: u16 = 0;
    pub(in crate::erofs) const COMPRESSED_FULL: u16 = 1;
    pub(in crate::erofs) const INLINE: u16 = 2;
    pub(in crate::erofs) const COMPRESSED_COMPACT: u16 = 3;
    pub(in crate::erofs) const CHUNKS: u16 = 4;
}

/// Superblock.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawSuper {
    pub(super) magic: U32<LE>,
    pub(super) checksum: U32<LE>,
    pub(super) compat: U32<LE>,
    pub(super) block_bits: u8,
    /// Further parts of 16 bytes.
    pub(super) extension_slots: u8,
    pub(super) root: U16<LE>,
    pub(super) inodes: U64<LE>,
    pub(super) build_time: U64<LE>,
    pub(super) build_time_nsec: U32<LE>,
    pub(super) blocks: U32<LE>,
    pub(super) meta_block: U32<LE>,
    pub(super) xattr_block: U32<LE>,
    pub(super) uuid: [u8; 16],
    pub(super) label: [u8; 16],
    pub(super) incompat: U32<LE>,
    pub(super) algorithms: U16<LE>,
    pub(super) extra_devices: U16<LE>,
    pub(super) device_slot: U16<LE>,
    pub(super) directory_block_bits: u8,
    pub(super) xattr_prefixes: u8,
    pub(super) xattr_prefix_start: U32<LE>,
    pub(super) packed_inode: U64<LE>,
    pub(super) xattr_filter: u8,
    pub(super) reserved: [u8; 23],
}

/// Inode of 32 bytes.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawCompact {
    pub(super) format: U16<LE>,
    pub(super) xattr_count: U16<LE>,
    pub(super) mode: U16<LE>,
    pub(super) nlink: U16<LE>,
    pub(super) size: U32<LE>,
    pub(super) reserved: U32<LE>,
    /// First block, number of blocks, number of the device, or format of chunks.
    pub(super) place: U32<LE>,
    pub(super) ino: U32<LE>,
    pub(super) uid: U16<LE>,
    pub(super) gid: U16<LE>,
    pub(super) reserved_2: U32<LE>,
}

/// Inode of 64 bytes.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawExtended {
    pub(super) format: U16<LE>,
    pub(super) xattr_count: U16<LE>,
    pub(super) mode: U16<LE>,
    pub(super) reserved: U16<LE>,
    pub(super) size: U64<LE>,
    pub(super) place: U32<LE>,
    pub(super) ino: U32<LE>,
    pub(super) uid: U32<LE>,
    pub(super) gid: U32<LE>,
    pub(super) mtime: U64<LE>,
    pub(super) mtime_nsec: U32<LE>,
    pub(super) nlink: U32<LE>,
    pub(super) reserved_2: [u8; 16],
}

/// Directory entry; the names are behind all entries of the block.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawDirEntry {
    pub(super) inode: U64<LE>,
    pub(super) name_at: U16<LE>,
    pub(super) kind: u8,
    pub(super) reserved: u8,
}

/// In front of an extended attribute: name and value follow.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawXattr {
    pub(super) name_len: u8,
    pub(super) prefix: u8,
    pub(super) value_len: U16<LE>,
}

/// In front of the index of a compressed file.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawMap {
    /// Where the end of the file is in the packed inode; or in the upper half, how long its end is behind the index.
    pub(super) end: U32<LE>,
    pub(super) advise: U16<LE>,
    pub(super) algorithms: u8,
    pub(super) cluster_bits: u8,
}

const _: () = assert!(size_of::<RawSuper>() == 128 && size_of::<RawCompact>() == 32);
const _: () = assert!(size_of::<RawExtended>() == 64 && size_of::<RawDirEntry>() == ENTRY);

/// The entries of a directory block: its place, the entry, and where its name is. It ends where an entry cannot be one.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = (usize, RawDirEntry, std::ops::Range<usize>)> {
    let raw = |at: usize| RawDirEntry::read_from_prefix(bytes.get(at..)?).ok().map(|(raw, _)| raw);
    // The first name is directly behind the last entry.
    let names = raw(0).map_or(0, |first| usize::from(first.name_at.get()));
    (0..names / ENTRY).map_while(move |index| {
        let at = index * ENTRY;
        let entry = raw(at)?;
        let start = usize::from(entry.name_at.get());
        let last = at + 2 * ENTRY > names;
        let end = if last { bytes.len() } else { usize::from(raw(at + ENTRY)?.name_at.get()) };
        let name = bytes.get(start..end).filter(|_| start >= names)?;
        let len =
            if last { name.iter().position(|byte| *byte == 0).unwrap_or(name.len()) } else { name.len() };
        (1..=LONGEST_NAME).contains(&len).then_some((at, entry, start..start + len))
    })
}
