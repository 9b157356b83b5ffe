//! Which byte of a file system is whose.

use std::collections::BTreeSet;

use super::attributes;
use super::layout::{
    EXTENT_MAGIC, EXTENTS, INLINE, RESERVED, ROOT, RawDirEntry, RawExtent, RawExtra, RawGroup, RawGroupHigh,
    RawIndex, RawInode, RawNode, RawSuper, SUPERBLOCK,
};
use super::read::{Corruption, Ext4Error, Inode, Mapped, Volume, extra, fill};
use crate::extent::{
    Container, Field, LONGEST_PATH, Owner, Parsed, Role, Source, Structure, Unreadable, dated, fields_of,
    prefixed, uuid,
};
use crate::io::{ReadError, wide};
use crate::raw::show_bytes;

const FORMAT: &str = "ext4";

static BOOT: Structure = Structure::plain("boot area");
static SUPER: Structure = Structure { name: "superblock", fields: superblock };
static SUPER_COPY: Structure = Structure { name: "backup superblock", fields: superblock };
static GROUPS: Structure = Structure { name: "group descriptors", fields: groups_32 };
static GROUPS_WIDE: Structure = Structure { name: "group descriptors", fields: groups_64 };
static GROUPS_COPY: Structure = Structure { name: "backup group descriptors", fields: groups_32 };
static GROUPS_COPY_WIDE: Structure = Structure { name: "backup group descriptors", fields: groups_64 };
static RESERVED_GROUPS: Structure = Structure::plain("reserved group descriptors");
static BLOCK_BITMAP: Structure = Structure::plain("block bitmap");
static INODE_BITMAP: Structure = Structure::plain("inode bitmap");
static INODE: Structure = Structure { name: "inode", fields: inode };
static FREE_INODES: Structure = Structure::plain("free inodes");
static DIRECTORY: Structure = Structure { name: "directory block", fields: directory };
static NODE: Structure = Structure { name: "extent tree block", fields: node };
static INDIRECT: Structure = Structure::plain("indirect block");
static XATTRS: Structure = Structure { name: "extended attributes", fields: attributes::in_block };
static TARGET: Structure = Structure::plain("target");
static DATA: Structure = Structure::plain("data");
static SLACK: Structure = Structure::plain("slack of the last block");
static JOURNAL: Structure = Structure::plain("journal");
static FREE: Structure = Structure::plain("free blocks");
static BEHIND: Structure = Structure::plain("data behind the file system");

/// The structure of a file system.
///
/// # Errors
/// If the superblock cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let found = Container::new(FORMAT, source)?;
    let volume = Volume::open(source).map_err(|error| Unreadable::new(FORMAT, &error))?;
    let mut claims = Claims {
        source,
        volume: &volume,
        inodes: BTreeSet::new(),
        nodes: BTreeSet::new(),
        left: found.size().saturating_mul(2),
        found,
    };
    claims.all();
    Ok(claims.found.finish())
}

struct Claims<'a> {
    source: &'a Source,
    volume: &'a Volume,
    found: Container,
    /// Inodes that were reached.
    inodes: BTreeSet<u32>,
    /// Blocks that lead to others.
    nodes: BTreeSet<u64>,
    /// Bytes of directories that may still be read: an honest image has fewer than its size.
    left: u64,
}

/// An entry of a directory that is still to be looked at.
struct Waiting {
    inode: u32,
    path: Vec<u8>,
}

