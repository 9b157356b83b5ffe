//! Bytes to groups, inodes and blocks. Every field is checked before it is believed.

use std::collections::BTreeSet;

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::layout::{
    EXTENT_MAGIC, EXTENTS, INLINE, MAGIC, MOST_WRITTEN, RawExtent, RawExtra, RawGroup, RawGroupHigh,
    RawIndex, RawInode, RawNode, RawSuper, SUPERBLOCK, feature,
};
use crate::io::{ReadAt, ReadError, wide};

/// Deepest extent tree: Linux has at most 5.
const DEEPEST: u16 = 5;
/// Most groups: 16 TiB of blocks of 4 KiB.
const MOST_GROUPS: u64 = 1 << 17;

/// The rule that was broken, with the values that broke it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// There is no superblock.
    #[error("signature of the superblock is {0:#x}")]
    Signature(u16),
    /// A size that no file system has.
    #[error("{field} is {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The file system is larger than the image.
    #[error("{need} bytes of file system in an image of {have} bytes")]
    Truncated {
        /// Bytes the superblock asks for.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// A block outside of the file system.
    #[error("block {block} of {blocks}")]
    Block {
        /// The block.
        block: u64,
        /// Blocks of the file system.
        blocks: u64,
    },
    /// An inode that there is not.
    #[error("inode {inode} of {inodes}")]
    Inode {
        /// The inode.
        inode: u32,
        /// Inodes of the file system.
        inodes: u32,
    },
    /// A node of an extent tree that is none, or deeper than its parent allows.
    #[error("node of an extent tree with signature {magic:#x}, depth {depth}, {entries} entries")]
    Node {
        /// Its signature.
        magic: u16,
        /// Its depth.
        depth: u16,
        /// Its entries.
        entries: u16,
    },
    /// A directory entry that is shorter than its name, or crosses its block.
    #[error("directory entry of {length} bytes with a name of {name} bytes")]
    Entry {
        /// Its length.
        length: u16,
        /// That of its name.
        name: u8,
    },
    /// A directory is reached twice.
    #[error("directory {0} is reached twice")]
    Loop(u32),
    /// Blocks that are used so often that reading them would never end.
    #[error("structures are larger than the image")]
    Flood,
}

/// Why a file system could not be read.
pub type Ext4Error = ReadError<Corruption>;

pub(super) type Result<T> = std::result::Result<T, Ext4Error>;

/// What the superblock says, and where the groups are.
pub(super) struct Volume {
    pub(super) raw: RawSuper,
    /// Bytes of a block.
    pub(super) block: u64,
    pub(super) blocks: u64,
    pub(super) inode_size: u64,
    pub(super) descriptor_size: u64,
    pub(super) groups: Vec<Group>,
}

/// Where the parts of a group lie, as block numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
}

fn corrupt(at: u64, kind: Corruption) -> Ext4Error {
    ReadError::Corrupt { at, kind }
}

pub(super) fn fill(source: &(impl ReadAt + ?Sized), buf: &mut [u8], at: u64) -> Result<()> {
    let len = wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source| ReadError::Io { at, len, source })
}

fn take<T: FromBytes + IntoBytes>(source: &(impl ReadAt + ?Sized), at: u64) -> Result<T> {
    let mut raw = T::new_zeroed();
    fill(source, raw.as_mut_bytes(), at)?;
    Ok(raw)
}

