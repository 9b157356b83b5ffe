//! What will be written, decided before the first byte: inode numbers, owners, attribute sets, contents, and whether
//! the format can hold it all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::Digest;
use crate::squashfs::error::{EntryRule, Path, WriteError};
use crate::squashfs::layout::{MAX_DEPTH, MAX_XATTR, XATTR_PREFIXES, wide};
use crate::squashfs::read::Xattrs;
use crate::squashfs::sort::Sort;
use crate::tree::{Content, Dir, Entry, Item, Kind, LeafId, Meta, Node, Tree};

/// One content to store, and a file that has it, for messages: the first one of the highest priority.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) content: Content,
    pub(super) path: Path,
}

/// Where a content lies among the others: the highest priority first, then in the order of the walk.
type Rank = (Reverse<i16>, usize);

/// The decisions.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) tree: &'a Tree,
    /// Number of names of each leaf.
    pub(super) links: Vec<u32>,
    /// Inode number of each leaf.
    pub(super) leaf_numbers: Vec<u32>,
    /// Inode number of each directory, in the order in which a walk finds them.
    pub(super) dir_numbers: Vec<u32>,
    pub(super) inode_count: u32,
    /// Owners and their place in the table: ascending.
    pub(super) ids: BTreeMap<u32, u16>,
    /// Attribute sets and their numbers: ascending.
    pub(super) xattrs: BTreeMap<&'a Xattrs, u32>,
    /// Contents that are not empty, each once, in the order in which they are stored.
    pub(super) wanted: Vec<Wanted>,
    /// Place of each content in `wanted`.
    pub(super) by_content: BTreeMap<Content, usize>,
    sort: Option<&'a Sort>,
    /// Of each content, as long as the walk goes on; empty without a sort file.
    ranks: Vec<Rank>,
    /// Files the walk has seen.
    seen: usize,
}

impl<'a> Plan<'a> {
    pub(super) fn new(tree: &'a Tree, sort: Option<&'a Sort>) -> Result<Self, WriteError> {
        // Before anything that recurses: a tree that is too deep shall be an error, not an overflow.
        depth(&tree.root, &mut Vec::new())?;
        let mut plan = Plan {
            tree,
            links: tree.link_counts(),
            leaf_numbers: vec![0; tree.leaves().len()],
            dir_numbers: Vec::new(),
            inode_count: 0,
            ids: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            wanted: Vec::new(),
            by_content: BTreeMap::new(),
            sort,
            ranks: Vec::new(),
            seen: 0,
        };
        let mut owners = BTreeSet::new();
        tree.walk(|path, entry| plan.visit(path, entry, &mut owners))?;
        plan.rearrange();
        let limit = u64::from(u16::MAX);
        for (index, owner) in owners.iter().enumerate() {
            let index = u16::try_from(index).ok().filter(|index| *index < u16::MAX);
            let need = || WriteError::TooLarge { table: "id", need: wide(owners.len()), limit };
            plan.ids.insert(*owner, index.ok_or_else(need)?);
        }
        for (number, place) in (0u32..).zip(plan.xattrs.values_mut()) {
            *place = number;
        }
        plan.number()?;
        Ok(plan)
    }

    fn visit(&mut self, path: &[u8], entry: Entry<'a>, owners: &mut BTreeSet<u32>) -> Result<(), WriteError> {
        let broken = |rule| WriteError::Entry { path: Path(path.to_vec()), rule };
        owners.extend([entry.meta.uid, entry.meta.gid]);
        check_meta(entry.meta).map_err(broken)?;
        if !entry.meta.xattrs.is_empty() {
            self.xattrs.insert(&entry.meta.xattrs, 0);
        }
        let Item::Leaf(_, kind) = entry.item else {
            return Ok(());
        };
        match kind {
            Kind::File(content) => return self.want(path, *content),
            Kind::Symlink(target) if !(1..=4095).contains(&target.len()) || target.contains(&0) => {
                return Err(broken(EntryRule::Symlink { size: target.len() }));
            }
            Kind::Block { major, minor } | Kind::Char { major, minor }
                if *major > 0xfff || *minor > 0xf_ffff =>
            {
                return Err(broken(EntryRule::Device { major: *major, minor: *minor }));
            }
            _ => {}
        }
        Ok(())
    }

