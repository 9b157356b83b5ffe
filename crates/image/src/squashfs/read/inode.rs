//! Inodes.

use std::collections::BTreeMap;

use super::file::FileRef;
use super::meta::{Cursor, Region};
use super::{Inner, narrow};
use crate::io::ReadAt;
use crate::squashfs::error::{Corruption, Error};
use crate::squashfs::layout::{
    BasicDir, BasicFile, DIR_EXTRA, Device, ExtendedDir, ExtendedFile, InodeHead, NONE, Pipe, Symlink,
    XattrNumber, kind, unpack_device,
};
use crate::tree::{Kind, Meta};

/// An inode as it is stored.
#[derive(Debug)]
pub(in crate::squashfs) struct Inode {
    /// Offset in the image of the metadata block in which it begins.
    pub(in crate::squashfs) at: u64,
    /// Type, basic or extended.
    pub(in crate::squashfs) kind: u16,
    pub(in crate::squashfs) number: u32,
    /// Without attributes.
    pub(in crate::squashfs) meta: Meta,
    pub(in crate::squashfs) links: u32,
    pub(in crate::squashfs) xattr: Option<u32>,
    pub(in crate::squashfs) body: Body,
}

/// What an inode is.
#[derive(Debug)]
pub(in crate::squashfs) enum Body {
    Dir(DirBody),
    Leaf(Kind<FileRef>),
}

/// Where the listing of a directory lies.
#[derive(Clone, Copy, Debug)]
pub(in crate::squashfs) struct DirBody {
    /// Reference into the directory table.
    pub(in crate::squashfs) listing: u64,
    /// Bytes of the listing.
    pub(in crate::squashfs) size: u32,
    pub(in crate::squashfs) parent: u32,
    /// Entries of the index, and the reference in the inode table where they begin.
    pub(in crate::squashfs) index: (u16, u64),
}

impl<R: ReadAt> Inner<R> {
    pub(in crate::squashfs) fn inode_region(&self) -> Region {
        let (start, end) = (self.head.inode_table.get(), self.head.directory_table.get());
        Region { table: "inode", start, end }
    }

    /// Reads the inode at `reference`, without its attributes.
    pub(in crate::squashfs) fn inode(&self, reference: u64) -> Result<Inode, Error> {
        let mut cursor = self.cursor(self.inode_region(), reference);
        let (at, _) = cursor.position();
        let corrupt = |kind| Error::Corrupt { at, kind };
        let head: InodeHead = cursor.raw()?;
        let kind = head.kind.get();
        let mode = head.mode.get();
        if mode > 0o7777 {
            return Err(corrupt(Corruption::Mode { found: mode }));
        }
        let owner = |index: u16| {
            let (table, count) = ("id", super::wide(self.ids.len()));
            let index = u64::from(index);
            let id = usize::try_from(index).ok().and_then(|index| self.ids.get(index).copied());
            id.ok_or_else(|| corrupt(Corruption::Index { table, index, count }))
        };
        let meta = Meta {
            mode,
            uid: owner(head.uid.get())?,
            gid: owner(head.gid.get())?,
            mtime: i64::from(head.mtime.get()),
            xattrs: BTreeMap::new(),
        };
        let basic = if kind > kind::EXTENDED { kind - kind::EXTENDED } else { kind };
        let extended = basic != kind;
        let (links, xattr, body) = match basic {
            kind::DIR => dir(&mut cursor, extended)?,
            kind::FILE => file(&mut cursor, extended, self.head.block_size.get())?,
            kind::SYMLINK => symlink(&mut cursor, extended)?,
            kind::BLOCK | kind::CHAR => device(&mut cursor, extended, basic == kind::BLOCK)?,
            kind::FIFO | kind::SOCKET => {
                let raw: Pipe = cursor.raw()?;
                let kind = if basic == kind::FIFO { Kind::Fifo } else { Kind::Socket };
                (raw.links.get(), last(&mut cursor, extended)?, Body::Leaf(kind))
            }
            _ => return Err(corrupt(Corruption::InodeKind { found: kind })),
        };
        let xattr = (xattr != NONE).then_some(xattr);
        Ok(Inode { at, kind, number: head.number.get(), meta, links, xattr, body })
    }
}

