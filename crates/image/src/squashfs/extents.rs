//! Which byte of an image is whose.
//!
//! Tables are compressed in pieces of 8 KiB: each table is a member whose plain bytes have a map of their own, so that an
//! inode is found by the path of its file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::Error;
use super::layout::{
    BasicDir, BasicFile, DATA_RAW, Device, DirEntry, DirHeader, DirIndex, ExtendedDir, ExtendedFile,
    Fragment, Id, InodeHead, META_BLOCK, OnDisk, Pipe, Position, SuperBlock, Symlink, XATTR_ELSEWHERE,
    XATTR_PREFIXES, XattrHeader, XattrKey, XattrNumber, XattrSet, XattrValue, kind, narrow, wide,
};
use super::read::{Body, FileRef, Image, Inner, Region};
use super::resolved;
use super::scan::scan;
use crate::extent::{
    Builder, Faults, Field, Label, MOST_PATHS, Map, Member, Members, NoMembers, Owner, Parsed, Paths, Piece,
    Role, Source, Structure, Unreadable,
};
use crate::io::ReadAt;
use crate::tree::Kind;
use zerocopy::FromBytes;

const FORMAT: &str = "squashfs";

static SUPERBLOCK: Structure = Structure { name: "superblock", fields: fields::<SuperBlock> };
static OPTIONS: Structure = Structure::plain("codec options");
static DATA: Structure = Structure::plain("data");
static FRAGMENT: Structure = Structure::plain("fragment block");
static PADDING: Structure = Structure::plain("padding");
static POSITIONS: Structure = Structure { name: "table positions", fields: positions };
static XATTR_HEADER: Structure = Structure { name: "xattr table header", fields: fields::<XattrHeader> };

static INODE: Structure = Structure { name: "inode", fields: inode };
static LISTING: Structure = Structure { name: "directory listing", fields: listing };
static FRAGMENT_ENTRY: Structure = Structure { name: "fragment entry", fields: fragment };
static EXPORT_ENTRY: Structure = Structure { name: "export entry", fields: fields::<Position> };
static ID: Structure = Structure { name: "owner", fields: fields::<Id> };
static XATTR_SET: Structure = Structure { name: "xattr set", fields: fields::<XattrSet> };
static XATTRS: Structure = Structure { name: "extended attributes", fields: attributes };

/// Plain bytes of a table that are held in memory: three million inodes.
const MOST_TABLE: u64 = 128 << 20;

