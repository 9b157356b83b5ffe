//! What readers do not notice: everything in an image that contradicts something else, or that Linux will refuse.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{Corruption, Error, Path};
use super::layout::{
    ABSENT, DATA_RAW, DirIndex, Fragment, Id, META_BLOCK, PADDING, Position, SuperBlock, XattrHeader,
    XattrSet, flag, kind, narrow, wide,
};
use super::read::{Body, DirBody, FileRef, Image, Inner, Region};
use super::scan::{Found, scan};
use super::window::{lz4_is_readable, window, window_limit};
use crate::io::ReadAt;
use crate::tree::Kind;

/// Most problems that are reported; the first ones are the ones to look at.
const MOST: usize = 1000;

/// Something wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Offset in the image of the structure, or of the metadata block that holds it.
    pub at: u64,
    /// A file or directory that has to do with it.
    pub path: Option<Path>,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path} at byte {:#x}: {}", self.at, self.kind),
            None => write!(f, "byte {:#x}: {}", self.at, self.kind),
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A rule of the format is broken.
    #[error(transparent)]
    Corrupt(Corruption),
    /// It uses what is not implemented, so nothing is known about it.
    #[error("unsupported feature: {0}")]
    Unsupported(&'static str),
    /// An inode has more or fewer names than it says.
    #[error("link count {stored}, {found} by its names")]
    Links {
        /// In the inode.
        stored: u32,
        /// By the directories.
        found: u32,
    },
    /// The number of inodes is not that of the superblock.
    #[error("superblock says {stored} inodes, {found} have names")]
    InodeCount {
        /// In the superblock.
        stored: u32,
        /// Those with a name.
        found: u64,
    },
    /// A table does not end where Linux wants the next one to begin.
    #[error("{table} table ends at {end:#x}, what follows begins at {next:#x}")]
    TableEnd {
        /// Which table.
        table: &'static str,
        /// Its end.
        end: u64,
        /// Beginning of the next, or the end of the image.
        next: u64,
    },
    /// An entry of the export table is not the inode of that number.
    #[error("export table has {stored:#x} for inode {number}, which is at {found:#x}")]
    Export {
        /// Number of the inode.
        number: u32,
        /// Reference in the table.
        stored: u64,
        /// Reference in a directory.
        found: u64,
    },
    /// An entry of a directory index does not lead to a header with that name.
    #[error("directory index entry {entry} leads to no header")]
    DirIndex {
        /// Its place in the index.
        entry: u16,
    },
    /// A block asks for more memory than Linux has prepared.
    #[error("block asks for a window of {window} bytes, Linux grants {limit}")]
    Window {
        /// What it asks for.
        window: u64,
        /// What there is.
        limit: u64,
    },
    /// An image of lz4 blocks does not say so in the way that Linux asks for.
    #[error("lz4 needs codec options of version 1")]
    Lz4Options,
    /// Two structures have bytes in common without being equal.
    #[error("overlaps what ends at byte {end:#x}")]
    Overlap {
        /// End of the structure before.
        end: u64,
    },
    /// Bytes belong to nothing.
    #[error("{length} bytes belong to nothing")]
    Gap {
        /// How many.
        length: u64,
    },
    /// The image is not padded to 4 KiB, so a loop device cannot hold all of it.
    #[error("image of {size} bytes is no multiple of 4096")]
    Size {
        /// Its length.
        size: u64,
    },
    /// There is something behind the end of the image.
    #[error("padding is not zero")]
    Padding,
}

/// Looks at everything in the image that `source` holds from byte 0 on, all contents included.
///
/// Returns what is wrong in the order of the image, at most 1000 problems; an image without any can be read by
/// Linux. Up to 4 KiB of padding belong to the image; what follows that is none of its business.
///
/// # Errors
/// Only if the superblock makes no sense or the source cannot be read.
pub fn check<R: ReadAt>(source: R) -> Result<Vec<Problem>, Error> {
    let size = source.size().map_err(|source| Error::Io { at: 0, len: 0, source })?;
    let image = Image::open(source)?;
    let mut checker = Checker {
        image: &image,
        inner: &image.inner,
        problems: Vec::new(),
        inodes: BTreeMap::new(),
        extents: Vec::new(),
        tails: BTreeMap::new(),
        stored: BTreeMap::new(),
        window_limit: window_limit(&image.inner),
    };
    checker.all(size)?;
    let mut problems = checker.problems;
    problems.sort_by_key(|problem| problem.at);
    Ok(problems)
}

struct Checker<'a, R> {
    image: &'a Image<R>,
    inner: &'a Inner<R>,
    problems: Vec<Problem>,
    inodes: BTreeMap<u32, Known>,
    /// Begin and end of all stored data.
    extents: Vec<(u64, u64)>,
    /// For each fragment, how many bytes its files need.
    tails: BTreeMap<u32, u64>,
    /// Size words by start, of the contents that were looked at.
    stored: BTreeMap<u64, Vec<u32>>,
    window_limit: u64,
}

