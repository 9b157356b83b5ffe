//! Bytes to descriptors, records and trees. Every field is checked before it is believed.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use zerocopy::FromBytes;

use super::attributes::{self, Attributes};
use super::layout::{
    BLOCK, FIRST_DESCRIPTOR, FLAG_CONTINUED, FLAG_DIRECTORY, JOLIET_ESCAPE, RawRecord, RawVolume, STANDARD_ID,
};
use super::{Extent, time};
use crate::io::{ReadAt, ReadError, wide};
use crate::tree::{Dir, Kind, Leaf, LeafId, Meta, Name, Node, Tree};

/// Volume descriptors we look at.
const MOST_DESCRIPTORS: u64 = 64;
/// Deepest directory; Linux has no paths above 4096 bytes.
const DEEPEST: usize = 256;

/// The rule that was broken, with the values that broke it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// No primary volume descriptor.
    #[error("no primary volume descriptor in blocks 16 to 79")]
    NoPrimary,
    /// Bytes outside of the image.
    #[error("{len} bytes from {start:#x} are outside an image of {size} bytes")]
    Outside {
        /// First byte.
        start: u64,
        /// Number of bytes.
        len: u64,
        /// Size of the image.
        size: u64,
    },
    /// A record that is too short for its own fields, or crosses its block.
    #[error(
        "directory record of {length} bytes with an identifier of {id} bytes, {left} bytes before the end"
    )]
    Record {
        /// Length of the record as stored.
        length: u8,
        /// Length of the identifier as stored.
        id: u8,
        /// Bytes left in the block.
        left: usize,
    },
    /// A directory starts in a block in which another one started.
    #[error("directory in block {0} is reached twice")]
    Loop(u32),
    /// Directories in directories without end.
    #[error("directories are nested deeper than 256")]
    Deep,
    /// Structures that overlap so often that reading them would never end.
    #[error("structures are larger than the image")]
    Flood,
    /// A path table that is larger than 65535 entries can be.
    #[error("path table of {0} bytes")]
    PathTable(u64),
    /// The name cannot be a file name.
    #[error("{:?} cannot be a file name", String::from_utf8_lossy(.0))]
    Name(Vec<u8>),
    /// Two entries of a directory have one name.
    #[error("name {:?} occurs twice", String::from_utf8_lossy(.0))]
    Twice(Vec<u8>),
    /// A system use entry that is too short, or too long for its area.
    #[error("system use entry {} of {length} bytes, {left} bytes before the end", String::from_utf8_lossy(.signature))]
    Entry {
        /// Its two letters.
        signature: [u8; 2],
        /// Its length as stored.
        length: u8,
        /// Bytes left in the area.
        left: usize,
    },
    /// A continuation area that crosses its block.
    #[error("continuation of {length} bytes at byte {offset} of its block")]
    Continuation {
        /// Place in the block.
        offset: u32,
        /// Length.
        length: u32,
    },
    /// More continuations than any record needs.
    #[error("system use entries continue more than 64 times")]
    Chain,
    /// A symbolic link without target, or with a longer one than any kernel follows.
    #[error("symbolic link with a target of {0} bytes")]
    Target(usize),
    /// A mode that is no file type.
    #[error("mode is {0:o}")]
    Mode(u32),
    /// A boot catalog whose validation entry is wrong.
    #[error("boot catalog starts with {0:02x?}")]
    Catalog([u8; 4]),
}

pub(super) type Result<T> = std::result::Result<T, ReadError<Corruption>>;

/// Which names and attributes to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The primary tree with Rock Ridge entries: everything Unix needs.
    RockRidge,
    /// The Joliet tree: long names, no owners, no links.
    Joliet,
    /// The primary tree as ECMA-119 has it; version numbers and the dot of an empty extension are taken off.
    Plain,
}

/// What the volume descriptors say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Texts of the primary descriptor, without padding.
    pub labels: super::Labels,
    /// Blocks of the volume.
    pub blocks: u32,
    /// Time of creation as 16 digits and zone.
    pub created: [u8; 17],
    /// Time of modification as 16 digits and zone. Linux makes the UUID of the volume of it.
    pub modified: [u8; 17],
    /// The best names there are.
    pub names: Names,
    /// Whether there is a Joliet tree.
    pub joliet: bool,
    /// Block of the boot catalog.
    pub catalog: Option<u32>,
    pub(super) primary: RootAt,
    pub(super) supplementary: Option<RootAt>,
    /// Bytes at the start of each system use area that belong to somebody else.
    pub(super) skip: u8,
}