/// A table of metadata blocks, which is a member of its own.
#[derive(Clone, Copy, Debug)]
struct Table {
    /// The metadata blocks in the image.
    blocks: &'static Structure,
    /// Length of an entry, if all have the same.
    entry: Option<(&'static Structure, usize)>,
}

static INODE_BLOCK: Structure = Structure::plain("inode table");
static DIRECTORY_BLOCK: Structure = Structure::plain("directory table");
static FRAGMENT_BLOCK: Structure = Structure::plain("fragment table");
static EXPORT_BLOCK: Structure = Structure::plain("export table");
static ID_BLOCK: Structure = Structure::plain("table of owners");
static XATTR_BLOCK: Structure = Structure::plain("xattr values");
static XATTR_SET_BLOCK: Structure = Structure::plain("table of xattr sets");

/// The tables, by the numbers that they have as members. Files come behind them.
static TABLES: [Table; 8] = [
    Table { blocks: &INODE_BLOCK, entry: None },
    Table { blocks: &DIRECTORY_BLOCK, entry: None },
    Table { blocks: &FRAGMENT_BLOCK, entry: Some((&FRAGMENT_ENTRY, size_of::<Fragment>())) },
    Table { blocks: &EXPORT_BLOCK, entry: Some((&EXPORT_ENTRY, size_of::<Position>())) },
    Table { blocks: &ID_BLOCK, entry: Some((&ID, size_of::<Id>())) },
    Table { blocks: &XATTR_BLOCK, entry: None },
    Table { blocks: &XATTR_SET_BLOCK, entry: Some((&XATTR_SET, size_of::<XattrSet>())) },
    Table { blocks: &resolved::ALL, entry: None },
];
const INODES: usize = 0;
const DIRECTORIES: usize = 1;
const FRAGMENTS: usize = 2;
const EXPORTS: usize = 3;
const IDS: usize = 4;
const XATTR_VALUES: usize = 5;
const XATTR_SETS: usize = 6;
/// No table, but what some of them say together.
const RESOLVED: usize = 7;

/// The structure of an image.
///
/// # Errors
/// If the superblock cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let image = Image::open(Arc::clone(source)).map_err(|error| Unreadable::new(FORMAT, &error))?;
    let size = source.size().map_err(|error| Unreadable::new(FORMAT, &error))?;
    let mut survey = Survey::default();
    survey.names(&image.inner);
    let mut claims = Claims { inner: &image.inner, builder: Builder::new(size), survey };
    claims.all(size);
    let Claims { builder, survey, .. } = claims;
    let Survey { paths, inodes, listings, files, faults, tables, .. } = survey;
    let paths = Arc::new(paths);
    let map = builder.finish(Arc::clone(&paths));
    let members = Inside { image, paths, inodes, listings, files, tables };
    Ok(Parsed { format: FORMAT, map, members: Box::new(members), faults: faults.finish(), held: 0 })
}

/// What the names of an image lead to.
#[derive(Default)]
struct Survey {
    paths: Paths,
    /// Inodes by reference.
    inodes: BTreeMap<u64, Owner>,
    /// References of directory listings, with their lengths.
    listings: BTreeMap<u64, (u32, Owner)>,
    files: Vec<(FileRef, Owner)>,
    /// Files by where their data begins, and by the fragment that holds their ends.
    by_start: BTreeMap<u64, (Owner, Vec<u32>)>,
    by_fragment: BTreeMap<u32, Vec<u32>>,
    /// The metadata blocks of each table: offset in the image.
    tables: [Vec<u64>; TABLES.len()],
    faults: Faults,
}

impl Survey {
    fn names<R: ReadAt>(&mut self, inner: &Inner<R>) {
        let (mut faults, mut left) = (Faults::default(), MOST_PATHS);
        let result = scan(
            inner,
            |found| {
                let (at, feature) = (found.inode.at, "trees of more than 512 MiB in memory");
                let room = left.checked_sub(100 + found.path.len());
                left = room.ok_or(Error::Unsupported { at, feature })?;
                if self.inodes.contains_key(&found.reference) {
                    return Ok(());
                }
                let owner = self.paths.add(if found.path.is_empty() { b"/" } else { found.path });
                self.inodes.insert(found.reference, owner);
                match &found.inode.body {
                    Body::Dir(dir) if dir.size > 0 => {
                        self.listings.entry(dir.listing).or_insert((dir.size, owner));
                    }
                    Body::Leaf(Kind::File(file)) if file.size > 0 => self.file(*file, owner),
                    _ => {}
                }
                Ok(())
            },
            |error| {
                faults.note(FORMAT, &error);
                Ok(())
            },
        );
        if let Err(error) = result {
            faults.note(FORMAT, &error);
        }
        self.faults = faults;
    }

    /// Notes where a metadata block of a table lies.
    fn keep(&mut self, table: usize, at: u64) {
        self.tables[table].push(at);
        if matches!(table, INODES | IDS | XATTR_VALUES | XATTR_SETS) {
            self.tables[RESOLVED].push(at);
        }
    }

    fn file(&mut self, file: FileRef, owner: Owner) {
        let number = u32::try_from(TABLES.len() + self.files.len()).unwrap_or(u32::MAX);
        self.files.push((file, owner));
        if file.blocks > 0 {
            self.by_start.entry(file.start).or_insert_with(|| (owner, Vec::new())).1.push(number);
        }
        if let Some((fragment, _)) = file.fragment {
            self.by_fragment.entry(fragment).or_default().push(number);
        }
    }
}