impl Volume {
    /// Reads superblock and group descriptors.
    pub(super) fn open(source: &(impl ReadAt + ?Sized)) -> Result<Self> {
        let have = source.size().map_err(|source| ReadError::Io { at: 0, len: 0, source })?;
        if have < 2 * SUPERBLOCK {
            return Err(corrupt(0, Corruption::Truncated { need: 2 * SUPERBLOCK, have }));
        }
        let raw: RawSuper = take(source, SUPERBLOCK)?;
        let bad = |field, value| corrupt(SUPERBLOCK, Corruption::Field { field, value });
        if raw.magic.get() != MAGIC {
            return Err(corrupt(SUPERBLOCK, Corruption::Signature(raw.magic.get())));
        }
        let log = raw.log_block_size.get();
        if log > 6 {
            return Err(bad("log_block_size", log.into()));
        }
        let incompat = raw.incompat.get();
        let known = feature::FILETYPE | feature::RECOVER | feature::WIDE | feature::HARMLESS;
        if incompat & feature::META_BG != 0 {
            return Err(ReadError::Unsupported {
                at: SUPERBLOCK,
                feature: "descriptors in their groups (meta_bg)",
            });
        }
        if incompat & !known != 0 {
            return Err(ReadError::Unsupported {
                at: SUPERBLOCK,
                feature: "an unknown incompatible feature",
            });
        }
        let block = 1024 << log;
        let is_wide = incompat & feature::WIDE != 0;
        let high = if is_wide { u64::from(raw.blocks_high.get()) << 32 } else { 0 };
        let blocks = high | u64::from(raw.blocks.get());
        let need = blocks.saturating_mul(block);
        if need > have {
            return Err(corrupt(SUPERBLOCK, Corruption::Truncated { need, have }));
        }
        let cluster = raw.log_cluster_size.get();
        let bits = match cluster.checked_sub(log).filter(|_| raw.ro_compat.get() & feature::BIGALLOC != 0) {
            // Clusters have at most 2^30 blocks in Linux, too.
            Some(more) if more <= 30 => (8 * block) << more,
            Some(_) => return Err(bad("log_cluster_size", cluster.into())),
            None => 8 * block,
        };
        let per_group = u64::from(raw.blocks_per_group.get());
        if per_group == 0 || per_group > bits {
            return Err(bad("blocks_per_group", per_group));
        }
        let inode_size = if raw.revision.get() == 0 { 128 } else { u64::from(raw.inode_size.get()) };
        if !(128..=block).contains(&inode_size) || !inode_size.is_power_of_two() {
            return Err(bad("inode_size", inode_size));
        }
        let inodes = u64::from(raw.inodes_per_group.get());
        if inodes == 0 || inodes > 8 * block {
            return Err(bad("inodes_per_group", inodes));
        }
        let descriptor_size = if is_wide { u64::from(raw.descriptor_size.get()) } else { 32 };
        if !(32..=block).contains(&descriptor_size) || !descriptor_size.is_power_of_two() {
            return Err(bad("descriptor_size", descriptor_size));
        }
        let first = u64::from(raw.first_data_block.get());
        let count = blocks.saturating_sub(first).div_ceil(per_group);
        if first >= blocks || count > MOST_GROUPS || u64::from(raw.inodes.get()) > count * inodes {
            return Err(bad("blocks", blocks));
        }
        let mut volume = Self { raw, block, blocks, inode_size, descriptor_size, groups: Vec::new() };
        for group in 0..count {
            volume.groups.push(volume.group(source, volume.descriptors_at() + group * descriptor_size)?);
        }
        Ok(volume)
    }

    fn group(&self, source: &(impl ReadAt + ?Sized), at: u64) -> Result<Group> {
        let low: RawGroup = take(source, at)?;
        let mut high = RawGroupHigh::new_zeroed();
        if self.descriptor_size >= 64 {
            fill(source, high.as_mut_bytes(), at + 32)?;
        }
        let both = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        Ok(Group {
            block_bitmap: both(low.block_bitmap.get(), high.block_bitmap_high.get()),
            inode_bitmap: both(low.inode_bitmap.get(), high.inode_bitmap_high.get()),
            inode_table: both(low.inode_table.get(), high.inode_table_high.get()),
        })
    }

    /// First byte of the group descriptors: they follow on the block of the superblock, which with clusters of several small
    /// blocks is not the first one that counts.
    pub(super) fn descriptors_at(&self) -> u64 {
        (SUPERBLOCK / self.block + 1) * self.block
    }

    /// Bytes of the group descriptors, in whole blocks.
    pub(super) fn descriptor_bytes(&self) -> u64 {
        (wide(self.groups.len()) * self.descriptor_size).next_multiple_of(self.block)
    }

    /// Bytes of one group's inode table.
    pub(super) fn table_bytes(&self) -> u64 {
        (u64::from(self.raw.inodes_per_group.get()) * self.inode_size).next_multiple_of(self.block)
    }

