//! Inodes and directories.
//!
//! Directories are written from the leaves up. The inodes of all entries of one directory lie side by side in byte
//! order of name, then its listing follows; its own inode lies among those of its parent's entries. A leaf with
//! several names is written where this order meets it first. Inode numbers count in the same order, from 1.

use zerocopy::IntoBytes;

use super::data::Stored;
use super::dir::{Listing, Named, list};
use super::meta::{Meta, MetaWriter, Place};
use super::plan::Plan;
use crate::Epoch;
use crate::codec::Codec;
use crate::squashfs::error::{EntryRule, Path, WriteError};
use crate::squashfs::layout::{
    BasicDir, BasicFile, DIR_EXTRA, Device, DirIndex, ExtendedDir, ExtendedFile, InodeHead, NONE, Pipe,
    Symlink, kind, narrow, pack_device,
};
use crate::tree::{self, Dir, Kind, LeafId, Node};

/// Both metadata tables.
#[derive(Debug)]
pub(super) struct Inodes {
    pub(super) inodes: Meta,
    pub(super) directories: Meta,
    pub(super) root: Place,
    /// Where each inode lies, by number from 1 on.
    pub(super) places: Vec<Place>,
}

struct Writer<'a> {
    plan: &'a Plan<'a>,
    stored: &'a [Stored],
    epoch: Epoch,
    inodes: MetaWriter,
    directories: MetaWriter,
    /// Where each inode lies that is written, by number from 1 on.
    places: Vec<Option<Place>>,
    /// How many directories the walk has seen.
    walked: usize,
    path: Vec<&'a [u8]>,
}

/// A directory whose listing is written and whose inode is not.
struct Pending<'a> {
    dir: &'a Dir,
    listing: Listing<'a>,
    links: u32,
    number: u32,
    parent: u32,
}

/// Writes the inodes of the whole tree; contents are stored already.
pub(super) fn write(
    plan: &Plan<'_>,
    stored: &[Stored],
    codec: Codec,
    epoch: Epoch,
) -> Result<Inodes, WriteError> {
    let mut writer = Writer {
        plan,
        stored,
        epoch,
        inodes: MetaWriter::new(codec),
        directories: MetaWriter::new(codec),
        places: vec![None; narrow(plan.inode_count)],
        walked: 0,
        path: Vec::new(),
    };
    // The root has no parent; like everywhere it names a number that no inode has.
    let root = writer.directory(&plan.tree.root, plan.inode_count + 1)?;
    let root = writer.dir_inode(&root)?;
    Ok(Inodes {
        inodes: writer.inodes.finish()?,
        directories: writer.directories.finish()?,
        root,
        places: writer.places.into_iter().map(|place| place.expect("every number is written")).collect(),
    })
}

