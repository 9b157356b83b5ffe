//! Everything about an image that does not depend on where things lie: names, records, sizes, order.

use std::collections::BTreeMap;

use super::layout::{BLOCK, FLAG_CONTINUED, FLAG_DIRECTORY};
use super::names::{self, Original};
use super::susp::{self, Area, Continuation, Entry};
use super::{Iso, WriteError};
use crate::epoch::Epoch;
use crate::io::wide;
use crate::tree::{Content, Dir, Kind, Leaf, LeafId, Meta, Node, Tree};

/// Bytes of the fixed part of a directory record.
const RECORD: usize = 33;
/// Most bytes of a record; its length field is one byte and records are even.
const LONGEST_RECORD: usize = 254;

/// The bytes of one or more files.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) content: Content,
    /// Paths in the order of the walk.
    pub(super) paths: Vec<Vec<u8>>,
    /// Whether this is the boot image, which has bytes of its own even if another file has equal ones.
    pub(super) boot: bool,
}

/// What a record points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A directory, by its place in [`Space::dirs`].
    Dir(usize),
    /// Bytes `skip..skip + size` of a file, by its place in [`Plan::files`].
    Section { file: usize, skip: u64, size: u32 },
    /// Nothing: empty files, links, devices.
    Nothing,
}

/// A directory record without its address.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: Vec<u8>,
    pub(super) target: Target,
    pub(super) flags: u8,
    pub(super) mtime: u32,
    pub(super) area: Area,
}

impl Record {
    /// Bytes up to the system use area.
    fn head(&self) -> usize {
        (RECORD + self.id.len()).next_multiple_of(2)
    }

    /// Bytes of the record.
    pub(super) fn length(&self) -> usize {
        let more = if self.area.more.is_some() { susp::CE_LENGTH } else { 0 };
        (self.head() + self.area.inline.len() + more).next_multiple_of(2)
    }
}

/// A directory of one name space.
#[derive(Clone, Debug)]
pub(super) struct SpaceDir {
    /// Place of the parent in [`Space::dirs`]; the root is its own.
    pub(super) parent: usize,
    /// Identifier in the path table; one zero byte for the root.
    pub(super) id: Vec<u8>,
    /// The records, `.` and `..` first.
    pub(super) records: Vec<Record>,
    /// Bytes of the records, a multiple of 2048.
    pub(super) size: u32,
    /// What did not fit into the records; lies behind them.
    pub(super) continuation: Continuation,
}

/// One set of directories: with Rock Ridge, or Joliet.
#[derive(Clone, Debug)]
pub(super) struct Space {
    /// Directories in the order of the path table (ECMA-119, 6.9.1).
    pub(super) dirs: Vec<SpaceDir>,
}

/// The whole image but for addresses.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// File bytes in the order in which they lie in the image.
    pub(super) files: Vec<File>,
    pub(super) primary: Space,
    pub(super) joliet: Option<Space>,
}

/// Which rules of names and attributes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    RockRidge,
    Joliet,
}

/// What both name spaces are made of.
struct Source<'a> {
    tree: &'a Tree,
    epoch: Epoch,
    /// Place in [`Plan::files`] by leaf.
    file_of: BTreeMap<LeafId, usize>,
    /// Sizes by place in [`Plan::files`].
    sizes: Vec<u64>,
    links: Vec<u32>,
    /// Leaves numbered in the order of the walk.
    serials: BTreeMap<LeafId, usize>,
    /// Largest section of a file.
    section: u64,
}

/// Plans `iso`. No section of a file gets larger than `section` bytes.
pub(super) fn plan(iso: &Iso<'_>, section: u64) -> Result<Plan, WriteError> {
    let (files, file_of, serials) = collect(iso)?;
    let sizes = files.iter().map(|file| file.content.size).collect();
    let source = Source {
        tree: iso.tree,
        epoch: iso.epoch,
        file_of,
        sizes,
        links: iso.tree.link_counts(),
        serials,
        section,
    };
    let primary = source.space(Rules::RockRidge)?;
    let joliet = if iso.joliet { Some(source.space(Rules::Joliet)?) } else { None };
    Ok(Plan { files, primary, joliet })
}

type Collected = (Vec<File>, BTreeMap<LeafId, usize>, BTreeMap<LeafId, usize>);