impl Claims<'_> {
    fn all(&mut self) {
        self.groups();
        let mut waiting = vec![Waiting { inode: ROOT, path: b"/".to_vec() }];
        waiting.extend(
            RESERVED
                .iter()
                .map(|(inode, name)| Waiting { inode: *inode, path: format!("<{name}>").into_bytes() }),
        );
        self.inodes.extend(waiting.iter().map(|entry| entry.inode));
        while let Some(next) = waiting.pop() {
            if let Err(error) = self.inode(&next, &mut waiting) {
                self.found.note(&error);
            }
        }
        let volume = self.volume;
        for group in &volume.groups {
            let at = group.inode_table.saturating_mul(volume.block);
            self.found.claim_own(at, volume.table_bytes(), &FREE_INODES);
        }
        let end = volume.blocks * volume.block;
        self.found.claim_own(0, SUPERBLOCK, &BOOT);
        self.found.claim_own(0, end, &FREE);
        self.found.claim_own(end, self.found.size() - end, &BEHIND);
    }

    /// Superblocks, descriptors and bitmaps.
    fn groups(&mut self) {
        let Volume { block, descriptor_size, .. } = *self.volume;
        let wide_descriptors = descriptor_size >= 64;
        for (number, group) in (0..).zip(&self.volume.groups) {
            let base = self.volume.group_at(number);
            if self.volume.has_copy(number) {
                // The first one is at the same byte, whatever the size of a block.
                let (at, superblock) = if number == 0 { (SUPERBLOCK, &SUPER) } else { (base, &SUPER_COPY) };
                self.found.claim_own(at, 1024, superblock);
                let descriptors = match (number, wide_descriptors) {
                    (0, false) => &GROUPS,
                    (0, true) => &GROUPS_WIDE,
                    (_, false) => &GROUPS_COPY,
                    (_, true) => &GROUPS_COPY_WIDE,
                };
                let at = if number == 0 { self.volume.descriptors_at() } else { base + block };
                let len = self.volume.descriptor_bytes();
                self.found.claim_own(at, len, descriptors);
                let reserved = u64::from(self.volume.raw.reserved_descriptor_blocks.get()) * block;
                self.found.claim_own(at + len, reserved, &RESERVED_GROUPS);
            }
            for (at, structure) in [(group.block_bitmap, &BLOCK_BITMAP), (group.inode_bitmap, &INODE_BITMAP)]
            {
                self.found.claim_own(at.saturating_mul(block), block, structure);
            }
        }
    }

    /// Claims an inode and everything that belongs to it.
    fn inode(&mut self, entry: &Waiting, waiting: &mut Vec<Waiting>) -> Result<(), Ext4Error> {
        let volume = self.volume;
        let inode = Inode::read(self.source, volume, entry.inode)?;
        let owner = self.found.owner(&entry.path);
        self.found.claim(inode.at, volume.inode_size, &INODE, owner);
        if let Some(block) = inode.xattr_block() {
            let at = volume.offset(inode.at, block)?;
            self.found.claim(at, volume.block, &XATTRS, owner);
        }
        let mapped = inode.map(self.source, volume, &mut self.nodes)?;
        let node = if inode.raw.flags.get() & EXTENTS != 0 { &NODE } else { &INDIRECT };
        for block in &mapped.nodes {
            self.found.claim(block * volume.block, volume.block, node, owner);
        }
        match (inode.kind(), entry.inode) {
            (0o040_000, _) => self.directory(&inode, &mapped, entry, owner, waiting),
            (_, 8) => {
                self.claim_runs(&mapped, &JOURNAL, owner);
                Ok(())
            }
            (0o120_000, _) => {
                self.claim_runs(&mapped, &TARGET, owner);
                Ok(())
            }
            (0o100_000, _) => {
                self.file(&inode, &mapped, owner);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn claim_runs(&mut self, mapped: &Mapped, structure: &'static Structure, owner: Owner) {
        let block = self.volume.block;
        for (_, start, count) in &mapped.runs {
            self.found.claim(start * block, count * block, structure, owner);
        }
    }

    /// Claims the bytes of a file; holes are members of it only.
    fn file(&mut self, inode: &Inode, mapped: &Mapped, owner: Owner) {
        let (block, size) = (self.volume.block, inode.size());
        if size == 0 || inode.is_inline() {
            return;
        }
        let (file, mut done) = (self.found.file(owner), 0);
        for (logical, start, count) in &mapped.runs {
            let (from, start, len) = (logical * block, start * block, count * block);
            let used = len.min(size.saturating_sub(from));
            if from < done || used == 0 {
                // Runs that overlap in the file are damage; the first one counts.
                self.found.claim(start, used, &DATA, owner);
            } else {
                self.found.hole(file, from - done);
                self.found.data(file, start, used, &DATA);
                done = from + used;
            }
            self.found.claim(start + used, len - used, &SLACK, owner);
        }
        self.found.hole(file, size.saturating_sub(done));
    }

    fn directory(
        &mut self,
        inode: &Inode,
        mapped: &Mapped,
        entry: &Waiting,
        owner: Owner,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), Ext4Error> {
        let block = self.volume.block;
        let below = waiting.len();
        for (_, start, count) in &mapped.runs {
            for number in *start..start + count {
                let at = number * block;
                self.found.claim(at, block, &DIRECTORY, owner);
                let left = self.left.checked_sub(block);
                self.left = left.ok_or(ReadError::Corrupt { at, kind: Corruption::Flood })?;
                let mut bytes = vec![0; usize::try_from(block).expect("at most 64 KiB")];
                fill(self.source, &mut bytes, at)?;
                for (_, raw, name) in entries(&bytes) {
                    let known = raw.inode.get() == 0 || matches!(name, b"." | b".." | b"");
                    if known || !self.inodes.insert(raw.inode.get()) {
                        continue;
                    }
                    let slash = if entry.path.ends_with(b"/") { &b""[..] } else { b"/" };
                    let path = [&entry.path, slash, name].concat();
                    if path.len() > LONGEST_PATH {
                        return Err(ReadError::Corrupt { at, kind: Corruption::Loop(inode.number) });
                    }
                    waiting.push(Waiting { inode: raw.inode.get(), path });
                }
            }
        }
        waiting[below..].reverse();
        Ok(())
    }
}

/// The entries of a directory block: offset, fixed part and name. It ends where an entry cannot be one.
fn entries(bytes: &[u8]) -> impl Iterator<Item = (usize, RawDirEntry, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let (raw, tail) = <RawDirEntry as zerocopy::FromBytes>::read_from_prefix(rest).ok()?;
        let length = usize::from(raw.length.get());
        // A block of 64 KiB has no other way to say so.
        let length = if length == 0 || length == 0xffff { rest.len() } else { length };
        let name = tail.get(..usize::from(raw.name_length))?;
        if length < 8 + name.len() || length > rest.len() {
            return None;
        }
        let start = at;
        at += length;
        Some((start, raw, name))
    })
}