impl<'a> Writer<'a> {
    /// Writes everything below `dir`, and its listing.
    fn directory(&mut self, dir: &'a Dir, parent: u32) -> Result<Pending<'a>, WriteError> {
        let number = self.plan.dir_numbers[self.walked];
        self.walked += 1;
        let mut below = Vec::new();
        for (name, node) in dir.entries() {
            if let Node::Dir(dir) = node {
                self.path.push(name.as_bytes());
                below.push(self.directory(dir, number)?);
                self.path.pop();
            }
        }
        let links = u32::try_from(below.len()).unwrap_or(u32::MAX).saturating_add(2);
        let mut below = below.into_iter();
        let mut entries = Vec::with_capacity(dir.entries().len());
        for (name, node) in dir.entries() {
            let name = name.as_bytes();
            entries.push(match node {
                Node::Dir(_) => {
                    let pending = below.next().expect("one per directory");
                    self.path.push(name);
                    let inode = self.dir_inode(&pending)?;
                    self.path.pop();
                    Named { name, inode, number: pending.number, kind: kind::DIR }
                }
                Node::Leaf(id) => self.leaf(name, *id)?,
            });
        }
        let listing = list(&mut self.directories, &entries)?;
        Ok(Pending { dir, listing, links, number, parent })
    }

    fn dir_inode(&mut self, pending: &Pending<'_>) -> Result<Place, WriteError> {
        let Pending { dir, listing, links, number, parent } = pending;
        let xattr = self.plan.xattr(&dir.meta);
        let limit = u64::from(u32::MAX - DIR_EXTRA);
        let Some(size) = u32::try_from(listing.size).ok().and_then(|size| size.checked_add(DIR_EXTRA)) else {
            let rule = EntryRule::Listing { size: listing.size };
            return Err(WriteError::Entry { path: Path(self.path.join(&b'/')), rule });
        };
        let block = |block| {
            u32::try_from(block).map_err(|_| WriteError::TooLarge { table: "directory", need: block, limit })
        };
        let start = block(listing.place.block)?;
        if let (Ok(size), None, []) = (u16::try_from(size), xattr, &listing.index[..]) {
            let body = BasicDir {
                block: start.into(),
                links: (*links).into(),
                size: size.into(),
                offset: listing.place.offset.into(),
                parent: (*parent).into(),
            };
            return self.inode(kind::DIR, &dir.meta, *number, &[body.as_bytes()]);
        }
        let index_count = u16::try_from(listing.index.len()).map_err(|_| WriteError::Entry {
            path: Path(self.path.join(&b'/')),
            rule: EntryRule::Listing { size: listing.size },
        })?;
        let body = ExtendedDir {
            links: (*links).into(),
            size: size.into(),
            block: start.into(),
            parent: (*parent).into(),
            index_count: index_count.into(),
            offset: listing.place.offset.into(),
            xattr: xattr.unwrap_or(NONE).into(),
        };
        let mut index = Vec::new();
        for entry in &listing.index {
            let raw = DirIndex {
                position: u32::try_from(entry.position).expect("a listing has below 2^32 bytes").into(),
                block: block(entry.block)?.into(),
                name_size: u32::try_from(entry.name.len() - 1).expect("names have 1 to 255 bytes").into(),
            };
            index.extend_from_slice(raw.as_bytes());
            index.extend_from_slice(entry.name);
        }
        self.inode(kind::DIR + kind::EXTENDED, &dir.meta, *number, &[body.as_bytes(), &index])
    }

    fn leaf(&mut self, name: &'a [u8], id: LeafId) -> Result<Named<'a>, WriteError> {
        let leaf = self.plan.tree.leaf(id);
        let number = self.plan.leaf_number(id);
        let kind = match leaf.kind {
            Kind::File(_) => kind::FILE,
            Kind::Symlink(_) => kind::SYMLINK,
            Kind::Block { .. } => kind::BLOCK,
            Kind::Char { .. } => kind::CHAR,
            Kind::Fifo => kind::FIFO,
            Kind::Socket => kind::SOCKET,
        };
        let inode = match self.places[narrow(number) - 1] {
            Some(place) => place,
            None => self.leaf_inode(id, kind)?,
        };
        Ok(Named { name, inode, number, kind })
    }

    fn leaf_inode(&mut self, id: LeafId, kind: u16) -> Result<Place, WriteError> {
        let leaf = self.plan.tree.leaf(id);
        let (number, links) = (self.plan.leaf_number(id), self.plan.links[id.index()]);
        let xattr = self.plan.xattr(&leaf.meta);
        let last = xattr.unwrap_or(NONE).to_le_bytes();
        // All but files and directories differ from their extended form by a last field alone.
        let (kind, last) = match xattr {
            None => (kind, &[][..]),
            Some(_) => (kind + kind::EXTENDED, &last[..]),
        };
        match &leaf.kind {
            Kind::File(content) => {
                let stored = self.plan.by_content.get(content).map(|index| &self.stored[*index]);
                self.file(&leaf.meta, number, links, content.size, stored)
            }
            Kind::Symlink(target) => {
                let size = u32::try_from(target.len()).expect("targets have at most 4095 bytes");
                let body = Symlink { links: links.into(), size: size.into() };
                self.inode(kind, &leaf.meta, number, &[body.as_bytes(), target, last])
            }
            Kind::Block { major, minor } | Kind::Char { major, minor } => {
                let body = Device { links: links.into(), device: pack_device(*major, *minor).into() };
                self.inode(kind, &leaf.meta, number, &[body.as_bytes(), last])
            }
            Kind::Fifo | Kind::Socket => {
                let body = Pipe { links: links.into() };
                self.inode(kind, &leaf.meta, number, &[body.as_bytes(), last])
            }
        }
    }

    /// Writes the inode of a file; `stored` is `None` if the file is empty.
    fn file(
        &mut self,
        meta: &tree::Meta,
        number: u32,
        links: u32,
        size: u64,
        stored: Option<&Stored>,
    ) -> Result<Place, WriteError> {
        let empty = Stored::default();
        let Stored { start, blocks, sparse, tail } = stored.unwrap_or(&empty);
        let (fragment, offset) = tail.unwrap_or((NONE, 0));
        let xattr = self.plan.xattr(meta);
        let words: Vec<u8> = blocks.iter().flat_map(|word| word.to_le_bytes()).collect();
        if let (Ok(start), Ok(size), 1, 0, None) =
            (u32::try_from(*start), u32::try_from(size), links, *sparse, xattr)
        {
            let body = BasicFile {
                start: start.into(),
                fragment: fragment.into(),
                offset: offset.into(),
                size: size.into(),
            };
            return self.inode(kind::FILE, meta, number, &[body.as_bytes(), &words]);
        }
        let body = ExtendedFile {
            start: (*start).into(),
            size: size.into(),
            sparse: (*sparse).into(),
            links: links.into(),
            fragment: fragment.into(),
            offset: offset.into(),
            xattr: xattr.unwrap_or(NONE).into(),
        };
        self.inode(kind::FILE + kind::EXTENDED, meta, number, &[body.as_bytes(), &words])
    }

    fn inode(
        &mut self,
        kind: u16,
        meta: &tree::Meta,
        number: u32,
        body: &[&[u8]],
    ) -> Result<Place, WriteError> {
        let place = self.inodes.place();
        let head = InodeHead {
            kind: kind.into(),
            mode: meta.mode.into(),
            uid: self.plan.ids[&meta.uid].into(),
            gid: self.plan.ids[&meta.gid].into(),
            mtime: self.epoch.clamp(meta.mtime).into(),
            number: number.into(),
        };
        self.inodes.put(head.as_bytes())?;
        body.iter().try_for_each(|part| self.inodes.put(part))?;
        self.places[narrow(number) - 1] = Some(place);
        Ok(place)
    }
}