    /// First byte of a group.
    pub(super) fn group_at(&self, group: u64) -> u64 {
        (u64::from(self.raw.first_data_block.get()) + group * u64::from(self.raw.blocks_per_group.get()))
            * self.block
    }

    /// Whether a group has a copy of superblock and descriptors.
    pub(super) fn has_copy(&self, group: u64) -> bool {
        let power = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        if self.raw.compat.get() & feature::SPARSE_SUPER_2 != 0 {
            let copies = [self.raw.backup_group_1.get(), self.raw.backup_group_2.get()];
            return group == 0 || copies.into_iter().any(|one| u64::from(one) == group);
        }
        if self.raw.ro_compat.get() & feature::SPARSE_SUPER == 0 {
            return true;
        }
        group <= 1 || power(3) || power(5) || power(7)
    }

    /// Offset of a block that is inside of the file system.
    pub(super) fn offset(&self, at: u64, block: u64) -> Result<u64> {
        let blocks = self.blocks;
        if block >= blocks {
            return Err(corrupt(at, Corruption::Block { block, blocks }));
        }
        Ok(block * self.block)
    }

    /// Where an inode lies.
    pub(super) fn inode_at(&self, inode: u32) -> Result<u64> {
        let (inodes, per_group) = (self.raw.inodes.get(), self.raw.inodes_per_group.get());
        let bad = || corrupt(SUPERBLOCK, Corruption::Inode { inode, inodes });
        let index = inode.checked_sub(1).filter(|_| inode <= inodes).ok_or_else(bad)?;
        let group = usize::try_from(index / per_group).ok().and_then(|group| self.groups.get(group));
        let table = self.offset(SUPERBLOCK, group.ok_or_else(bad)?.inode_table)?;
        let at = table + u64::from(index % per_group) * self.inode_size;
        let have = self.blocks * self.block;
        if at + self.inode_size > have {
            return Err(corrupt(SUPERBLOCK, Corruption::Truncated { need: at + self.inode_size, have }));
        }
        Ok(at)
    }
}

/// An inode.
pub(super) struct Inode {
    pub(super) number: u32,
    pub(super) at: u64,
    pub(super) raw: RawInode,
}

/// Blocks of an inode.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    /// Number of the first block in the file, of the first on the disk, and how many; ascending in the file.
    pub(super) runs: Vec<(u64, u64, u64)>,
    /// Blocks that hold numbers of blocks.
    pub(super) nodes: Vec<u64>,
}

impl Inode {
    pub(super) fn read(source: &(impl ReadAt + ?Sized), volume: &Volume, number: u32) -> Result<Self> {
        let at = volume.inode_at(number)?;
        Ok(Self { number, at, raw: take(source, at)? })
    }

    /// Type bits of the mode.
    pub(super) fn kind(&self) -> u16 {
        self.raw.mode.get() & 0o170_000
    }

    pub(super) fn size(&self) -> u64 {
        // For anything but files and directories the upper half was something else once.
        let high = if matches!(self.kind(), 0o100_000 | 0o040_000) { self.raw.size_high.get() } else { 0 };
        u64::from(high) << 32 | u64::from(self.raw.size.get())
    }

    /// Block with extended attributes, if there is one.
    pub(super) fn xattr_block(&self) -> Option<u64> {
        let block = u64::from(self.raw.xattr_block_high.get()) << 32 | u64::from(self.raw.xattr_block.get());
        (block != 0).then_some(block)
    }

    /// Whether the content lies in the inode itself.
    pub(super) fn is_inline(&self) -> bool {
        // A short target takes the place of the block numbers.
        let short = self.kind() == 0o120_000 && self.size() < 60 && self.raw.flags.get() & EXTENTS == 0;
        self.raw.flags.get() & INLINE != 0 || short
    }