/// Claims the structures of an image.
struct Claims<'a> {
    inner: &'a Inner<Source>,
    builder: Builder,
    survey: Survey,
}

impl Claims<'_> {
    fn all(&mut self, size: u64) {
        let head = self.inner.head;
        let used = head.bytes_used.get();
        self.builder.claim(0, wide(size_of::<SuperBlock>()), &SUPERBLOCK, Owner::WHOLE);
        if head.flags.get() & super::layout::flag::CODEC_OPTIONS != 0 {
            let start = wide(size_of::<SuperBlock>());
            self.block(Region { table: "codec options", start, end: used }, start, &OPTIONS, &[]);
        }
        self.tables();
        self.data();
        self.builder.claim(used, size.saturating_sub(used), &PADDING, Owner::WHOLE);
    }

    /// The metadata block at `at`; where the next one would be.
    fn block(
        &mut self,
        region: Region,
        at: u64,
        structure: &'static Structure,
        members: &[u32],
    ) -> Option<u64> {
        let mut header = [0; 2];
        if at >= region.end || self.inner.read(at, &mut header).is_err() {
            return None;
        }
        let stored = u16::from_le_bytes(header) & !super::layout::META_RAW;
        let len = 2 + u64::from(stored);
        if stored == 0 || usize::from(stored) > META_BLOCK || at.saturating_add(len) > region.end {
            return None;
        }
        self.builder.claim_encoded(at, len, structure, Owner::WHOLE, members);
        Some(at + len)
    }

    /// Metadata blocks from `start` to `end`.
    fn run(&mut self, table: usize, start: u64, end: u64) {
        let region = Region { table: TABLES[table].blocks.name, start, end };
        let mut at = start;
        while let Some(next) = self.block(region, at, TABLES[table].blocks, encoded(table)) {
            self.survey.keep(table, at);
            at = next;
        }
    }

    /// Metadata blocks whose positions are listed from `list` on, and that list; the lowest position in it.
    fn listed(&mut self, table: usize, list: u64, entries: u64) -> Option<u64> {
        let (_, entry) = TABLES[table].entry?;
        let blocks = entries.saturating_mul(wide(entry)).div_ceil(wide(META_BLOCK));
        let used = self.inner.head.bytes_used.get();
        let mut lowest = None;
        let mut known = 0;
        for index in 0..blocks {
            let mut position = [0; 8];
            if self.inner.read(list.saturating_add(index * 8), &mut position).is_err() {
                break;
            }
            known = index + 1;
            let at = u64::from_le_bytes(position);
            let region = Region { table: TABLES[table].blocks.name, start: 0, end: used };
            if self.block(region, at, TABLES[table].blocks, encoded(table)).is_some() {
                self.survey.keep(table, at);
                lowest = Some(lowest.unwrap_or(at).min(at));
            }
        }
        self.builder.claim(list, known * 8, &POSITIONS, Owner::WHOLE);
        lowest
    }

    fn tables(&mut self) {
        let head = self.inner.head;
        let used = head.bytes_used.get();
        let fragments = u64::from(head.fragment_count.get());
        let mut ends = vec![used];
        ends.extend(self.listed(FRAGMENTS, head.fragment_table.get(), fragments));
        if head.flags.get() & super::layout::flag::EXPORTABLE != 0 {
            let inodes = u64::from(head.inode_count.get());
            ends.extend(self.listed(EXPORTS, head.export_table.get(), inodes));
        }
        ends.extend(self.listed(IDS, head.id_table.get(), u64::from(head.id_count.get())));
        let mut values_end = used;
        if let Some(header) = self.inner.xattrs {
            let at = head.xattr_table.get();
            let length = wide(size_of::<XattrHeader>());
            self.builder.claim(at, length, &XATTR_HEADER, Owner::WHOLE);
            let sets = self.listed(XATTR_SETS, at.saturating_add(length), u64::from(header.count.get()));
            values_end = sets.unwrap_or(at);
            ends.push(header.start.get());
        }
        // Tables that are listed lie behind the one of directories; what their lists say ends it.
        let directories = head.directory_table.get();
        let end = ends.into_iter().filter(|end| *end > directories).min().unwrap_or(used);
        self.run(INODES, head.inode_table.get(), directories);
        self.run(DIRECTORIES, directories, end);
        if let Some(header) = self.inner.xattrs {
            self.run(XATTR_VALUES, header.start.get(), values_end);
        }
    }

    fn data(&mut self) {
        for (start, (owner, members)) in std::mem::take(&mut self.survey.by_start) {
            let mut longest = 0;
            for member in &members {
                let (file, _) = self.survey.files[narrow(*member) - TABLES.len()];
                match self.inner.words(&file) {
                    Ok(words) => {
                        let stored = words.iter().map(|word| u64::from(word & !DATA_RAW)).sum();
                        longest = u64::max(longest, stored);
                    }
                    Err(error) => self.survey.faults.note(FORMAT, &error),
                }
            }
            self.builder.claim_encoded(start, longest, &DATA, owner, &members);
        }
        let mut by_fragment = std::mem::take(&mut self.survey.by_fragment);
        for index in 0..self.inner.head.fragment_count.get() {
            let members = by_fragment.remove(&index).unwrap_or_default();
            match self.inner.fragment_entry(index) {
                Ok(entry) => {
                    let (at, len) = (entry.start.get(), u64::from(entry.size.get() & !DATA_RAW));
                    self.builder.claim_encoded(at, len, &FRAGMENT, Owner::WHOLE, &members);
                }
                Err(error) => {
                    self.survey.faults.note(FORMAT, &error);
                    break;
                }
            }
        }
    }
}