/// The root directory of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RootAt {
    pub(super) block: u32,
    pub(super) size: u32,
}

/// An image, and how much may be read of its structures.
///
/// Directories may overlap and every record may lead to continuations, so a small image can ask for a lot of reading.
/// No honest one asks for more than a few times its own size.
pub(super) struct Bytes<'a, R: ?Sized> {
    source: &'a R,
    pub(super) size: u64,
    left: Cell<u64>,
}

impl<'a, R: ReadAt + ?Sized> Bytes<'a, R> {
    pub(super) fn new(source: &'a R) -> Result<Self> {
        let size = source.size().map_err(|source| ReadError::Io { at: 0, len: 0, source })?;
        Ok(Self { source, size, left: Cell::new(size.saturating_mul(4)) })
    }

    /// Refuses ranges outside of the image; `at` is where the range is asked for.
    pub(super) fn inside(&self, at: u64, start: u64, len: u64) -> Result<()> {
        if start.checked_add(len).is_some_and(|end| end <= self.size) {
            return Ok(());
        }
        Err(ReadError::Corrupt { at, kind: Corruption::Outside { start, len, size: self.size } })
    }

    pub(super) fn fill(&self, buffer: &mut [u8], start: u64) -> Result<()> {
        let len = wide(buffer.len());
        self.inside(start, start, len)?;
        let left = self.left.get().checked_sub(len);
        self.left.set(left.ok_or(ReadError::Corrupt { at: start, kind: Corruption::Flood })?);
        self.source.read_exact_at(buffer, start).map_err(|source| ReadError::Io { at: start, len, source })
    }

    /// One block.
    pub(super) fn block(&self, number: u64) -> Result<[u8; 2048]> {
        let mut block = [0; 2048];
        self.fill(&mut block, number.saturating_mul(BLOCK))?;
        Ok(block)
    }

    /// Descriptors from block 16 to the terminator, with their byte offsets.
    pub(super) fn descriptors(&self) -> Result<Vec<(u64, [u8; 2048])>> {
        let mut all = Vec::new();
        for number in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MOST_DESCRIPTORS {
            if (number + 1).saturating_mul(BLOCK) > self.size {
                break;
            }
            let block = self.block(number)?;
            if block[1..6] != STANDARD_ID {
                break;
            }
            all.push((number * BLOCK, block));
            if block[0] == 255 {
                break;
            }
        }
        Ok(all)
    }
}

/// Reads the volume descriptors.
pub fn open(source: &(impl ReadAt + ?Sized)) -> Result<Volume> {
    let bytes = Bytes::new(source)?;
    let (mut primary, mut joliet, mut catalog) = (None, None, None);
    for (at, block) in bytes.descriptors()? {
        let Ok(raw) = RawVolume::read_from_bytes(&block) else {
            continue;
        };
        match raw.kind {
            0 if block[7..].starts_with(b"EL TORITO SPECIFICATION") && catalog.is_none() => {
                catalog = Some(u32::from_le_bytes([block[71], block[72], block[73], block[74]]));
            }
            1 if primary.is_none() => primary = Some((at, raw)),
            2 if is_joliet(&raw) && joliet.is_none() => joliet = Some((at, raw)),
            _ => {}
        }
    }
    let (at, raw) =
        primary.ok_or(ReadError::Corrupt { at: FIRST_DESCRIPTOR * BLOCK, kind: Corruption::NoPrimary })?;
    if raw.block_size.get() != 2048 {
        return Err(ReadError::Unsupported { at, feature: "logical block size other than 2048" });
    }
    let root =
        |raw: &RawVolume| RootAt { block: raw.root.record.block.get(), size: raw.root.record.size.get() };
    let supplementary = joliet.as_ref().map(|(_, raw)| root(raw));
    let mut volume = Volume {
        labels: labels(&raw),
        blocks: raw.blocks.get(),
        created: raw.created,
        modified: raw.modified,
        names: if supplementary.is_some() { Names::Joliet } else { Names::Plain },
        joliet: supplementary.is_some(),
        catalog,
        primary: root(&raw),
        supplementary,
        skip: 0,
    };
    if let Some(skip) = rock_ridge(&bytes, volume.primary)? {
        volume.names = Names::RockRidge;
        volume.skip = skip;
    }
    Ok(volume)
}

