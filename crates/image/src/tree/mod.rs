//! The canonical form of a file system: every reader yields one, every writer takes one.
//!
//! Names are bytes and sorted as bytes. Hard links are data: two names hold the same [`LeafId`]. What a file holds
//! is generic: a reader points into its image, everything else uses [`Content`], a size and a digest.

mod contents;
mod edit;
mod glob;
pub mod merkle;
mod name;
pub mod text;

use std::collections::BTreeMap;

pub use contents::{Contents, Layered, Memory};
pub use edit::Policy;
pub use glob::{NotAPattern, Pattern};
pub use name::{Name, NotAName};

use crate::digest::Digest;

/// Owner, permissions, time and extended attributes of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits including set-id and sticky, 0 to 0o7777. The file type is not part of it.
    pub mode: u16,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Modification time in seconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// Extended attributes by full name (`security.capability`), as the kernel reports them.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Meta {
    /// Owned by root, without extended attributes.
    pub fn root(mode: u16, mtime: i64) -> Self {
        Self { mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }
}

/// What a regular file holds, by name of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub digest: Digest,
}

impl Content {
    /// The content that is exactly `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, digest: Digest::of(bytes) }
    }
}

/// Index into the leaves of one tree. Names with equal ids are hard links to one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeafId(u32);

impl LeafId {
    /// Position in [`Tree::leaves`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a name in a directory stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory, which has one name only.
    Dir(Dir),
    /// Anything else, by its place in the table of leaves.
    Leaf(LeafId),
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir {
    /// Owner, permissions, time.
    pub meta: Meta,
    entries: BTreeMap<Name, Node>,
}

/// An inode that is not a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf<C = Content> {
    /// Owner, permissions, time.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind<C>,
}

/// The kinds of inode that are not directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<C = Content> {
    /// A regular file.
    File(C),
    /// A symbolic link and its target, 1 to 4095 bytes without NUL.
    Symlink(Box<[u8]>),
    /// A block device.
    Block {
        /// Major number, 0 to 4095.
        major: u32,
        /// Minor number, 0 to 1048575.
        minor: u32,
    },
    /// A character device.
    Char {
        /// Major number, 0 to 4095.
        major: u32,
        /// Minor number, 0 to 1048575.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// A file system: a root directory and the inodes its names refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree<C = Content> {
    /// The root directory.
    pub root: Dir,
    leaves: Vec<Leaf<C>>,
}

/// Why a tree could not be changed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The name is taken; nothing is ever replaced silently.
    #[error("{} exists already", String::from_utf8_lossy(.0))]
    Exists(Vec<u8>),
    /// The path, or a directory on the way to it, is not there.
    #[error("{} does not exist", String::from_utf8_lossy(.0))]
    Missing(Vec<u8>),
    /// A component on the way is not a directory.
    #[error("{} is not a directory", String::from_utf8_lossy(.0))]
    NotADirectory(Vec<u8>),
    /// A component cannot be a file name.
    #[error(transparent)]
    Name(#[from] NotAName),
}

impl Dir {
    /// An empty directory.
    pub fn new(meta: Meta) -> Self {
        Self { meta, entries: BTreeMap::new() }
    }

    /// Entries in byte order of name: the order of every writer.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&Name, &Node)> {
        self.entries.iter()
    }

    /// The node called `name`.
    pub fn get(&self, name: &[u8]) -> Option<&Node> {
        self.entries.get(name)
    }

    /// The node called `name`, to change it.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut Node> {
        self.entries.get_mut(name)
    }

    /// Adds an entry. A name already present is an error, never a replacement.
    pub fn insert(&mut self, name: Name, node: Node) -> Result<(), TreeError> {
        match self.entries.entry(name) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(node);
                Ok(())
            }
            std::collections::btree_map::Entry::Occupied(taken) => {
                Err(TreeError::Exists(taken.key().as_bytes().to_vec()))
            }
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, name: &[u8]) -> Option<Node> {
        self.entries.remove(name)
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&Name, &mut Node) -> bool) {
        self.entries.retain(|name, node| keep(name, node));
    }

    /// Applies `change` to the metadata of this directory and all directories below it.
    pub fn for_each_dir_mut(&mut self, change: &mut impl FnMut(&mut Meta)) {
        change(&mut self.meta);
        for node in self.entries.values_mut() {
            if let Node::Dir(dir) = node {
                dir.for_each_dir_mut(change);
            }
        }
    }
}

