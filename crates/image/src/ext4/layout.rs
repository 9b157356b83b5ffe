//! The structures as they lie on disk, all little-endian.

use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::extent::{Field, Role};
use crate::io::wide;
use crate::raw::Show;

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
    /// ro_compat: a bit of a block bitmap is for several blocks.
    pub(in crate::ext4) const BIGALLOC: u32 = 0x200;
}

/// Inode flag: blocks are given as extents.
pub(super) const EXTENTS: u32 = 0x8_0000;
/// Inode flag: the content lies in the inode.
pub(super) const INLINE: u32 = 0x1000_0000;
/// `magic` of a node of an extent tree.
pub(super) const EXTENT_MAGIC: u16 = 0xf30a;
/// An extent with more blocks than that has so many less, which were never written.
pub(super) const MOST_WRITTEN: u16 = 0x8000;

/// A structure that can say what it holds: all its fields, as values of their own.
macro_rules! with_fields {
    ($(#[$meta:meta])* struct $name:ident { $($field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $ty,)* }

        impl $name {
            pub(super) fn fields(&self) -> Vec<Field> {
                vec![$(Field {
                    at: wide(std::mem::offset_of!($name, $field)),
                    len: wide(size_of::<$ty>()),
                    name: stringify!($field).into(),
                    value: self.$field.show(),
                    role: Role::Value,
                },)*]
            }
        }
    };
}

with_fields! {
    /// Superblock.
    struct RawSuper {
        inodes: U32<LE>,
        blocks: U32<LE>,
        reserved_blocks: U32<LE>,
        free_blocks: U32<LE>,
        free_inodes: U32<LE>,
        first_data_block: U32<LE>,
        log_block_size: U32<LE>,
        log_cluster_size: U32<LE>,
        blocks_per_group: U32<LE>,
        clusters_per_group: U32<LE>,
        inodes_per_group: U32<LE>,
        mount_time: U32<LE>,
        write_time: U32<LE>,
        mount_count: U16<LE>,
        max_mount_count: U16<LE>,
        magic: U16<LE>,
        state: U16<LE>,
        errors: U16<LE>,
        minor_revision: U16<LE>,
        last_check: U32<LE>,
        check_interval: U32<LE>,
        creator_os: U32<LE>,
        revision: U32<LE>,
        reserved_uid: U16<LE>,
        reserved_gid: U16<LE>,
        first_inode: U32<LE>,
        inode_size: U16<LE>,
        group: U16<LE>,
        compat: U32<LE>,
        incompat: U32<LE>,
        ro_compat: U32<LE>,
        uuid: [u8; 16],
        label: [u8; 16],
        last_mounted: [u8; 64],
        algorithms: U32<LE>,
        preallocate_blocks: u8,
        preallocate_directories: u8,
        reserved_descriptor_blocks: U16<LE>,
        journal_uuid: [u8; 16],
        journal_inode: U32<LE>,
        journal_device: U32<LE>,
        last_orphan: U32<LE>,
        hash_seed: [u8; 16],
        hash_version: u8,
        journal_backup_type: u8,
        descriptor_size: U16<LE>,
        mount_options: U32<LE>,
        first_meta_group: U32<LE>,
        made: U32<LE>,
        journal_blocks: [u8; 68],
        blocks_high: U32<LE>,
        reserved_blocks_high: U32<LE>,
        free_blocks_high: U32<LE>,
        min_extra_size: U16<LE>,
        want_extra_size: U16<LE>,
        flags: U32<LE>,
        raid_stride: U16<LE>,
        mmp_interval: U16<LE>,
        mmp_block: U64<LE>,
        raid_stripe_width: U32<LE>,
        log_groups_per_flex: u8,
        checksum_type: u8,
        encryption_level: u8,
        reserved_pad: u8,
        kilobytes_written: U64<LE>,
        snapshots: [u8; 20],
        error_log: [u8; 108],
        mount_options_text: [u8; 64],
        quota_inodes: [u8; 8],
        overhead_blocks: U32<LE>,
        backup_group_1: U32<LE>,
        backup_group_2: U32<LE>,
        encryption: [u8; 20],
        lost_and_found: U32<LE>,
        project_quota_inode: U32<LE>,
        checksum_seed: U32<LE>,
        times_high: [u8; 12],
        rest: [u8; 380],
        checksum: U32<LE>,
    }
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

with_fields! {
    /// The first 128 bytes of an inode.
    struct RawInode {
        mode: U16<LE>,
        uid: U16<LE>,
        size: U32<LE>,
        atime: U32<LE>,
        ctime: U32<LE>,
        mtime: U32<LE>,
        dtime: U32<LE>,
        gid: U16<LE>,
        links: U16<LE>,
        sectors: U32<LE>,
        flags: U32<LE>,
        version: U32<LE>,
        block: [u8; 60],
        generation: U32<LE>,
        xattr_block: U32<LE>,
        size_high: U32<LE>,
        fragment: U32<LE>,
        sectors_high: U16<LE>,
        xattr_block_high: U16<LE>,
        uid_high: U16<LE>,
        gid_high: U16<LE>,
        checksum: U16<LE>,
        reserved: U16<LE>,
    }
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

/// First 32 bytes of a block of extended attributes.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawAttributeBlock {
    pub(super) magic: U32<LE>,
    /// Inodes that have these attributes.
    pub(super) references: U32<LE>,
    pub(super) blocks: U32<LE>,
    pub(super) hash: U32<LE>,
    pub(super) checksum: U32<LE>,
    pub(super) reserved: [u8; 12],
}

/// What an extended attribute begins with; the name follows.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawAttribute {
    pub(super) name_length: u8,
    pub(super) index: u8,
    pub(super) value_offset: U16<LE>,
    pub(super) value_inode: U32<LE>,
    pub(super) value_size: U32<LE>,
    pub(super) hash: U32<LE>,
}

const _: () = assert!(size_of::<RawAttributeBlock>() == 32 && size_of::<RawAttribute>() == 16);
const _: () = assert!(size_of::<RawSuper>() == 1024);
const _: () = assert!(std::mem::offset_of!(RawSuper, uuid) == 104);
const _: () = assert!(std::mem::offset_of!(RawSuper, hash_seed) == 236);
const _: () = assert!(std::mem::offset_of!(RawSuper, blocks_high) == 336);
const _: () = assert!(std::mem::offset_of!(RawSuper, mount_options_text) == 512);
const _: () = assert!(std::mem::offset_of!(RawSuper, backup_group_1) == 588);
const _: () = assert!(std::mem::offset_of!(RawSuper, checksum_seed) == 624);
const _: () = assert!(size_of::<RawGroup>() == 32 && size_of::<RawGroupHigh>() == 32);
const _: () = assert!(size_of::<RawInode>() == 128 && size_of::<RawExtra>() == 32);