/// UCS-2 level 1 to 3.
fn is_joliet(raw: &RawVolume) -> bool {
    let [a, b, c, ..] = raw.escape;
    [a, b, c] == JOLIET_ESCAPE || [a, b, c] == *b"%/C" || [a, b, c] == *b"%/@"
}

fn labels(raw: &RawVolume) -> super::Labels {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned();
    super::Labels {
        volume: text(&raw.volume),
        system: text(&raw.system),
        volume_set: text(&raw.volume_set),
        publisher: text(&raw.publisher),
        preparer: text(&raw.preparer),
        application: text(&raw.application),
    }
}

/// The number of bytes to skip, if the first record of the root says that there are system use entries and that
/// they are those of Rock Ridge.
fn rock_ridge<R: ReadAt + ?Sized>(bytes: &Bytes<'_, R>, root: RootAt) -> Result<Option<u8>> {
    let block = bytes.block(root.block.into())?;
    let Some(record) = Record::parse(&block, 0, u64::from(root.block) * BLOCK)? else {
        return Ok(None);
    };
    match record.system_use {
        [b'S', b'P', 7, 1, 0xbe, 0xef, skip, ..] => {
            // Any Rock Ridge entry will do; some writers leave out the ER entry.
            let found = attributes::read(bytes, &record, 0)?;
            Ok(found.rock_ridge.then_some(*skip))
        }
        _ => Ok(None),
    }
}

/// A directory record and where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Byte offset in the image.
    pub(super) at: u64,
    pub(super) raw: RawRecord,
    pub(super) id: &'a [u8],
    pub(super) system_use: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at `offset` of a block that lies at byte `base`; `None` where the records of the block end.
    pub(super) fn parse(block: &'a [u8], offset: usize, base: u64) -> Result<Option<Self>> {
        let rest = block.get(offset..).unwrap_or_default();
        let length = rest.first().copied().unwrap_or(0);
        if length == 0 {
            return Ok(None);
        }
        let at = base.saturating_add(wide(offset));
        let id_length = rest.get(32).copied().unwrap_or(0);
        let wrong = || ReadError::Corrupt {
            at,
            kind: Corruption::Record { length, id: id_length, left: rest.len() },
        };
        let whole = rest.get(..usize::from(length)).ok_or_else(wrong)?;
        let (raw, tail) = RawRecord::read_from_prefix(whole).map_err(|_| wrong())?;
        let (id, tail) = tail.split_at_checked(usize::from(id_length)).ok_or_else(wrong)?;
        if id.is_empty() {
            return Err(wrong());
        }
        // The identifier is padded so that what follows starts at an even byte.
        let system_use = if id.len() % 2 == 0 { tail.get(1..).unwrap_or_default() } else { tail };
        Ok(Some(Self { at, raw, id, system_use }))
    }

    pub(super) fn is_dir(&self) -> bool {
        self.raw.flags & FLAG_DIRECTORY != 0
    }

    /// `.` or `..`.
    pub(super) fn is_special(&self) -> bool {
        matches!(self.id, [0 | 1])
    }
}