/// Finds the bytes to store, each once, and the order in which to store them.
fn collect(iso: &Iso<'_>) -> Result<Collected, WriteError> {
    let leaf_at = |path: &[u8], what| match iso.tree.get(path).map(|entry| entry.item) {
        Some(crate::tree::Item::Leaf(id, Kind::File(content))) => Ok((id, *content)),
        _ => Err(WriteError::NoFile { what, path: path.to_vec() }),
    };
    let boot = iso.bios.map(|bios| leaf_at(bios.image, "boot image")).transpose()?.map(|(id, _)| id);
    let mut files: Vec<File> = Vec::new();
    let mut by_content = BTreeMap::new();
    let mut file_of = BTreeMap::new();
    let mut serials = BTreeMap::new();
    iso.tree.walk(|path, entry| {
        if !entry.meta.xattrs.is_empty() {
            return Err(WriteError::Xattrs(path.to_vec()));
        }
        let crate::tree::Item::Leaf(id, kind) = entry.item else {
            return Ok(());
        };
        let serial = serials.len();
        serials.entry(id).or_insert(serial);
        if let Kind::File(content) = kind
            && content.size > 0
        {
            let is_boot = boot == Some(id);
            let index = *by_content.entry((*content, is_boot)).or_insert_with(|| {
                files.push(File { content: *content, paths: Vec::new(), boot: is_boot });
                files.len() - 1
            });
            files[index].paths.push(path.to_vec());
            file_of.insert(id, index);
        }
        Ok(())
    })?;
    Ok((files, file_of, serials))
}

/// A directory on its way into a space.
struct Pending<'a> {
    dir: &'a Dir,
    parent: usize,
    id: Vec<u8>,
    /// What the space has of it, in the order of records.
    entries: Vec<Named<'a>>,
}

/// An entry of a directory with its identifier.
struct Named<'a> {
    name: &'a [u8],
    node: &'a Node,
    id: Vec<u8>,
    /// Place in [`Space::dirs`] if it is a directory.
    place: usize,
}