    /// Where its blocks are. Blocks that were never written are left out, as holes are. Nodes come into `seen`: none is read
    /// twice, for whichever inode.
    pub(super) fn map(
        &self,
        source: &(impl ReadAt + ?Sized),
        volume: &Volume,
        seen: &mut BTreeSet<u64>,
    ) -> Result<Mapped> {
        let mut mapped = Mapped::default();
        if self.is_inline() || !matches!(self.kind(), 0o100_000 | 0o040_000 | 0o120_000 | 0) {
            return Ok(mapped);
        }
        let mut walk = Walk { source, volume, at: self.at, mapped: &mut mapped, seen };
        if self.raw.flags.get() & EXTENTS != 0 {
            walk.extents(&self.raw.block, DEEPEST)?;
        } else {
            let mut logical = 0;
            for (index, number) in self.raw.block.chunks_exact(4).enumerate() {
                let number = u32::from_le_bytes([number[0], number[1], number[2], number[3]]);
                walk.indirect(u64::from(number), index.saturating_sub(11), &mut logical)?;
            }
        }
        mapped.runs.sort_unstable();
        Ok(mapped)
    }
}

struct Walk<'a, R: ?Sized> {
    source: &'a R,
    volume: &'a Volume,
    at: u64,
    mapped: &'a mut Mapped,
    seen: &'a mut BTreeSet<u64>,
}

impl<R: ReadAt + ?Sized> Walk<'_, R> {
    fn node(&mut self, block: u64) -> Result<Vec<u8>> {
        let at = self.volume.offset(self.at, block)?;
        if !self.seen.insert(block) {
            return Err(corrupt(at, Corruption::Flood));
        }
        self.mapped.nodes.push(block);
        let mut bytes = vec![0; usize::try_from(self.volume.block).expect("at most 64 KiB")];
        fill(self.source, &mut bytes, at)?;
        Ok(bytes)
    }

    fn run(&mut self, logical: u64, start: u64, count: u64) -> Result<()> {
        if count > 0 {
            self.volume.offset(self.at, start)?;
            self.volume.offset(self.at, start.saturating_add(count - 1))?;
            match self.mapped.runs.last_mut() {
                Some((first, at, len)) if *first + *len == logical && *at + *len == start => *len += count,
                _ => self.mapped.runs.push((logical, start, count)),
            }
        }
        Ok(())
    }

    /// A node whose depth is at most `deepest`.
    fn extents(&mut self, bytes: &[u8], deepest: u16) -> Result<()> {
        let at = self.at;
        let Ok((head, rest)) = RawNode::read_from_prefix(bytes) else { return Ok(()) };
        let (magic, depth, entries) = (head.magic.get(), head.depth.get(), head.entries.get());
        let room = rest.len() / 12;
        if magic != EXTENT_MAGIC || depth > deepest || usize::from(entries) > room {
            return Err(corrupt(at, Corruption::Node { magic, depth, entries }));
        }
        for entry in rest.chunks_exact(12).take(usize::from(entries)) {
            if depth > 0 {
                let Ok(index) = RawIndex::read_from_bytes(entry) else { continue };
                let block = u64::from(index.node_high.get()) << 32 | u64::from(index.node.get());
                let node = self.node(block)?;
                self.extents(&node, depth - 1)?;
            } else if let Ok(extent) = RawExtent::read_from_bytes(entry) {
                let start = u64::from(extent.start_high.get()) << 32 | u64::from(extent.start.get());
                let length = extent.length.get();
                if length <= MOST_WRITTEN {
                    self.run(extent.logical.get().into(), start, length.into())?;
                }
            }
        }
        Ok(())
    }

    /// A block number that leads to data through `depth` more blocks.
    fn indirect(&mut self, block: u64, depth: usize, logical: &mut u64) -> Result<()> {
        if depth == 0 {
            if block != 0 {
                self.run(*logical, block, 1)?;
            }
            *logical += 1;
            return Ok(());
        }
        if block == 0 {
            let per_block = self.volume.block / 4;
            *logical += per_block.pow(u32::try_from(depth).expect("at most 3"));
            return Ok(());
        }
        for number in self.node(block)?.chunks_exact(4) {
            let number = u32::from_le_bytes([number[0], number[1], number[2], number[3]]);
            self.indirect(u64::from(number), depth - 1, logical)?;
        }
        Ok(())
    }
}

/// The parts of an inode that only larger ones have.
pub(super) fn extra(bytes: &[u8]) -> Option<RawExtra> {
    let (raw, _) = RawExtra::read_from_prefix(bytes.get(128..)?).ok()?;
    (raw.extra_size.get() >= 24).then_some(raw)
}