/// Links, number of the attribute set and body.
type Parts = (u32, u32, Body);

fn dir<R: ReadAt>(cursor: &mut Cursor<'_, R>, extended: bool) -> Result<Parts, Error> {
    let (block, offset, size, links, parent, xattr, index_count);
    if extended {
        let raw: ExtendedDir = cursor.raw()?;
        (block, offset, size, links) = (raw.block, raw.offset, raw.size.get(), raw.links);
        (parent, xattr, index_count) = (raw.parent, raw.xattr.get(), raw.index_count.get());
    } else {
        let raw: BasicDir = cursor.raw()?;
        (block, offset, size, links) = (raw.block, raw.offset, u32::from(raw.size.get()), raw.links);
        (parent, xattr, index_count) = (raw.parent, NONE, 0);
    }
    let body = DirBody {
        listing: u64::from(block.get()) << 16 | u64::from(offset.get()),
        size: size.saturating_sub(DIR_EXTRA),
        parent: parent.get(),
        index: (index_count, cursor.reference()),
    };
    Ok((links.get(), xattr, Body::Dir(body)))
}

fn file<R: ReadAt>(cursor: &mut Cursor<'_, R>, extended: bool, block_size: u32) -> Result<Parts, Error> {
    let (start, size, sparse, links, fragment, offset, xattr);
    if extended {
        let raw: ExtendedFile = cursor.raw()?;
        (start, size, sparse) = (raw.start.get(), raw.size.get(), raw.sparse.get());
        (links, fragment, offset, xattr) = (raw.links.get(), raw.fragment, raw.offset, raw.xattr.get());
    } else {
        let raw: BasicFile = cursor.raw()?;
        (start, size, sparse) = (u64::from(raw.start.get()), u64::from(raw.size.get()), 0);
        (links, fragment, offset, xattr) = (1, raw.fragment, raw.offset, NONE);
    }
    let fragment = (fragment.get() != NONE).then(|| (fragment.get(), offset.get()));
    let blocks = match fragment {
        Some(_) => size / u64::from(block_size),
        None => size.div_ceil(u64::from(block_size)),
    };
    let file = FileRef { size, start, sparse, fragment, blocks, list: cursor.reference() };
    Ok((links, xattr, Body::Leaf(Kind::File(file))))
}

fn symlink<R: ReadAt>(cursor: &mut Cursor<'_, R>, extended: bool) -> Result<Parts, Error> {
    let (at, _) = cursor.position();
    let raw: Symlink = cursor.raw()?;
    let size = raw.size.get();
    let corrupt = || Error::Corrupt { at, kind: Corruption::Symlink { size: u64::from(size) } };
    if !(1..=4095).contains(&size) {
        return Err(corrupt());
    }
    let target = cursor.bytes(narrow(size))?;
    if target.contains(&0) {
        return Err(corrupt());
    }
    Ok((raw.links.get(), last(cursor, extended)?, Body::Leaf(Kind::Symlink(target.into()))))
}

fn device<R: ReadAt>(cursor: &mut Cursor<'_, R>, extended: bool, block: bool) -> Result<Parts, Error> {
    let raw: Device = cursor.raw()?;
    let (major, minor) = unpack_device(raw.device.get());
    let kind = if block { Kind::Block { major, minor } } else { Kind::Char { major, minor } };
    Ok((raw.links.get(), last(cursor, extended)?, Body::Leaf(kind)))
}

/// The number of the attribute set that ends the extended form.
fn last<R: ReadAt>(cursor: &mut Cursor<'_, R>, extended: bool) -> Result<u32, Error> {
    if extended { Ok(cursor.raw::<XattrNumber>()?.xattr.get()) } else { Ok(NONE) }
}