/// What is known about an inode number.
struct Known {
    reference: u64,
    at: u64,
    path: Path,
    links: u32,
    /// Names, or for directories 2 and the directories in it.
    found: u32,
}

impl<R: ReadAt> Checker<'_, R> {
    fn note(&mut self, at: u64, path: Option<&Path>, kind: ProblemKind) {
        if self.problems.len() < MOST {
            self.problems.push(Problem { at, path: path.cloned(), kind });
        }
    }

    /// Notes an error of reading the image; one of reading the source is passed on.
    fn note_error(&mut self, path: Option<&Path>, error: Error) -> Result<(), Error> {
        match error {
            Error::Corrupt { at, kind } => self.note(at, path, ProblemKind::Corrupt(kind)),
            Error::Unsupported { at, feature } => self.note(at, path, ProblemKind::Unsupported(feature)),
            error @ Error::Io { .. } => return Err(error),
        }
        Ok(())
    }

    fn all(&mut self, size: u64) -> Result<(), Error> {
        self.padding(size)?;
        if !lz4_is_readable(self.inner) {
            self.note(wide(size_of::<SuperBlock>()), None, ProblemKind::Lz4Options);
        }
        self.tables()?;
        let mut last: Option<(u32, Vec<u8>)> = None;
        let mut failures = Vec::new();
        let inner = self.inner;
        scan(
            inner,
            |found| self.name(&found, &mut last),
            |error| {
                failures.push(error);
                Ok(())
            },
        )?;
        failures.into_iter().try_for_each(|error| self.note_error(None, error))?;
        self.links();
        self.export()?;
        self.fragments()?;
        self.extents();
        Ok(())
    }

    fn padding(&mut self, size: u64) -> Result<(), Error> {
        let used = self.inner.head.bytes_used.get();
        if !size.is_multiple_of(PADDING) {
            self.note(size, None, ProblemKind::Size { size });
        }
        let mut padding = vec![0; narrow(u32::try_from(PADDING).expect("4096 fits"))];
        let end = used.next_multiple_of(PADDING).min(size);
        let padding = &mut padding[..usize::try_from(end - used).expect("padding is short")];
        self.inner.read_raw(used, padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            self.note(used, None, ProblemKind::Padding);
        }
        Ok(())
    }

    /// Linux derives the length of each list of positions from where the next table begins.
    fn tables(&mut self) -> Result<(), Error> {
        let head = self.inner.head;
        let mut next = head.bytes_used.get();
        if let Some(header) = self.inner.xattrs {
            let list = head.xattr_table.get().saturating_add(wide(size_of::<XattrHeader>()));
            self.list_end::<XattrSet>("xattr", list, u64::from(header.count.get()), next);
            next = header.start.get();
        }
        self.list_end::<Id>("id", head.id_table.get(), u64::from(head.id_count.get()), next);
        next = self.first_block(head.id_table.get())?;
        if head.flags.get() & flag::EXPORTABLE != 0 && head.export_table.get() != ABSENT {
            let list = head.export_table.get();
            self.list_end::<Position>("export", list, u64::from(head.inode_count.get()), next);
            next = self.first_block(list)?;
        }
        if head.fragment_count.get() > 0 {
            let list = head.fragment_table.get();
            self.list_end::<Fragment>("fragment", list, u64::from(head.fragment_count.get()), next);
            next = self.first_block(list)?;
        }
        if head.directory_table.get() > next || head.inode_table.get() >= head.directory_table.get() {
            let (table, end) = ("directory", head.directory_table.get());
            self.note(end, None, ProblemKind::TableEnd { table, end, next });
        }
        // Everything behind the data is a table.
        self.extents.push((head.inode_table.get(), head.bytes_used.get()));
        let start = wide(size_of::<SuperBlock>());
        self.extents.push((0, start));
        if head.flags.get() & flag::CODEC_OPTIONS != 0 {
            let region = Region { table: "codec options", start, end: head.bytes_used.get() };
            match self.inner.meta_block(start, region) {
                Ok(block) => self.extents.push((start, block.next)),
                Err(error) => self.note_error(None, error)?,
            }
        }
        Ok(())
    }

    fn list_end<T>(&mut self, table: &'static str, list: u64, count: u64, next: u64) {
        let blocks = (count * wide(size_of::<T>())).div_ceil(wide(META_BLOCK));
        let end = list.saturating_add(blocks * wide(size_of::<Position>()));
        if end != next {
            self.note(list, None, ProblemKind::TableEnd { table, end, next });
        }
    }

    fn first_block(&self, list: u64) -> Result<u64, Error> {
        let mut position = [0; 8];
        match self.inner.read(list, &mut position) {
            Ok(()) => Ok(u64::from_le_bytes(position)),
            Err(error @ Error::Io { .. }) => Err(error),
            // That it lies outside is found out elsewhere.
            Err(_) => Ok(list),
        }
    }

    fn name(&mut self, found: &Found<'_>, last: &mut Option<(u32, Vec<u8>)>) -> Result<(), Error> {
        let path = Path(found.path.to_vec());
        let inode = found.inode;
        let basic = if inode.kind > kind::EXTENDED { inode.kind - kind::EXTENDED } else { inode.kind };
        if let (Some(entry), Some(parent)) = (found.entry, found.parent) {
            let at = entry.position.0;
            let name = entry.name.as_bytes().to_vec();
            if last.as_ref().is_some_and(|(dir, last)| *dir == parent && *last >= name) {
                let kind = Corruption::Order { name: name.clone() };
                self.note(at, Some(&path), ProblemKind::Corrupt(kind));
            }
            *last = Some((parent, name));
            let mut pairs = vec![
                ("number", u64::from(entry.number), u64::from(inode.number)),
                ("type", u64::from(entry.kind), u64::from(basic)),
            ];
            if let Body::Dir(body) = &inode.body {
                pairs.push(("parent", u64::from(parent), u64::from(body.parent)));
                self.inodes.entry(parent).and_modify(|known| known.found = known.found.saturating_add(1));
            }
            for (what, entry, inode) in pairs {
                if entry != inode {
                    let kind = Corruption::Mismatch { what, entry, inode };
                    self.note(at, Some(&path), ProblemKind::Corrupt(kind));
                }
            }
        }
        self.inode(found, path)
    }

    fn inode(&mut self, found: &Found<'_>, path: Path) -> Result<(), Error> {
        let (inode, reference) = (found.inode, found.reference);
        let (at, number, count) = (inode.at, inode.number, self.inner.head.inode_count.get());
        if !(1..=count).contains(&number) {
            let kind =
                Corruption::Index { table: "inode", index: u64::from(number), count: u64::from(count) };
            self.note(at, Some(&path), ProblemKind::Corrupt(kind));
        }
        if let Some(known) = self.inodes.get_mut(&number) {
            known.found = known.found.saturating_add(1);
            if known.reference != reference {
                self.note(at, Some(&path), ProblemKind::Corrupt(Corruption::NumberTwice { number }));
            }
            return Ok(());
        }
        if let Some(index) = inode.xattr
            && let Err(error) = self.inner.xattrs(index)
        {
            self.note_error(Some(&path), error)?;
        }
        let names = match &inode.body {
            Body::Dir(body) => {
                if let Err(error) = self.dir_index(body, at, &path) {
                    self.note_error(Some(&path), error)?;
                }
                2
            }
            Body::Leaf(Kind::File(file)) => {
                if let Err(error) = self.file(file, &path) {
                    self.note_error(Some(&path), error)?;
                }
                1
            }
            Body::Leaf(_) => 1,
        };
        self.inodes.insert(number, Known { reference, at, path, links: inode.links, found: names });
        Ok(())
    }

    /// Every index entry must lead to a header, with the first name behind it.
    fn dir_index(&mut self, body: &DirBody, at: u64, path: &Path) -> Result<(), Error> {
        let (count, reference) = body.index;
        if count == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        let mut listing = self.inner.listing(body);
        while let Some(entry) = listing.next()? {
            if entry.first {
                headers.insert(entry.header.1, (entry.header.0, entry.name));
            }
        }
        let mut cursor = self.inner.cursor(self.inner.inode_region(), reference);
        for entry in 0..count {
            let raw: DirIndex = cursor.raw()?;
            let name = cursor.bytes(narrow(raw.name_size.get()).min(255) + 1)?;
            let right = headers.get(&raw.position.get()).is_some_and(|(header, first)| {
                *header >> 16 == u64::from(raw.block.get()) && first.as_bytes() == name
            });
            if !right {
                self.note(at, Some(path), ProblemKind::DirIndex { entry });
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &FileRef, path: &Path) -> Result<(), Error> {
        let words = self.inner.words(file)?;
        let block_size = wide(self.inner.block_size());
        if let Some((fragment, offset)) = file.fragment {
            let need = u64::from(offset) + file.size % block_size;
            let most = self.tails.entry(fragment).or_default();
            *most = need.max(*most);
        }
        let length: u64 = words.iter().map(|word| u64::from(word & !DATA_RAW)).sum();
        if length == 0 || self.stored.get(&file.start) == Some(&words) {
            return Ok(());
        }
        // A problem here is one of the blocks; they are not read again for the next file that has them.
        self.image.file(file)?;
        self.extents.push((file.start, file.start + length));
        let mut at = file.start;
        for (word, index) in words.iter().zip(0u64..) {
            let expected = (file.size - index * block_size).min(block_size);
            self.block(at, *word, expected, path)?;
            at += u64::from(word & !DATA_RAW);
        }
        self.stored.insert(file.start, words);
        Ok(())
    }

    fn block(&mut self, at: u64, word: u32, expected: u64, path: &Path) -> Result<(), Error> {
        if word == 0 {
            return Ok(());
        }
        match self.inner.data_block(at, word).map(|plain| wide(plain.len())) {
            Ok(found) if found == expected => {}
            Ok(found) => {
                let kind = Corruption::BlockLength { found, expected };
                self.note(at, Some(path), ProblemKind::Corrupt(kind));
            }
            Err(error) => self.note_error(Some(path), error)?,
        }
        self.window(at, word, Some(path))
    }

    fn window(&mut self, at: u64, word: u32, path: Option<&Path>) -> Result<(), Error> {
        if word & DATA_RAW != 0 {
            return Ok(());
        }
        // Longer than any header of a frame or block.
        let mut start = vec![0; narrow(word).min(64)];
        self.inner.read(at, &mut start)?;
        let limit = self.window_limit;
        if let Some(window) = window(self.inner.compression, &start).filter(|window| *window > limit) {
            self.note(at, path, ProblemKind::Window { window, limit });
        }
        Ok(())
    }

    fn fragments(&mut self) -> Result<(), Error> {
        let tails = std::mem::take(&mut self.tails);
        for (index, need) in &tails {
            if *index >= self.inner.head.fragment_count.get()
                && let Err(error) = self.inner.fragment_entry(*index)
            {
                self.note_error(None, error)?;
            }
            if *need > wide(self.inner.block_size()) {
                let (found, expected) = (wide(self.inner.block_size()), *need);
                let at = self.inner.head.fragment_table.get();
                self.note(at, None, ProblemKind::Corrupt(Corruption::BlockLength { found, expected }));
            }
        }
        for index in 0..self.inner.head.fragment_count.get() {
            let entry = match self.inner.fragment_entry(index) {
                Ok(entry) => entry,
                Err(error) => {
                    self.note_error(None, error)?;
                    // A table that cannot be read is one problem, not four thousand million.
                    break;
                }
            };
            let (at, word) = (entry.start.get(), entry.size.get());
            self.extents.push((at, at.saturating_add(u64::from(word & !DATA_RAW))));
            let expected = tails.get(&index).copied().unwrap_or(0);
            match self.inner.data_block(at, word).map(|plain| wide(plain.len())) {
                Ok(found) if found >= expected => self.window(at, word, None)?,
                Ok(found) => {
                    let kind = Corruption::BlockLength { found, expected };
                    self.note(at, None, ProblemKind::Corrupt(kind));
                }
                Err(error) => self.note_error(None, error)?,
            }
        }
        Ok(())
    }

    fn links(&mut self) {
        let inodes = std::mem::take(&mut self.inodes);
        for known in inodes.values() {
            let Known { links, found, .. } = *known;
            if links != found {
                self.note(known.at, Some(&known.path), ProblemKind::Links { stored: links, found });
            }
        }
        let (stored, found) = (self.inner.head.inode_count.get(), wide(inodes.len()));
        if u64::from(stored) != found {
            self.note(4, None, ProblemKind::InodeCount { stored, found });
        }
        self.inodes = inodes;
    }

    fn export(&mut self) -> Result<(), Error> {
        let head = self.inner.head;
        let list = head.export_table.get();
        if head.flags.get() & flag::EXPORTABLE == 0 || list == ABSENT {
            return Ok(());
        }
        let count = u64::from(head.inode_count.get());
        let known: Vec<_> = self.inodes.iter().map(|(number, known)| (*number, known.reference)).collect();
        for (number, found) in known {
            let index = u64::from(number).wrapping_sub(1);
            match self.inner.entry::<Position>("export", list, index, count) {
                Ok(entry) if entry.position.get() == found => {}
                Ok(entry) => {
                    let stored = entry.position.get();
                    self.note(list, None, ProblemKind::Export { number, stored, found });
                }
                Err(error) => self.note_error(None, error)?,
            }
        }
        Ok(())
    }

    /// Every byte belongs to one thing; equal contents may share theirs.
    fn extents(&mut self) {
        let mut extents = std::mem::take(&mut self.extents);
        extents.sort_unstable();
        extents.dedup();
        let mut end = 0;
        for (from, to) in extents {
            if from > end {
                self.note(end, None, ProblemKind::Gap { length: from - end });
            } else if from < end {
                self.note(from, None, ProblemKind::Overlap { end });
            }
            end = end.max(to);
        }
    }
}