/// One step of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a, C = Content> {
    /// Owner, permissions, time.
    pub meta: &'a Meta,
    /// What the path stands for.
    pub item: Item<'a, C>,
}

/// What a path stands for.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a, C = Content> {
    /// A directory.
    Dir(&'a Dir),
    /// Anything else. Equal ids are hard links.
    Leaf(LeafId, &'a Kind<C>),
}

impl<C> Tree<C> {
    /// A tree with nothing but its root.
    pub fn new(root: Meta) -> Self {
        Self { root: Dir::new(root), leaves: Vec::new() }
    }

    /// All leaves by [`LeafId`], including any that no name refers to any more.
    pub fn leaves(&self) -> &[Leaf<C>] {
        &self.leaves
    }

    /// All leaves, to change them in place.
    pub fn leaves_mut(&mut self) -> &mut [Leaf<C>] {
        &mut self.leaves
    }

    /// The leaf with this id.
    ///
    /// # Panics
    /// If the id is of another tree.
    pub fn leaf(&self, id: LeafId) -> &Leaf<C> {
        &self.leaves[id.index()]
    }

    /// Adds a leaf that has no name yet.
    pub fn add_leaf(&mut self, leaf: Leaf<C>) -> LeafId {
        let id = LeafId(u32::try_from(self.leaves.len()).expect("a tree has below 2^32 leaves"));
        self.leaves.push(leaf);
        id
    }

    /// The directory at `path` (`b""` is the root; components are separated by `/`).
    pub fn dir_mut(&mut self, path: &[u8]) -> Result<&mut Dir, TreeError> {
        let mut dir = &mut self.root;
        for part in components(path) {
            dir = match dir.entries.get_mut(part) {
                Some(Node::Dir(dir)) => dir,
                Some(Node::Leaf(_)) => return Err(TreeError::NotADirectory(path.to_vec())),
                None => return Err(TreeError::Missing(path.to_vec())),
            };
        }
        Ok(dir)
    }

    /// What is at `path`; `None` if nothing is. Symbolic links are not followed.
    pub fn get(&self, path: &[u8]) -> Option<Entry<'_, C>> {
        let mut dir = &self.root;
        let mut parts = components(path).peekable();
        while let Some(part) = parts.next() {
            match dir.entries.get(part)? {
                Node::Dir(below) => dir = below,
                Node::Leaf(id) if parts.peek().is_none() => return Some(self.entry(*id)),
                Node::Leaf(_) => return None,
            }
        }
        Some(Entry { meta: &dir.meta, item: Item::Dir(dir) })
    }

    fn entry(&self, id: LeafId) -> Entry<'_, C> {
        let leaf = self.leaf(id);
        Entry { meta: &leaf.meta, item: Item::Leaf(id, &leaf.kind) }
    }

    /// Adds a leaf under `path`, whose directory must exist.
    pub fn insert(&mut self, path: &[u8], leaf: Leaf<C>) -> Result<LeafId, TreeError> {
        let id = self.add_leaf(leaf);
        match self.link(path, id) {
            Ok(()) => Ok(id),
            Err(error) => {
                self.leaves.pop();
                Err(error)
            }
        }
    }

    /// Gives the leaf `id` one more name.
    pub fn link(&mut self, path: &[u8], id: LeafId) -> Result<(), TreeError> {
        let (parent, name) = split(path);
        self.dir_mut(parent)?.insert(Name::new(name)?, Node::Leaf(id)).map_err(|e| at_path(e, path))
    }

    /// Adds an empty directory at `path`, whose parent must exist.
    pub fn insert_dir(&mut self, path: &[u8], meta: Meta) -> Result<(), TreeError> {
        let (parent, name) = split(path);
        let dir = self.dir_mut(parent)?;
        dir.insert(Name::new(name)?, Node::Dir(Dir::new(meta))).map_err(|e| at_path(e, path))
    }

    /// Takes out what is at `path`, with everything below it; `None` if nothing is there.
    pub fn remove(&mut self, path: &[u8]) -> Option<Node> {
        let (parent, name) = split(path);
        self.dir_mut(parent).ok()?.remove(name)
    }

    /// Calls `visit` for the root (path `b""`) and everything below, parents first, names in byte order.
    /// Paths have no leading slash.
    pub fn walk<'a, E>(
        &'a self,
        mut visit: impl FnMut(&[u8], Entry<'a, C>) -> Result<(), E>,
    ) -> Result<(), E> {
        fn below<'a, C, E>(
            tree: &'a Tree<C>,
            dir: &'a Dir,
            path: &mut Vec<u8>,
            visit: &mut impl FnMut(&[u8], Entry<'a, C>) -> Result<(), E>,
        ) -> Result<(), E> {
            visit(path, Entry { meta: &dir.meta, item: Item::Dir(dir) })?;
            for (name, node) in &dir.entries {
                let length = path.len();
                if length > 0 {
                    path.push(b'/');
                }
                path.extend_from_slice(name.as_bytes());
                match node {
                    Node::Dir(dir) => below(tree, dir, path, visit)?,
                    Node::Leaf(id) => visit(path, tree.entry(*id))?,
                }
                path.truncate(length);
            }
            Ok(())
        }
        below(self, &self.root, &mut Vec::new(), &mut visit)
    }

    /// How many names each leaf has, by [`LeafId::index`].
    pub fn link_counts(&self) -> Vec<u32> {
        fn count(dir: &Dir, counts: &mut [u32]) {
            for node in dir.entries.values() {
                match node {
                    Node::Dir(dir) => count(dir, counts),
                    Node::Leaf(id) => counts[id.index()] += 1,
                }
            }
        }
        let mut counts = vec![0; self.leaves.len()];
        count(&self.root, &mut counts);
        counts
    }

    /// The same tree with other file contents, made in the order of leaves.
    pub fn try_map<D, E>(self, mut f: impl FnMut(C) -> Result<D, E>) -> Result<Tree<D>, E> {
        let leaves = self.leaves.into_iter().map(|Leaf { meta, kind }| {
            let kind = match kind {
                Kind::File(content) => Kind::File(f(content)?),
                Kind::Symlink(target) => Kind::Symlink(target),
                Kind::Block { major, minor } => Kind::Block { major, minor },
                Kind::Char { major, minor } => Kind::Char { major, minor },
                Kind::Fifo => Kind::Fifo,
                Kind::Socket => Kind::Socket,
            };
            Ok(Leaf { meta, kind })
        });
        Ok(Tree { root: self.root, leaves: leaves.collect::<Result<_, E>>()? })
    }
}