fn superblock(bytes: &[u8]) -> Vec<Field> {
    let Ok((raw, _)) = <RawSuper as zerocopy::FromBytes>::read_from_prefix(bytes) else { return Vec::new() };
    let mut all = raw.fields();
    for field in &mut all {
        match &*field.name {
            "mount_time" | "write_time" | "last_check" | "made" => dated(field),
            "uuid" => field.value = uuid(&raw.uuid),
            "journal_uuid" => field.value = uuid(&raw.journal_uuid),
            "hash_seed" => field.value = uuid(&raw.hash_seed),
            "free_blocks" | "free_blocks_high" | "free_inodes" | "journal_blocks" | "overhead_blocks" => {
                field.role = Role::Place;
            }
            "checksum" => field.role = Role::Checksum,
            _ => {}
        }
    }
    all
}

fn groups(bytes: &[u8], size: usize) -> Vec<Field> {
    let mut all = Vec::new();
    for (number, raw) in bytes.chunks_exact(size).enumerate() {
        let at = wide(number * size);
        let mut fields = fields_of!(
            raw,
            at,
            RawGroup {
                block_bitmap Place,
                inode_bitmap Place,
                inode_table Place,
                free_blocks Place,
                free_inodes Place,
                directories Place,
                flags,
                exclude_bitmap Place,
                block_bitmap_checksum Checksum,
                inode_bitmap_checksum Checksum,
                unused_inodes Place,
                checksum Checksum,
            }
        );
        if size >= 64 {
            fields.extend(fields_of!(
                &raw[32..],
                at + 32,
                RawGroupHigh {
                    block_bitmap_high Place,
                    inode_bitmap_high Place,
                    inode_table_high Place,
                    free_blocks_high Place,
                    free_inodes_high Place,
                    directories_high Place,
                    unused_inodes_high Place,
                    exclude_bitmap_high Place,
                    block_bitmap_checksum_high Checksum,
                    inode_bitmap_checksum_high Checksum,
                    reserved,
                }
            ));
        }
        all.extend(fields.into_iter().map(|field| prefixed(field, &format!("group {number}"))));
    }
    all
}

fn groups_32(bytes: &[u8]) -> Vec<Field> {
    groups(bytes, 32)
}

fn groups_64(bytes: &[u8]) -> Vec<Field> {
    groups(bytes, 64)
}