/// Calls `visit` for all records of a directory, `.` and `..` included.
pub(super) fn records<R: ReadAt + ?Sized>(
    bytes: &Bytes<'_, R>,
    dir: RootAt,
    mut visit: impl FnMut(&Record<'_>) -> Result<()>,
) -> Result<()> {
    for index in 0..u64::from(dir.size).div_ceil(BLOCK) {
        let number = u64::from(dir.block) + index;
        let block = bytes.block(number)?;
        let mut offset = 0;
        while let Some(record) = Record::parse(&block, offset, number * BLOCK)? {
            offset += usize::from(record.raw.length);
            visit(&record)?;
        }
    }
    Ok(())
}

/// Reads all directories. File contents are the places of their bytes: one range, or one for each 4 GiB.
pub fn read_tree(
    source: &(impl ReadAt + ?Sized),
    volume: &Volume,
    names: Names,
) -> Result<Tree<Vec<Extent>>> {
    let bytes = Bytes::new(source)?;
    let root = match (names, volume.supplementary) {
        (Names::Joliet, Some(root)) => root,
        (Names::Joliet, None) => {
            return Err(ReadError::Unsupported {
                at: FIRST_DESCRIPTOR * BLOCK,
                feature: "Joliet without descriptor",
            });
        }
        _ => volume.primary,
    };
    let tree = Tree::new(Meta::root(0o555, 0));
    let mut reader =
        Reader { bytes, names, skip: volume.skip, tree, seen: BTreeSet::new(), links: BTreeMap::new() };
    let mut dir = Dir::new(Meta::root(0o555, 0));
    reader.directory(&mut dir, root, 0, None)?;
    reader.tree.root = dir;
    Ok(reader.tree)
}

struct Reader<'a, R: ?Sized> {
    bytes: Bytes<'a, R>,
    names: Names,
    skip: u8,
    tree: Tree<Vec<Extent>>,
    /// First blocks of directories.
    seen: BTreeSet<u32>,
    /// First inode with each serial number, if it has more than one name.
    links: BTreeMap<u32, LeafId>,
}

impl<R: ReadAt + ?Sized> Reader<'_, R> {
    /// Fills `dir` with what lies at `place`. `meta` is what the parent says about it.
    fn directory(&mut self, dir: &mut Dir, place: RootAt, depth: usize, meta: Option<Meta>) -> Result<()> {
        let at = u64::from(place.block) * BLOCK;
        let corrupt = |kind| ReadError::Corrupt { at, kind };
        if depth > DEEPEST {
            return Err(corrupt(Corruption::Deep));
        }
        if !self.seen.insert(place.block) {
            return Err(corrupt(Corruption::Loop(place.block)));
        }
        self.bytes.inside(at, at, place.size.into())?;
        let mut found = Vec::new();
        let (names, skip) = (self.names, self.skip);
        records(&self.bytes, place, |record| {
            let attributes = match names {
                Names::RockRidge => attributes::read(&self.bytes, record, skip)?.attributes,
                _ => Attributes::default(),
            };
            found.push(Item::new(record, attributes, names)?);
            Ok(())
        })?;
        match (meta, found.first()) {
            (Some(meta), _) => dir.meta = meta,
            (None, Some(own)) => dir.meta = own.meta(),
            (None, None) => {}
        }
        let mut found = found.into_iter().filter(|item| !item.special).peekable();
        while let Some(mut item) = found.next() {
            let mut open = item.continued;
            while open && let Some(next) = found.next_if(|next| next.id == item.id) {
                item.extents.extend(next.extents);
                open = next.continued;
            }
            self.entry(dir, item, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, dir: &mut Dir, item: Item, depth: usize) -> Result<()> {
        let at = item.at;
        let corrupt = |kind| ReadError::Corrupt { at, kind };
        if item.attributes.relocated {
            return Ok(());
        }
        let name = item.name.as_deref().unwrap_or_default();
        let name = Name::new(name).map_err(|_| corrupt(Corruption::Name(name.to_vec())))?;
        let place = match item.attributes.child {
            Some(block) => Some(self.relocated(at, block)?),
            None => item.dir,
        };
        let taken = name.as_bytes().to_vec();
        let node = match place {
            Some(place) => {
                let mut below = Dir::new(Meta::root(0o555, 0));
                // What stands in for a relocated directory is a file without attributes of its own.
                let meta = if item.attributes.child.is_some() { None } else { Some(item.meta()) };
                self.directory(&mut below, place, depth + 1, meta)?;
                Node::Dir(below)
            }
            None => Node::Leaf(self.leaf(item)?),
        };
        dir.insert(name, node).map_err(|_| corrupt(Corruption::Twice(taken)))
    }

    /// A directory that lies elsewhere in the hierarchy (RRIP, CL entry); its size stands in its first record.
    fn relocated(&self, at: u64, block: u32) -> Result<RootAt> {
        let start = u64::from(block) * BLOCK;
        self.bytes.inside(at, start, BLOCK)?;
        let bytes = self.bytes.block(block.into())?;
        let size = Record::parse(&bytes, 0, start)?.map_or(0, |record| record.raw.size.get());
        Ok(RootAt { block, size })
    }

    fn leaf(&mut self, item: Item) -> Result<LeafId> {
        for extent in &item.extents {
            self.bytes.inside(item.at, extent.at, extent.len)?;
        }
        let leaf = Leaf { meta: item.meta(), kind: item.kind()? };
        let (serial, links) = (item.attributes.serial, item.attributes.links);
        if serial == 0 || links < 2 {
            return Ok(self.tree.add_leaf(leaf));
        }
        match self.links.get(&serial) {
            Some(id) if *self.tree.leaf(*id) == leaf => Ok(*id),
            _ => {
                let id = self.tree.add_leaf(leaf);
                self.links.entry(serial).or_insert(id);
                Ok(id)
            }
        }
    }
}

/// A record with everything that is kept of it.
pub(super) struct Item {
    at: u64,
    id: Vec<u8>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) special: bool,
    pub(super) continued: bool,
    pub(super) dir: Option<RootAt>,
    pub(super) extents: Vec<Extent>,
    mtime: i64,
    pub(super) attributes: Attributes,
}