/// The members that are encoded in the blocks of a table, by their places among [`TABLES`].
fn encoded(table: usize) -> &'static [u32] {
    match table {
        INODES => &[0],
        DIRECTORIES => &[1],
        FRAGMENTS => &[2],
        EXPORTS => &[3],
        IDS => &[4, 7],
        XATTR_VALUES => &[5, 7],
        _ => &[6, 7],
    }
}

/// The members of an image: its tables, and its files.
struct Inside {
    image: Image<Source>,
    paths: Arc<Paths>,
    inodes: BTreeMap<u64, Owner>,
    listings: BTreeMap<u64, (u32, Owner)>,
    files: Vec<(FileRef, Owner)>,
    tables: [Vec<u64>; TABLES.len()],
}

impl Members for Inside {
    fn open(&self, member: u32) -> Result<Member, Unreadable> {
        let failed = |error: Error| Unreadable::new(FORMAT, &error);
        let index = narrow(member);
        if index < TABLES.len() {
            return self.table(index).map_err(failed);
        }
        let file = self.files.get(index - TABLES.len());
        let (file, _) =
            file.ok_or_else(|| Unreadable { format: FORMAT, message: format!("there is no file {member}") })?;
        let open: Source = Arc::new(self.image.file(file).map_err(failed)?);
        Ok(open.into())
    }

    fn label(&self, member: u32) -> Label<'_> {
        let index = narrow(member);
        match TABLES.get(index) {
            Some(table) => Label::Part(table.blocks.name),
            None => {
                let owner = self.files.get(index - TABLES.len()).map_or(Owner::WHOLE, |(_, owner)| *owner);
                Label::Path(self.paths.of(owner))
            }
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(TABLES.len() + self.files.len()).unwrap_or(u32::MAX)
    }

