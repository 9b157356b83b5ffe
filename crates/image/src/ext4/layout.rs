//! The structures as they lie on disk, all little-endian.

use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Byte offset of the superblock, whatever the size of a block.
pub(super) const SUPERBLOCK: u64 = 1024;
/// `magic` of the superblock.
pub(super) const MAGIC: u16 = 0xef53;
/// The root directory.
pub(super) const ROOT: u32 = 2;
/// Inodes that the format keeps for itself: 1 to 10.
pub(super) const RESERVED: [(u32, &str); 9] = [
    (1, "bad blocks"),
    (3, "user quota"),
    (4, "group quota"),
    (5, "boot loader"),
    (6, "undelete directory"),
    (7, "resize inode"),
    (8, "journal"),
    (9, "exclude inode"),
    (10, "replica inode"),
];

/// Features that change where things lie.
pub(super) mod feature {
    /// compat: the copies of the superblock are those that the superblock names.
    pub(in crate::ext4) const SPARSE_SUPER_2: u32 = 0x200;
    /// incompat: directory entries have a type.
    pub(in crate::ext4) const FILETYPE: u32 = 2;
    /// incompat: it must be recovered from its journal first.
    pub(in crate::ext4) const RECOVER: u32 = 4;
    /// incompat: group descriptors lie in their groups.
    pub(in crate::ext4) const META_BG: u32 = 0x10;
    /// incompat: block numbers have 64 bits.
    pub(in crate::ext4) const WIDE: u32 = 0x80;
    /// incompat: the rest that is understood: journal device, extents, flexible groups, inodes for attributes, checksum seed,
    /// large directories, inline data, encryption, case folding.
    pub(in crate::ext4) const HARMLESS: u32 =
        0x40 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000;
    /// ro_compat: copies of the superblock in few groups only.
    pub(in crate::ext4) const SPARSE_SUPER: u32 = 1;
}

/// Inode flag: blocks are given as extents.
pub(super) const EXTENTS: u32 = 0x8_0000;
/// Inode flag: the content lies in the inode.
pub(super) const INLINE: u32 = 0x1000_0000;
/// `magic` of a node of an extent tree.
pub(super) const EXTENT_MAGIC: u16 = 0xf30a;
/// An extent with more blocks than that has so many less, which were never written.
pub(super) const MOST_WRITTEN: u16 = 0x8000;

/// Superblock.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawSuper {
    pub(super) inodes: U32<LE>,
    pub(super) blocks: U32<LE>,
    pub(super) reserved_blocks: U32<LE>,
    pub(super) free_blocks: U32<LE>,
    pub(super) free_inodes: U32<LE>,
    pub(super) first_data_block: U32<LE>,
    pub(super) log_block_size: U32<LE>,
    pub(super) log_cluster_size: U32<LE>,
    pub(super) blocks_per_group: U32<LE>,
    pub(super) clusters_per_group: U32<LE>,
    pub(super) inodes_per_group: U32<LE>,
    pub(super) mount_time: U32<LE>,
    pub(super) write_time: U32<LE>,
    pub(super) mount_count: U16<LE>,
    pub(super) max_mount_count: U16<LE>,
    pub(super) magic: U16<LE>,
    pub(super) state: U16<LE>,
    pub(super) errors: U16<LE>,
    pub(super) minor_revision: U16<LE>,
    pub(super) last_check: U32<LE>,
    pub(super) check_interval: U32<LE>,
    pub(super) creator_os: U32<LE>,
    pub(super) revision: U32<LE>,
    pub(super) reserved_uid: U16<LE>,
    pub(super) reserved_gid: U16<LE>,
    pub(super) first_inode: U32<LE>,
    pub(super) inode_size: U16<LE>,
    pub(super) group: U16<LE>,
    pub(super) compat: U32<LE>,
    pub(super) incompat: U32<LE>,
    pub(super) ro_compat: U32<LE>,
    pub(super) uuid: [u8; 16],
    pub(super) label: [u8; 16],
    pub(super) last_mounted: [u8; 64],
    pub(super) algorithms: U32<LE>,
    pub(super) preallocate_blocks: u8,
    pub(super) preallocate_directories: u8,
    pub(super) reserved_descriptor_blocks: U16<LE>,
    pub(super) journal_uuid: [u8; 16],
    pub(super) journal_inode: U32<LE>,
    pub(super) journal_device: U32<LE>,
    pub(super) last_orphan: U32<LE>,
    pub(super) hash_seed: [u8; 16],
    pub(super) hash_version: u8,
    pub(super) journal_backup_type: u8,
    pub(super) descriptor_size: U16<LE>,
    pub(super) mount_options: U32<LE>,
    pub(super) first_meta_group: U32<LE>,
    pub(super) made: U32<LE>,
    pub(super) journal_blocks: [u8; 68],
    pub(super) blocks_high: U32<LE>,
    pub(super) reserved_blocks_high: U32<LE>,
    pub(super) free_blocks_high: U32<LE>,
    pub(super) min_extra_size: U16<LE>,
    pub(super) want_extra_size: U16<LE>,
    pub(super) flags: U32<LE>,
    pub(super) raid_stride: U16<LE>,
    pub(super) mmp_interval: U16<LE>,
    pub(super) mmp_block: U64<LE>,
    pub(super) raid_stripe_width: U32<LE>,
    pub(super) log_groups_per_flex: u8,
    pub(super) checksum_type: u8,
    pub(super) encryption_level: u8,
    pub(super) reserved_pad: u8,
    pub(super) kilobytes_written: U64<LE>,
    pub(super) snapshots: [u8; 20],
    pub(super) error_log: [u8; 108],
    pub(super) mount_options_text: [u8; 64],
    pub(super) quota_inodes: [u8; 8],
    pub(super) overhead_blocks: U32<LE>,
    pub(super) backup_group_1: U32<LE>,
    pub(super) backup_group_2: U32<LE>,
    pub(super) encryption: [u8; 20],
    pub(super) lost_and_found: U32<LE>,
    pub(super) project_quota_inode: U32<LE>,
    pub(super) checksum_seed: U32<LE>,
    pub(super) times_high: [u8; 12],
    pub(super) rest: [u8; 380],
    pub(super) checksum: U32<LE>,
}

