//! The whole tree of an image.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

use super::file::{FileRef, Files};
use super::inode::{Body, Inode};
use super::{Image, Inner};
use crate::io::ReadAt;
use crate::par;
use crate::squashfs::error::{Corruption, Error};
use crate::squashfs::layout::{MAX_DEPTH, kind};
use crate::tree::{Content, Dir, Kind, Leaf, LeafId, Meta, Node, Tree};

/// Bytes a tree may take in memory, roughly: 100 bytes for each entry, and its names, targets and attributes.
/// A system of a million files takes a third of it; a hostile image of a megabyte could ask for terabytes.
const MAX_TREE: usize = 512 << 20;
/// What an entry costs beside its name.
const ENTRY: usize = 100;

impl<R: ReadAt> Image<R> {
    /// Reads all names and inodes. Files refer into the image; nothing of their contents is read.
    ///
    /// Leaves are in the order in which a walk of the tree meets them.
    ///
    /// # Errors
    /// The first rule of the format that is broken. A tree of more than half a GiB in memory, or with directories
    /// nested more than 512 deep, is unsupported.
    pub fn tree(&self) -> Result<Tree<FileRef>, Error> {
        let inner = &*self.inner;
        let root = inner.inode(inner.head.root.get())?;
        let Body::Dir(_) = root.body else {
            return Err(Error::Corrupt { at: root.at, kind: Corruption::Root { found: root.kind } });
        };
        let mut builder = Builder {
            inner,
            tree: Tree::new(Meta::root(0, 0)),
            dirs: BTreeSet::new(),
            leaves: BTreeMap::new(),
            left: MAX_TREE,
        };
        let root = builder.dir(root, 0)?;
        builder.tree.root = root;
        Ok(builder.tree)
    }
}

impl<R: ReadAt + Send + Sync> Image<R> {
    /// Reads the tree and, on `jobs` threads, the digest of every file.
    ///
    /// # Errors
    /// As [`Image::tree`], and if the content of a file cannot be read.
    pub fn to_content_tree(&self, jobs: NonZero<usize>) -> Result<(Tree<Content>, Files<R>), Error> {
        let tree = self.tree()?;
        let refs: Vec<FileRef> = tree.leaves().iter().filter_map(file_of).collect();
        let mut contents = Vec::with_capacity(refs.len());
        par::map_ordered(
            jobs,
            refs.iter(),
            |file| self.file(file)?.content(),
            |content| {
                contents.push(content?);
                Ok::<(), Error>(())
            },
        )?;
        let mut files = BTreeMap::new();
        for (content, file) in contents.iter().zip(refs) {
            files.entry(*content).or_insert(file);
        }
        let mut contents = contents.into_iter();
        let tree = tree.try_map(|_| Ok::<_, Error>(contents.next().expect("one for each file")))?;
        Ok((tree, Files { image: self.clone(), files }))
    }
}

fn file_of(leaf: &Leaf<FileRef>) -> Option<FileRef> {
    match &leaf.kind {
        Kind::File(file) => Some(*file),
        _ => None,
    }
}

struct Builder<'a, R> {
    inner: &'a Inner<R>,
    tree: Tree<FileRef>,
    /// Numbers of the directories that were reached.
    dirs: BTreeSet<u32>,
    /// Leaves by inode number, and where each inode lies.
    leaves: BTreeMap<u32, (u64, LeafId)>,
    /// Bytes that may still be taken.
    left: usize,
}

impl<R: ReadAt> Builder<'_, R> {
    fn charge(&mut self, at: u64, bytes: usize) -> Result<(), Error> {
        let feature = "trees of more than 512 MiB in memory";
        self.left = self.left.checked_sub(bytes).ok_or(Error::Unsupported { at, feature })?;
        Ok(())
    }

    fn meta(&mut self, inode: &Inode) -> Result<Meta, Error> {
        let mut meta = inode.meta.clone();
        if let Some(index) = inode.xattr {
            meta.xattrs = self.inner.xattrs(index)?;
            let bytes = meta.xattrs.iter().map(|(name, value)| name.len() + value.len() + ENTRY).sum();
            self.charge(inode.at, bytes)?;
        }
        Ok(meta)
    }

    fn dir(&mut self, inode: Inode, depth: usize) -> Result<Dir, Error> {
        let corrupt = |at, kind| Err(Error::Corrupt { at, kind });
        let mut dir = Dir::new(self.meta(&inode)?);
        let Inode { at, number, body: Body::Dir(body), .. } = inode else {
            return Ok(dir);
        };
        if depth > MAX_DEPTH {
            return Err(Error::Unsupported { at, feature: "directories nested more than 512 deep" });
        }
        if !self.dirs.insert(number) {
            return corrupt(at, Corruption::DirectoryTwice { number });
        }
        let mut listing = self.inner.listing(&body);
        let mut last: Option<Box<[u8]>> = None;
        while let Some(entry) = listing.next()? {
            let (at, name) = (entry.position.0, entry.name.as_bytes());
            self.charge(at, ENTRY + name.len())?;
            if last.as_deref().is_some_and(|last| last >= name) {
                return corrupt(at, Corruption::Order { name: name.to_vec() });
            }
            last = Some(name.into());
            let node = match self.leaves.get(&entry.number) {
                Some((place, id)) if *place == entry.inode => Node::Leaf(*id),
                Some(_) => return corrupt(at, Corruption::NumberTwice { number: entry.number }),
                None => {
                    let inode = self.inner.inode(entry.inode)?;
                    if inode.number != entry.number {
                        let (entry, inode) = (u64::from(entry.number), u64::from(inode.number));
                        return corrupt(at, Corruption::Mismatch { what: "number", entry, inode });
                    }
                    let basic =
                        if inode.kind > kind::EXTENDED { inode.kind - kind::EXTENDED } else { inode.kind };
                    if basic != entry.kind {
                        let (entry, inode) = (u64::from(entry.kind), u64::from(basic));
                        return corrupt(at, Corruption::Mismatch { what: "type", entry, inode });
                    }
                    self.node(inode, entry.inode, depth)?
                }
            };
            // Names ascend, so none is there already.
            let _ = dir.insert(entry.name, node);
        }
        Ok(dir)
    }

    fn node(&mut self, inode: Inode, place: u64, depth: usize) -> Result<Node, Error> {
        if let Body::Dir(_) = inode.body {
            return Ok(Node::Dir(self.dir(inode, depth + 1)?));
        }
        let meta = self.meta(&inode)?;
        let Inode { at, number, body: Body::Leaf(kind), .. } = inode else {
            unreachable!("directories were handled");
        };
        if let Kind::Symlink(target) = &kind {
            self.charge(at, target.len())?;
        }
        if self.dirs.contains(&number) {
            return Err(Error::Corrupt { at, kind: Corruption::NumberTwice { number } });
        }
        let id = self.tree.add_leaf(Leaf { meta, kind });
        self.leaves.insert(number, (place, id));
        Ok(Node::Leaf(id))
    }
}