    fn pieces(&self, member: u32) -> Result<Vec<Piece>, Unreadable> {
        let index = narrow(member);
        if let Some(blocks) = self.tables.get(index) {
            let whole = |at: &u64| Piece { place: Some((*at, 1)), plain: false, part: (0, 0) };
            return Ok(blocks.iter().map(whole).collect());
        }
        match self.files.get(index - TABLES.len()) {
            Some((file, _)) => self.blocks(file).map_err(|error| Unreadable::new(FORMAT, &error)),
            None => Ok(Vec::new()),
        }
    }
}

impl Inside {
    /// The blocks and the end of a file.
    fn blocks(&self, file: &FileRef) -> Result<Vec<Piece>, Error> {
        let inner = &self.image.inner;
        let block = u64::from(inner.head.block_size.get());
        let (mut all, mut at, mut left) = (Vec::new(), file.start, file.size);
        for word in inner.words(file)? {
            let (stored, plain) = (u64::from(word & !DATA_RAW), word & DATA_RAW != 0);
            let part = (0, left.min(block));
            all.push(Piece { place: (word != 0).then_some((at, stored)), plain, part });
            at = at.saturating_add(stored);
            left -= part.1;
        }
        if let Some((fragment, offset)) = file.fragment {
            let entry = inner.fragment_entry(fragment)?;
            let (word, part) = (entry.size.get(), (u64::from(offset), left));
            let place = Some((entry.start.get(), u64::from(word & !DATA_RAW)));
            all.push(Piece { place, plain: word & DATA_RAW != 0, part });
        }
        Ok(all)
    }

    /// The plain bytes of a table, and their structure.
    fn table(&self, table: usize) -> Result<Member, Error> {
        if table == RESOLVED {
            let (plain, map) = resolved::resolve(&self.image.inner, &self.inodes, &self.paths, MOST_TABLE);
            return Ok(whole(table, plain, map));
        }
        let (region, mut plain, mut places) = (self.region(table), Vec::new(), BTreeMap::new());
        for at in &self.tables[table] {
            if wide(plain.len()) > MOST_TABLE {
                return Err(Error::Unsupported { at: *at, feature: "tables of more than 128 MiB" });
            }
            places.insert(*at, wide(plain.len()));
            plain.extend_from_slice(&self.image.inner.meta_block(*at, region)?.plain);
        }
        let map = self.map(table, &plain, &places);
        Ok(whole(table, plain, map))
    }

    fn region(&self, table: usize) -> Region {
        let name = TABLES[table].blocks.name;
        match table {
            INODES => self.image.inner.inode_region(),
            _ => Region { table: name, start: 0, end: self.image.inner.head.bytes_used.get() },
        }
    }

    /// Which bytes of a table are whose; `places` has the plain offset of each block.
    fn map(&self, table: usize, plain: &[u8], places: &BTreeMap<u64, u64>) -> Map {
        let size = wide(plain.len());
        let mut builder = Builder::new(size);
        let head = &self.image.inner.head;
        let place = |start: u64, reference: u64| {
            let block = places.get(&start.saturating_add(reference >> 16))?;
            Some(block + (reference & 0xffff))
        };
        match table {
            INODES => {
                let start = head.inode_table.get();
                let starts: Vec<_> = self
                    .inodes
                    .iter()
                    .filter_map(|(reference, owner)| Some((place(start, *reference)?, *owner)))
                    .collect();
                // An inode ends where the next one begins.
                let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([size]);
                for ((at, owner), end) in starts.iter().zip(ends) {
                    builder.claim(*at, end.saturating_sub(*at), &INODE, *owner);
                }
            }
            DIRECTORIES => {
                for (reference, (len, owner)) in &self.listings {
                    if let Some(at) = place(head.directory_table.get(), *reference) {
                        builder.claim(at, u64::from(*len), &LISTING, *owner);
                    }
                }
            }
            XATTR_VALUES => builder.claim(0, size, &XATTRS, Owner::WHOLE),
            _ => {
                if let Some((structure, len)) = TABLES[table].entry {
                    for index in 0..plain.len() / len {
                        builder.claim(wide(index * len), wide(len), structure, Owner::WHOLE);
                    }
                }
            }
        }
        builder.finish(Arc::clone(&self.paths))
    }
}