impl Item {
    pub(super) fn new(record: &Record<'_>, mut attributes: Attributes, names: Names) -> Result<Self> {
        let (block, size) = (record.raw.block.get(), record.raw.size.get());
        if record.raw.xattr_blocks != 0 || record.raw.unit != 0 || record.raw.gap != 0 {
            return Err(ReadError::Unsupported {
                at: record.at,
                feature: "extended attribute record or interleaving",
            });
        }
        let name = match names {
            Names::RockRidge => attributes.name.take().or_else(|| Some(plain(record))),
            Names::Joliet if record.is_special() => None,
            Names::Joliet => Some(joliet(record)?),
            Names::Plain => Some(plain(record)),
        };
        let has_bytes = size > 0 && !record.is_dir();
        let extent = Extent { at: u64::from(block) * BLOCK, len: size.into() };
        Ok(Self {
            at: record.at,
            id: record.id.to_vec(),
            name,
            special: record.is_special(),
            continued: record.raw.flags & FLAG_CONTINUED != 0,
            dir: record.is_dir().then_some(RootAt { block, size }),
            extents: if has_bytes { vec![extent] } else { Vec::new() },
            mtime: time::from_short(record.raw.time),
            attributes,
        })
    }

    fn meta(&self) -> Meta {
        let found = &self.attributes;
        let mode = found.mode.map_or(0o555, |mode| mode & 0o7777);
        let mut meta = Meta::root(u16::try_from(mode).unwrap_or(0), found.mtime.unwrap_or(self.mtime));
        (meta.uid, meta.gid) = (found.uid, found.gid);
        meta
    }

    fn kind(&self) -> Result<Kind<Vec<Extent>>> {
        let corrupt = |kind| ReadError::Corrupt { at: self.at, kind };
        let (major, minor) = self.attributes.device;
        match self.attributes.mode.map_or(0o100_000, |mode| mode & 0o170_000) {
            0o100_000 => Ok(Kind::File(self.extents.clone())),
            0o120_000 => {
                let target = &self.attributes.target;
                if target.is_empty() || target.len() > 4095 || target.contains(&0) {
                    return Err(corrupt(Corruption::Target(target.len())));
                }
                Ok(Kind::Symlink(target.as_slice().into()))
            }
            0o060_000 => Ok(Kind::Block { major, minor }),
            0o020_000 => Ok(Kind::Char { major, minor }),
            0o010_000 => Ok(Kind::Fifo),
            0o140_000 => Ok(Kind::Socket),
            _ => Err(corrupt(Corruption::Mode(self.attributes.mode.unwrap_or(0)))),
        }
    }
}

/// The identifier without version, and without the dot of an empty extension.
fn plain(record: &Record<'_>) -> Vec<u8> {
    let id = record.id;
    let end = id.iter().position(|byte| *byte == b';').unwrap_or(id.len());
    let name = &id[..end];
    name.strip_suffix(b".").unwrap_or(name).to_vec()
}

fn joliet(record: &Record<'_>) -> Result<Vec<u8>> {
    let units: Vec<u16> =
        record.id.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let text = String::from_utf16(&units);
    let text =
        text.map_err(|_| ReadError::Corrupt { at: record.at, kind: Corruption::Name(record.id.to_vec()) })?;
    Ok(text.strip_suffix(";1").unwrap_or(&text).as_bytes().to_vec())
}