    fn want(&mut self, path: &[u8], content: Content) -> Result<(), WriteError> {
        if content.size == 0 {
            let found = Digest::of(b"");
            let expected = content.digest;
            let path = Path(path.to_vec());
            return if found == expected {
                Ok(())
            } else {
                Err(WriteError::Digest { path, expected, found })
            };
        }
        let rank = self.sort.map(|sort| (Reverse(sort.priority(path)), self.seen));
        self.seen += 1;
        let next = self.wanted.len();
        let index = *self.by_content.entry(content).or_insert(next);
        if index == next {
            self.wanted.push(Wanted { content, path: Path(path.to_vec()) });
            self.ranks.extend(rank);
        } else if let Some(rank) = rank.filter(|rank| *rank < self.ranks[index]) {
            self.ranks[index] = rank;
            self.wanted[index].path = Path(path.to_vec());
        }
        Ok(())
    }

    /// Brings the contents into the order of their ranks.
    fn rearrange(&mut self) {
        let ranks = std::mem::take(&mut self.ranks);
        if ranks.is_empty() {
            return;
        }
        let mut ranked: Vec<_> = ranks.into_iter().zip(std::mem::take(&mut self.wanted)).collect();
        // No two ranks are equal.
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        self.wanted = ranked.into_iter().map(|(_, wanted)| wanted).collect();
        for (index, wanted) in self.wanted.iter().enumerate() {
            self.by_content.insert(wanted.content, index);
        }
    }

    /// Numbers inodes in the order in which [`super::inode`] writes them.
    fn number(&mut self) -> Result<(), WriteError> {
        let tree = self.tree;
        let mut next = 0u64;
        self.dir_numbers.push(0);
        self.number_below(&tree.root, &mut next);
        next += 1;
        let limit = u64::from(u32::MAX) - 1;
        self.inode_count = u32::try_from(next)
            .ok()
            .filter(|count| u64::from(*count) <= limit)
            .ok_or(WriteError::TooLarge { table: "inode", need: next, limit })?;
        self.dir_numbers[0] = self.inode_count;
        Ok(())
    }

    fn number_below(&mut self, dir: &Dir, next: &mut u64) {
        let mut below = Vec::new();
        for (_, node) in dir.entries() {
            if let Node::Dir(dir) = node {
                below.push(self.dir_numbers.len());
                self.dir_numbers.push(0);
                self.number_below(dir, next);
            }
        }
        let mut below = below.into_iter();
        for (_, node) in dir.entries() {
            // Beyond 32 bits the count is refused; what is noted here does not matter then.
            let number = u32::try_from(*next + 1).unwrap_or(u32::MAX);
            match node {
                Node::Dir(_) => self.dir_numbers[below.next().expect("one per directory")] = number,
                Node::Leaf(id) if self.leaf_numbers[id.index()] == 0 => {
                    self.leaf_numbers[id.index()] = number
                }
                Node::Leaf(_) => continue,
            }
            *next += 1;
        }
    }

    /// Number of the attribute set of an inode, if it has attributes.
    pub(super) fn xattr(&self, meta: &Meta) -> Option<u32> {
        self.xattrs.get(&meta.xattrs).copied()
    }

    /// Inode number of a leaf.
    pub(super) fn leaf_number(&self, id: LeafId) -> u32 {
        self.leaf_numbers[id.index()]
    }
}

fn depth<'a>(dir: &'a Dir, path: &mut Vec<&'a [u8]>) -> Result<(), WriteError> {
    if path.len() > MAX_DEPTH {
        let rule = EntryRule::Depth { limit: MAX_DEPTH };
        return Err(WriteError::Entry { path: Path(path.join(&b'/')), rule });
    }
    for (name, node) in dir.entries() {
        if let Node::Dir(below) = node {
            path.push(name.as_bytes());
            depth(below, path)?;
            path.pop();
        }
    }
    Ok(())
}

fn check_meta(meta: &Meta) -> Result<(), EntryRule> {
    if meta.mode > 0o7777 {
        return Err(EntryRule::Mode { mode: meta.mode });
    }
    for (name, value) in &meta.xattrs {
        let known =
            XATTR_PREFIXES.iter().any(|prefix| name.strip_prefix(*prefix).is_some_and(|n| !n.is_empty()));
        if !known || name.len() > 255 || name.contains(&0) {
            return Err(EntryRule::XattrName { name: name.to_vec() });
        }
        if value.len() > MAX_XATTR {
            return Err(EntryRule::XattrValue { name: name.to_vec(), size: value.len() });
        }
    }
    Ok(())
}