/// A table as a member of its own.
fn whole(table: usize, plain: Vec<u8>, map: Map) -> Member {
    let (format, held) = (TABLES[table].blocks.name, wide(plain.len()));
    let parsed = Parsed { format, map, members: Box::new(NoMembers), faults: Vec::new(), held };
    let source: Source = Arc::new(plain);
    Member { source, parsed: Some(parsed) }
}

/// The fields of one structure.
fn fields<T: OnDisk>(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    take::<T>(&mut all, bytes, 0);
    all
}

/// Positions, by their numbers.
fn positions(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    for (index, position) in bytes.chunks_exact(8).enumerate() {
        let mut one = Vec::new();
        take::<Position>(&mut one, position, 0);
        let at = wide(8 * index);
        all.extend(one.into_iter().map(|field| Field { at, name: format!("block {index}").into(), ..field }));
    }
    all
}

/// Attributes with their values, those of one set behind those of the other.
fn attributes(bytes: &[u8]) -> Vec<Field> {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while let Some((name, value, next)) = attribute(rest) {
        let (at, len) = (wide(bytes.len() - rest.len()), wide(rest.len() - next.len()));
        all.push(Field {
            at,
            len,
            name: name.into(),
            value: crate::raw::show_bytes(value),
            role: Role::Value,
        });
        rest = next;
    }
    all
}

/// The attribute that lies first: its name, its value or where that lies, and what follows.
fn attribute(bytes: &[u8]) -> Option<(String, &[u8], &[u8])> {
    let (key, rest) = XattrKey::read_from_prefix(bytes).ok()?;
    let (name, rest) = rest.split_at_checked(key.name_size.get().into())?;
    let (value, rest) = XattrValue::read_from_prefix(rest).ok()?;
    let (value, rest) = rest.split_at_checked(narrow(value.size.get()))?;
    let kind = key.kind.get();
    let prefix = XATTR_PREFIXES.get(usize::from(kind & !XATTR_ELSEWHERE))?;
    let elsewhere = if kind & XATTR_ELSEWHERE == 0 { "" } else { ", which lies elsewhere" };
    Some((format!("{}{}{elsewhere}", prefix.escape_ascii(), name.escape_ascii()), value, rest))
}

/// Where a fragment lies and how long it is follows from what is in it.
fn fragment(bytes: &[u8]) -> Vec<Field> {
    let place = |field: Field| match &*field.name {
        "size" => Field { role: Role::Place, ..field },
        _ => field,
    };
    fields::<Fragment>(bytes).into_iter().map(place).collect()
}

/// Adds the fields of a structure that lies `at` bytes from the start of `bytes`, and gives the structure and where it ends.
fn take<T: OnDisk>(all: &mut Vec<Field>, bytes: &[u8], at: usize) -> Option<(T, usize)> {
    let (raw, _) = T::read_from_prefix(bytes.get(at..)?).ok()?;
    let fields = raw.fields();
    let ends = fields.iter().skip(1).map(|(at, ..)| *at).chain([size_of::<T>()]);
    for ((start, name, value), end) in fields.iter().zip(ends) {
        all.push(Field {
            at: wide(at + start),
            len: wide(end - start),
            name: (*name).into(),
            value: if *name == "mtime" || *name == "mkfs_time" { time(value) } else { value.clone() },
            role: role(name),
        });
    }
    Some((raw, at + size_of::<T>()))
}

/// Seconds, and the date that they are.
fn time(seconds: &str) -> String {
    match seconds.parse() {
        Ok(number) => format!("{} ({seconds})", crate::epoch::civil(number)),
        Err(_) => seconds.to_owned(),
    }
}