/// Group descriptor, the first half; 64-bit file systems have a second one.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawGroup {
    pub(super) block_bitmap: U32<LE>,
    pub(super) inode_bitmap: U32<LE>,
    pub(super) inode_table: U32<LE>,
    pub(super) free_blocks: U16<LE>,
    pub(super) free_inodes: U16<LE>,
    pub(super) directories: U16<LE>,
    pub(super) flags: U16<LE>,
    pub(super) exclude_bitmap: U32<LE>,
    pub(super) block_bitmap_checksum: U16<LE>,
    pub(super) inode_bitmap_checksum: U16<LE>,
    pub(super) unused_inodes: U16<LE>,
    pub(super) checksum: U16<LE>,
}

/// The second half of a group descriptor: the upper parts of the first.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawGroupHigh {
    pub(super) block_bitmap_high: U32<LE>,
    pub(super) inode_bitmap_high: U32<LE>,
    pub(super) inode_table_high: U32<LE>,
    pub(super) free_blocks_high: U16<LE>,
    pub(super) free_inodes_high: U16<LE>,
    pub(super) directories_high: U16<LE>,
    pub(super) unused_inodes_high: U16<LE>,
    pub(super) exclude_bitmap_high: U32<LE>,
    pub(super) block_bitmap_checksum_high: U16<LE>,
    pub(super) inode_bitmap_checksum_high: U16<LE>,
    pub(super) reserved: U32<LE>,
}

/// The first 128 bytes of an inode.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawInode {
    pub(super) mode: U16<LE>,
    pub(super) uid: U16<LE>,
    pub(super) size: U32<LE>,
    pub(super) atime: U32<LE>,
    pub(super) ctime: U32<LE>,
    pub(super) mtime: U32<LE>,
    pub(super) dtime: U32<LE>,
    pub(super) gid: U16<LE>,
    pub(super) links: U16<LE>,
    pub(super) sectors: U32<LE>,
    pub(super) flags: U32<LE>,
    pub(super) version: U32<LE>,
    pub(super) block: [u8; 60],
    pub(super) generation: U32<LE>,
    pub(super) xattr_block: U32<LE>,
    pub(super) size_high: U32<LE>,
    pub(super) fragment: U32<LE>,
    pub(super) sectors_high: U16<LE>,
    pub(super) xattr_block_high: U16<LE>,
    pub(super) uid_high: U16<LE>,
    pub(super) gid_high: U16<LE>,
    pub(super) checksum: U16<LE>,
    pub(super) reserved: U16<LE>,
}

/// What follows in larger inodes; `extra_size` says how much of it there is.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawExtra {
    pub(super) extra_size: U16<LE>,
    pub(super) checksum_high: U16<LE>,
    pub(super) ctime_extra: U32<LE>,
    pub(super) mtime_extra: U32<LE>,
    pub(super) atime_extra: U32<LE>,
    pub(super) crtime: U32<LE>,
    pub(super) crtime_extra: U32<LE>,
    pub(super) version_high: U32<LE>,
    pub(super) project: U32<LE>,
}

/// First 12 bytes of a node of an extent tree.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawNode {
    pub(super) magic: U16<LE>,
    pub(super) entries: U16<LE>,
    pub(super) most: U16<LE>,
    pub(super) depth: U16<LE>,
    pub(super) generation: U32<LE>,
}

/// An entry of a leaf.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawExtent {
    pub(super) logical: U32<LE>,
    pub(super) length: U16<LE>,
    pub(super) start_high: U16<LE>,
    pub(super) start: U32<LE>,
}

/// An entry of an inner node.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawIndex {
    pub(super) logical: U32<LE>,
    pub(super) node: U32<LE>,
    pub(super) node_high: U16<LE>,
    pub(super) unused: U16<LE>,
}

/// What a directory entry begins with; the name follows.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawDirEntry {
    pub(super) inode: U32<LE>,
    pub(super) length: U16<LE>,
    pub(super) name_length: u8,
    /// Without the feature the upper half of the length of the name, which is 0.
    pub(super) kind: u8,
}

const _: () = assert!(size_of::<RawSuper>() == 1024);
const _: () = assert!(std::mem::offset_of!(RawSuper, uuid) == 104);
const _: () = assert!(std::mem::offset_of!(RawSuper, hash_seed) == 236);
const _: () = assert!(std::mem::offset_of!(RawSuper, blocks_high) == 336);
const _: () = assert!(std::mem::offset_of!(RawSuper, mount_options_text) == 512);
const _: () = assert!(std::mem::offset_of!(RawSuper, backup_group_1) == 588);
const _: () = assert!(std::mem::offset_of!(RawSuper, checksum_seed) == 624);
const _: () = assert!(size_of::<RawGroup>() == 32 && size_of::<RawGroupHigh>() == 32);
const _: () = assert!(size_of::<RawInode>() == 128 && size_of::<RawExtra>() == 32);