fn inode(bytes: &[u8]) -> Vec<Field> {
    let Ok((raw, _)) = <RawInode as zerocopy::FromBytes>::read_from_prefix(bytes) else { return Vec::new() };
    let mut all = raw.fields();
    let more = extra(bytes);
    if let Some(more) = &more {
        all.extend(fields_of!(
            &bytes[128..],
            128,
            RawExtra {
                extra_size,
                checksum_high Checksum,
                ctime_extra,
                mtime_extra,
                atime_extra,
                crtime,
                crtime_extra,
                version_high,
                project,
            }
        ));
        let end = 128 + usize::from(more.extra_size.get());
        all.extend(attributes::in_inode(bytes, end));
    }
    let high = |pick: fn(&RawExtra) -> u32| more.as_ref().map(pick);
    for field in &mut all {
        match &*field.name {
            "mode" => field.value = format!("{:#o}", raw.mode.get()),
            "size" | "size_high" | "sectors" | "sectors_high" | "xattr_block" | "xattr_block_high" => {
                field.role = Role::Place;
            }
            "checksum" => field.role = Role::Checksum,
            "dtime" => dated(field),
            "atime" => time(field, high(|more| more.atime_extra.get())),
            "ctime" => time(field, high(|more| more.ctime_extra.get())),
            "mtime" => time(field, high(|more| more.mtime_extra.get())),
            "crtime" => time(field, high(|more| more.crtime_extra.get())),
            // The lower two bits are those that the seconds lack, the others nanoseconds.
            "ctime_extra" | "mtime_extra" | "atime_extra" | "crtime_extra" => {
                if let Ok(number) = field.value.parse::<u32>() {
                    field.value = format!("{} ns, epoch {}", number >> 2, number & 3);
                }
            }
            "block" => block(field, &raw),
            _ => {}
        }
    }
    all
}

/// Seconds since 1970: signed, with two more bits beside the nanoseconds in inodes that have room for these.
fn time(field: &mut Field, extra: Option<u32>) {
    let Ok(low) = field.value.parse::<u32>() else { return };
    let epoch = i64::from(extra.unwrap_or(0) & 3) << 32;
    let seconds = i64::from(low.cast_signed()) + epoch;
    field.value = match u32::try_from(seconds) {
        Ok(seconds) => format!("{} ({seconds})", crate::epoch::civil(seconds)),
        Err(_) => seconds.to_string(),
    };
}

/// What lies where the numbers of blocks do.
fn block(field: &mut Field, raw: &RawInode) {
    let kind = raw.mode.get() & 0o170_000;
    if kind == 0o120_000 && raw.size.get() < 60 {
        let len = usize::try_from(raw.size.get()).unwrap_or(0);
        field.value = show_bytes(&raw.block[..len]);
    } else if let Some(device) = device(&raw.block).filter(|_| matches!(kind, 0o020_000 | 0o060_000)) {
        field.value = device;
    } else if raw.flags.get() & EXTENTS != 0 {
        let parts: Vec<_> =
            node(&raw.block).iter().map(|part| format!("{} {}", part.name, part.value)).collect();
        field.value = parts.join(", ");
        field.role = Role::Place;
    } else if matches!(kind, 0o040_000 | 0o100_000) && raw.flags.get() & INLINE == 0 {
        // A small file may have its content there.
        field.role = Role::Place;
    }
}

/// The number of a device, if it is written as Linux writes it: in 16 bits if that is enough.
fn device(block: &[u8; 60]) -> Option<String> {
    let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let (old, new) = (word(0), word(4));
    let (major, minor) = match old {
        0 => (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00),
        _ => (old >> 8 & 0xff, old & 0xff),
    };
    let canonical = match major < 256 && minor < 256 {
        true => [major << 8 | minor, 0],
        false => [0, minor & 0xff | major << 8 | (minor & 0xf_ff00) << 12],
    };
    let known = canonical == [old, new] && block[8..].iter().all(|byte| *byte == 0);
    known.then(|| format!("{major}:{minor}"))
}

fn node(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(bytes, 0, RawNode { magic, entries Place, most Place, depth Place, generation });
    let Ok((head, rest)) = <RawNode as zerocopy::FromBytes>::read_from_prefix(bytes) else { return all };
    if head.magic.get() != EXTENT_MAGIC {
        return all;
    }
    for (number, entry) in rest.chunks_exact(12).take(usize::from(head.entries.get())).enumerate() {
        let at = wide(12 + 12 * number);
        let fields = match head.depth.get() {
            0 => {
                fields_of!(entry, at, RawExtent { logical Place, length Place, start_high Place, start Place })
            }
            _ => fields_of!(entry, at, RawIndex { logical Place, node Place, node_high Place, unused }),
        };
        all.extend(fields.into_iter().map(|field| prefixed(field, &format!("entry {number}"))));
    }
    all
}

fn directory(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    for (at, raw, name) in entries(bytes) {
        let len = 8 + name.len();
        all.push(Field {
            at: wide(at),
            len: wide(len),
            name: show_bytes(name).into(),
            value: format!("inode {}, type {}, {} bytes", raw.inode, raw.kind, raw.length),
            role: Role::Place,
        });
    }
    all
}