/// Numbers of inodes and blocks follow from what else is there.
fn role(name: &str) -> Role {
    match name {
        "block" | "offset" | "start" | "fragment" | "number" | "parent" | "reference" | "position"
        | "root" | "bytes_used" | "sparse" => Role::Place,
        _ if name.ends_with("_table") => Role::Place,
        _ => Role::Value,
    }
}

fn push(all: &mut Vec<Field>, at: usize, bytes: &[u8], name: &str, value: String, role: Role) {
    let (at, len) = (wide(at), wide(bytes.len()));
    all.push(Field { at, len, name: name.to_owned().into(), value, role });
}

fn inode(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    let mut rest = || -> Option<()> {
        let (head, at) = take::<InodeHead>(&mut all, bytes, 0)?;
        let extended = head.kind.get() > kind::EXTENDED;
        let basic = head.kind.get() - if extended { kind::EXTENDED } else { 0 };
        match basic {
            kind::DIR if extended => {
                let (raw, mut at) = take::<ExtendedDir>(&mut all, bytes, at)?;
                for _ in 0..raw.index_count.get() {
                    let (index, end) = take::<DirIndex>(&mut all, bytes, at)?;
                    let name = bytes.get(end..)?.get(..narrow(index.name_size.get()).min(255) + 1)?;
                    push(&mut all, end, name, "index", show(name), Role::Place);
                    at = end + name.len();
                }
            }
            kind::DIR => drop(take::<BasicDir>(&mut all, bytes, at)?),
            kind::FILE => {
                let at = match extended {
                    true => take::<ExtendedFile>(&mut all, bytes, at)?.1,
                    false => take::<BasicFile>(&mut all, bytes, at)?.1,
                };
                for (index, word) in bytes.get(at..)?.chunks_exact(4).enumerate() {
                    let value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                    let value = format!("{value:#x}");
                    push(&mut all, at + 4 * index, word, &format!("block {index}"), value, Role::Place);
                }
            }
            kind::SYMLINK => {
                let (raw, at) = take::<Symlink>(&mut all, bytes, at)?;
                let target = bytes.get(at..)?.get(..narrow(raw.size.get()))?;
                push(&mut all, at, target, "target", show(target), Role::Value);
                if extended {
                    take::<XattrNumber>(&mut all, bytes, at + target.len())?;
                }
            }
            _ => {
                let at = match basic {
                    kind::BLOCK | kind::CHAR => take::<Device>(&mut all, bytes, at)?.1,
                    _ => take::<Pipe>(&mut all, bytes, at)?.1,
                };
                if extended {
                    take::<XattrNumber>(&mut all, bytes, at)?;
                }
            }
        }
        Some(())
    };
    // What is left out because it is cut off has no name.
    let _ = rest();
    all
}

fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

fn listing(bytes: &[u8]) -> Vec<Field> {
    let (mut all, mut at) = (Vec::new(), 0);
    let mut rest = || -> Option<()> {
        while at < bytes.len() {
            let (header, end) = take::<DirHeader>(&mut all, bytes, at)?;
            at = end;
            for _ in 0..=header.count.get() {
                let (entry, start) = (DirEntry::read_from_prefix(bytes.get(at..)?).ok()?.0, at);
                at += size_of::<DirEntry>();
                let name = bytes.get(at..)?.get(..usize::from(entry.name_size.get()) + 1)?;
                at += name.len();
                let number = header.number.get().wrapping_add_signed(i32::from(entry.number.get()));
                let (block, offset) = (header.block.get(), entry.offset.get());
                let value = format!("type {}, inode {number} at {block:#x}+{offset:#x}", entry.kind.get());
                push(&mut all, start, &bytes[start..at], &show(name), value, Role::Place);
            }
        }
        Some(())
    };
    let _ = rest();
    all
}