fn at_path(error: TreeError, path: &[u8]) -> TreeError {
    match error {
        TreeError::Exists(_) => TreeError::Exists(path.to_vec()),
        other => other,
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// Splits off the last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> Leaf {
        Leaf { meta: Meta::root(0o644, 0), kind: Kind::File(Content::of(bytes)) }
    }

    #[test]
    fn walks_in_byte_order_with_parents_first() {
        let mut tree = Tree::new(Meta::root(0o755, 0));
        tree.insert_dir(b"b", Meta::root(0o755, 0)).unwrap();
        let id = tree.insert(b"b/x", file(b"x")).unwrap();
        tree.link(b"B", id).unwrap();
        tree.insert(b"b.a", file(b"")).unwrap();
        let mut paths = Vec::new();
        tree.walk(|path, _| {
            paths.push(String::from_utf8(path.to_vec()).unwrap());
            Ok::<(), ()>(())
        })
        .unwrap();
        assert_eq!(paths, ["", "B", "b", "b/x", "b.a"]);
        assert_eq!(tree.link_counts(), [2, 1]);
    }

    #[test]
    fn names_are_never_replaced() {
        let mut tree = Tree::new(Meta::root(0o755, 0));
        tree.insert(b"a", file(b"1")).unwrap();
        assert_eq!(tree.insert(b"a", file(b"2")), Err(TreeError::Exists(b"a".to_vec())));
        assert_eq!(tree.insert(b"a/b", file(b"2")), Err(TreeError::NotADirectory(b"a".to_vec())));
        assert_eq!(tree.insert(b"c/b", file(b"2")), Err(TreeError::Missing(b"c".to_vec())));
        assert_eq!(tree.leaves().len(), 1);
    }
}