impl Source<'_> {
    /// Names all directories level by level, then makes their records.
    fn space(&self, rules: Rules) -> Result<Space, WriteError> {
        let mut pending = vec![self.pending(rules, &self.tree.root, 0, vec![0])];
        let mut level = 0..1;
        while !level.is_empty() {
            let end = level.end;
            for parent in level {
                let mut entries = std::mem::take(&mut pending[parent].entries);
                for entry in &mut entries {
                    if let Node::Dir(dir) = entry.node {
                        entry.place = pending.len();
                        pending.push(self.pending(rules, dir, parent, entry.id.clone()));
                    }
                }
                pending[parent].entries = entries;
            }
            level = end..pending.len();
        }
        // The path table has 16 bits for the number of a parent.
        if pending.len() > usize::from(u16::MAX) {
            return Err(WriteError::TooManyDirectories(pending.len()));
        }
        let dirs = (0..pending.len()).map(|place| self.directory(rules, place, &pending));
        Ok(Space { dirs: dirs.collect::<Result<_, _>>()? })
    }

    fn pending<'a>(&self, rules: Rules, dir: &'a Dir, parent: usize, id: Vec<u8>) -> Pending<'a>
    where
        Self: 'a,
    {
        let kept = |node: &Node| match node {
            Node::Dir(_) => true,
            Node::Leaf(id) => rules == Rules::RockRidge || matches!(self.tree.leaf(*id).kind, Kind::File(_)),
        };
        let entries: Vec<(&[u8], &Node)> = dir
            .entries()
            .filter(|(_, node)| kept(node))
            .map(|(name, node)| (name.as_bytes(), node))
            .collect();
        let is_dir = |node: &Node| matches!(node, Node::Dir(_));
        let originals: Vec<Original<'_>> =
            entries.iter().map(|(name, node)| Original { name, directory: is_dir(node) }).collect();
        let entries = match rules {
            Rules::RockRidge => {
                let mut named: Vec<_> = entries.into_iter().zip(names::primary(&originals)).collect();
                named.sort_by(|(_, one), (_, other)| one.cmp(other));
                named
                    .into_iter()
                    .map(|((name, node), id)| Named { name, node, id: id.primary_id(is_dir(node)), place: 0 })
                    .collect()
            }
            Rules::Joliet => {
                let mut named: Vec<_> = entries.into_iter().zip(names::joliet(&originals)).collect();
                named.sort_by_cached_key(|(_, id)| id.units());
                named
                    .into_iter()
                    .map(|((name, node), id)| Named { name, node, id: id.joliet_id(is_dir(node)), place: 0 })
                    .collect()
            }
        };
        Pending { dir, parent, id, entries }
    }

    fn directory(&self, rules: Rules, place: usize, all: &[Pending<'_>]) -> Result<SpaceDir, WriteError> {
        let one = &all[place];
        let mut builder = Builder { rules, records: Vec::new(), continuation: Continuation::default() };
        let mtime = |meta: &Meta| self.epoch.clamp(meta.mtime);
        for (id, other) in [(0, place), (1, one.parent)] {
            let dir = all[other].dir;
            let mut entries = Vec::new();
            if rules == Rules::RockRidge {
                if id == 0 && place == 0 {
                    entries.push(susp::sp());
                }
                entries.extend(self.directory_entries(dir, other)?);
                if id == 0 && place == 0 {
                    entries.push(susp::er());
                }
            }
            builder.add(vec![id], Target::Dir(other), FLAG_DIRECTORY, mtime(&dir.meta), &entries);
        }
        for Named { name, node, id, place } in &one.entries {
            match node {
                Node::Dir(dir) => {
                    let entries = [self.directory_entries(dir, *place)?, susp::nm(name)].concat();
                    let target = Target::Dir(*place);
                    builder.add(id.clone(), target, FLAG_DIRECTORY, mtime(&dir.meta), &entries);
                }
                Node::Leaf(leaf_id) => {
                    let leaf = self.tree.leaf(*leaf_id);
                    let entries = self.leaf_entries(*leaf_id, leaf, name, all.len())?;
                    for (target, flags) in self.sections(*leaf_id, leaf)? {
                        builder.add(id.clone(), target, flags, mtime(&leaf.meta), &entries);
                    }
                }
            }
        }
        let size = records_size(&builder.records).ok_or(WriteError::TooLarge)?;
        let Builder { records, continuation, .. } = builder;
        Ok(SpaceDir { parent: one.parent, id: one.id.clone(), records, size, continuation })
    }

    /// Serial numbers: directories first, by their place, then leaves.
    fn directory_entries(&self, dir: &Dir, place: usize) -> Result<Vec<Entry>, WriteError> {
        let below = dir.entries().filter(|(_, node)| matches!(node, Node::Dir(_))).count();
        let links = u32::try_from(below).unwrap_or(u32::MAX).saturating_add(2);
        let meta = &dir.meta;
        let serial = u32::try_from(place + 1).map_err(|_| WriteError::TooLarge)?;
        let px = susp::px(0o040_000 | u32::from(meta.mode), links, meta.uid, meta.gid, serial);
        Ok(vec![px, susp::tf(self.epoch.clamp(meta.mtime))])
    }

    fn leaf_entries(
        &self,
        id: LeafId,
        leaf: &Leaf,
        name: &[u8],
        dirs: usize,
    ) -> Result<Vec<Entry>, WriteError> {
        let format = match leaf.kind {
            Kind::File(_) => 0o100_000,
            Kind::Symlink(_) => 0o120_000,
            Kind::Block { .. } => 0o060_000,
            Kind::Char { .. } => 0o020_000,
            Kind::Fifo => 0o010_000,
            Kind::Socket => 0o140_000,
        };
        let (meta, links) = (&leaf.meta, self.links.get(id.index()).copied().unwrap_or(1));
        let serial = dirs + 1 + self.serials.get(&id).copied().unwrap_or(0);
        let serial = u32::try_from(serial).map_err(|_| WriteError::TooLarge)?;
        let mut entries = vec![
            susp::px(format | u32::from(meta.mode), links, meta.uid, meta.gid, serial),
            susp::tf(self.epoch.clamp(meta.mtime)),
        ];
        if let Kind::Block { major, minor } | Kind::Char { major, minor } = leaf.kind {
            entries.push(susp::pn(major, minor));
        }
        entries.extend(susp::nm(name));
        if let Kind::Symlink(target) = &leaf.kind {
            entries.extend(susp::sl(target));
        }
        Ok(entries)
    }

    /// The records of a file: one, or one for each 4 GiB.
    fn sections(&self, id: LeafId, leaf: &Leaf) -> Result<Vec<(Target, u8)>, WriteError> {
        let file = match (&leaf.kind, self.file_of.get(&id)) {
            (Kind::File(_), Some(file)) => *file,
            _ => return Ok(vec![(Target::Nothing, 0)]),
        };
        let size = self.sizes[file];
        let mut sections = Vec::new();
        let mut skip = 0;
        while skip < size {
            let take = (size - skip).min(self.section);
            let flags = if skip + take < size { FLAG_CONTINUED } else { 0 };
            let take32 = u32::try_from(take).map_err(|_| WriteError::TooLarge)?;
            sections.push((Target::Section { file, skip, size: take32 }, flags));
            skip += take;
        }
        Ok(sections)
    }
}

struct Builder {
    rules: Rules,
    records: Vec<Record>,
    continuation: Continuation,
}

impl Builder {
    fn add(&mut self, id: Vec<u8>, target: Target, flags: u8, mtime: u32, entries: &[Entry]) {
        let nothing = Area { inline: Vec::new(), more: None };
        let mut record = Record { id, target, flags, mtime, area: nothing };
        if self.rules == Rules::RockRidge {
            record.area = self.continuation.place(entries, LONGEST_RECORD - record.head());
        }
        self.records.push(record);
    }
}

/// Bytes of the records when none crosses a block, rounded up to whole blocks.
fn records_size(records: &[Record]) -> Option<u32> {
    let mut size = 0_u64;
    for record in records {
        size = place_record(size, record) + wide(record.length());
    }
    u32::try_from(size.next_multiple_of(BLOCK)).ok()
}

/// Where a record begins that may not begin before `at`.
pub(super) fn place_record(at: u64, record: &Record) -> u64 {
    let left = BLOCK - at % BLOCK;
    if wide(record.length()) > left { at + left } else { at }
}
