//! The books of a file system: what is safe, and what is only in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Op;

/// Bytes that reach the disk as one, or not.
const PAGE: usize = 4096;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// A directory.
    Dir,
    /// A file.
    File {
        /// Its bytes.
        bytes: Rc<Vec<u8>>,
        /// Its permissions.
        mode: u32,
    },
}

/// Directories and files by their paths below one directory.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// What is left of the changes that are not safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// None of them.
    Nothing,
    /// All of them, as if the program had been killed.
    Everything,
    /// Any of them, as this number has it.
    Some(u64),
}

/// A number by which a file or directory is known whatever its names are.
type Number = usize;

/// Bytes and permissions of a file.
type State = (Rc<Vec<u8>>, u32);

#[derive(Clone, Debug)]
enum Node {
    File { safe: State, now: State },
    Dir { first: BTreeMap<String, Number>, now: BTreeMap<String, Number> },
}

/// A change of one name.
#[derive(Clone, Debug)]
struct Change {
    dir: Number,
    name: String,
    to: Option<Number>,
    safe: bool,
    /// Of the old name of a rename: the change of the new name. The file is never without both.
    new_name: Option<usize>,
}

/// What was true when a call that makes safe began.
#[derive(Clone, Debug)]
struct Begun {
    files: Vec<(Number, State)>,
    dirs: BTreeSet<Number>,
    /// How many changes there were.
    changes: usize,
}

/// A file system below one directory.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    changes: Vec<Change>,
    begun: BTreeMap<usize, Begun>,
}

impl Disk {
    /// One that holds `tree` in `root`, all of it safe.
    ///
    /// # Panics
    /// If a directory is missing in `tree`.
    pub fn new(root: &Path, tree: &Tree) -> Self {
        let dir = || Node::Dir { first: BTreeMap::new(), now: BTreeMap::new() };
        let mut disk =
            Self { root: root.to_owned(), nodes: vec![dir()], changes: Vec::new(), begun: BTreeMap::new() };
        for (path, entry) in tree {
            disk.nodes.push(match entry {
                Entry::Dir => dir(),
                Entry::File { bytes, mode } => {
                    let same = (Rc::clone(bytes), *mode);
                    Node::File { safe: same.clone(), now: same }
                }
            });
            let (parent, name) = disk.place(&root.join(path));
            let number = disk.nodes.len() - 1;
            let Node::Dir { first, now } = &mut disk.nodes[parent] else { panic!("{}", path.display()) };
            first.insert(name.clone(), number);
            now.insert(name, number);
        }
        disk
    }

    /// Does what the program did.
    ///
    /// # Panics
    /// If it cannot have done that: then the list of operations is not what happened.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { path, .. } if self.look(path).is_some() => {}
            Op::Create { path, mode } => {
                let new = (Rc::default(), *mode);
                self.nodes.push(Node::File { safe: new.clone(), now: new });
                self.name(path, Some(self.nodes.len() - 1), None);
            }
            Op::MakeDir { path } => {
                self.nodes.push(Node::Dir { first: BTreeMap::new(), now: BTreeMap::new() });
                self.name(path, Some(self.nodes.len() - 1), None);
            }
            Op::Write { path, at, bytes } => self.write(path, *at, bytes),
            Op::Copy { from, from_at, to, to_at, length } => {
                let bytes = self.file(from).0[*from_at..from_at + length].to_vec();
                self.write(to, *to_at, &bytes);
            }
            Op::Resize { path, length } => Rc::make_mut(&mut self.file(path).0).resize(*length, 0),
            Op::Mode { path, mode } => self.set_mode(path, *mode),
            Op::Rename { from, to } => {
                let number = self.find(from);
                let new = self.name(to, Some(number), None);
                self.name(from, None, Some(new));
            }
            Op::Link { from, to } => {
                let number = self.find(from);
                self.name(to, Some(number), None);
            }
            Op::Remove { path } => {
                self.find(path);
                self.name(path, None, None);
            }
            Op::SyncBegins { call, path } => self.begin(*call, path.as_deref()),
            Op::SyncEnds { call } => self.end(*call),
        }
    }

    fn write(&mut self, path: &Path, at: usize, bytes: &[u8]) {
        let now = Rc::make_mut(&mut self.file(path).0);
        let end = at + bytes.len();
        if now.len() < end {
            now.resize(end, 0);
        }
        now[at..end].copy_from_slice(bytes);
    }

    /// What a file holds now, and its permissions.
    fn file(&mut self, path: &Path) -> &mut State {
        let number = self.find(path);
        match &mut self.nodes[number] {
            Node::File { now, .. } => now,
            Node::Dir { .. } => panic!("{} is a directory", path.display()),
        }
    }

    fn set_mode(&mut self, path: &Path, new: u32) {
        let number = self.find(path);
        // Modes of directories are the same for all that is looked at here.
        if let Node::File { now, .. } = &mut self.nodes[number] {
            now.1 = new;
        }
    }

    /// The directory that a path is in, and its name there.
    fn place(&self, path: &Path) -> (Number, String) {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_else(|| panic!("{} has no name", path.display()));
        (self.find(path.parent().unwrap_or(path)), name.to_owned())
    }

    fn find(&self, path: &Path) -> Number {
        self.look(path).unwrap_or_else(|| panic!("{} is not there", path.display()))
    }

    fn look(&self, path: &Path) -> Option<Number> {
        let below = path.strip_prefix(&self.root).ok()?;
        below.iter().try_fold(0, |at, name| match &self.nodes[at] {
            Node::Dir { now, .. } => now.get(name.to_str()?).copied(),
            Node::File { .. } => None,
        })
    }

    /// Changes what a name stands for.
    fn name(&mut self, path: &Path, to: Option<Number>, new_name: Option<usize>) -> usize {
        let (dir, name) = self.place(path);
        let Node::Dir { now, .. } = &mut self.nodes[dir] else { panic!("{} is in a file", path.display()) };
        match to {
            Some(number) => now.insert(name.clone(), number),
            None => now.remove(&name),
        };
        self.changes.push(Change { dir, name, to, safe: false, new_name });
        self.changes.len() - 1
    }

    fn begin(&mut self, call: usize, path: Option<&Path>) {
        let all: Vec<Number> = match path {
            Some(path) => vec![self.find(path)],
            None => (0..self.nodes.len()).collect(),
        };
        let (mut files, mut dirs) = (Vec::new(), BTreeSet::new());
        for number in all {
            match &self.nodes[number] {
                Node::File { now, .. } => files.push((number, now.clone())),
                Node::Dir { .. } => drop(dirs.insert(number)),
            }
        }
        self.begun.insert(call, Begun { files, dirs, changes: self.changes.len() });
    }

    fn end(&mut self, call: usize) {
        let Begun { files, dirs, changes } = self.begun.remove(&call).expect("what ends has begun");
        for (number, then) in files {
            if let Node::File { safe, .. } = &mut self.nodes[number] {
                *safe = then;
            }
        }
        for at in 0..changes {
            if dirs.contains(&self.changes[at].dir) {
                self.changes[at].safe = true;
                if let Some(new) = self.changes[at].new_name {
                    self.changes[new].safe = true;
                }
            }
        }
        // Within one directory a rename is one change.
        for at in 0..changes {
            if let Some(new) = self.changes[at].new_name {
                self.changes[at].safe |= self.changes[new].safe && self.is_one(at, new);
            }
        }
    }

    fn is_one(&self, old: usize, new: usize) -> bool {
        self.changes[old].dir == self.changes[new].dir
    }

    /// What the disk holds if the power goes now.
    pub fn cut(&self, cut: Cut) -> Tree {
        let mut dice = Dice::new(cut);
        let mut names: Vec<BTreeMap<&str, Number>> = self.nodes.iter().map(first_names).collect();
        let mut stays: Vec<bool> = self.changes.iter().map(|change| change.safe || dice.stays()).collect();
        for old in 0..stays.len() {
            if let Some(new) = self.changes[old].new_name {
                stays[old] = stays[new] && (stays[old] || self.is_one(old, new));
            }
        }
        for (change, _) in self.changes.iter().zip(stays).filter(|(_, stays)| *stays) {
            match change.to {
                Some(number) => names[change.dir].insert(&change.name, number),
                None => names[change.dir].remove(change.name.as_str()),
            };
        }
        let (mut tree, mut todo) = (Tree::new(), vec![(PathBuf::new(), 0)]);
        while let Some((path, dir)) = todo.pop() {
            for (name, number) in &names[dir] {
                let path = path.join(name);
                let entry = match &self.nodes[*number] {
                    Node::Dir { .. } => {
                        todo.push((path.clone(), *number));
                        Entry::Dir
                    }
                    Node::File { safe, now } => Entry::File {
                        bytes: dice.bytes(&safe.0, &now.0),
                        mode: if dice.stays() { now.1 } else { safe.1 },
                    },
                };
                tree.insert(path, entry);
            }
        }
        tree
    }
}

fn first_names(node: &Node) -> BTreeMap<&str, Number> {
    match node {
        Node::File { .. } => BTreeMap::new(),
        Node::Dir { first, .. } => first.iter().map(|(name, number)| (name.as_str(), *number)).collect(),
    }
}

/// Says what is left.
struct Dice {
    cut: Cut,
    state: u64,
    /// Of 10.
    odds: u64,
}

impl Dice {
    fn new(cut: Cut) -> Self {
        let seed = if let Cut::Some(seed) = cut { seed } else { 0 };
        let mut dice = Self { cut, state: seed, odds: 0 };
        // Cuts that take nearly nothing and nearly all find most.
        dice.odds = [1, 5, 9][dice.below(3)];
        dice
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).expect("it is less than a usize")
    }

    fn stays(&mut self) -> bool {
        match self.cut {
            Cut::Nothing => false,
            Cut::Everything => true,
            Cut::Some(_) => self.next() % 10 < self.odds,
        }
    }

    /// Any length from the old to the new one, and of each page the old or the new bytes.
    fn bytes(&mut self, safe: &Rc<Vec<u8>>, now: &Rc<Vec<u8>>) -> Rc<Vec<u8>> {
        match self.cut {
            Cut::Nothing => return Rc::clone(safe),
            Cut::Everything => return Rc::clone(now),
            Cut::Some(_) if safe == now => return Rc::clone(safe),
            Cut::Some(_) => {}
        }
        let (short, long) = (safe.len().min(now.len()), safe.len().max(now.len()));
        let length = [safe.len(), now.len(), short + self.below(long - short + 1)][self.below(3)];
        let mut bytes = vec![0; length];
        for (page, to) in bytes.chunks_mut(PAGE).enumerate() {
            let from = if self.stays() { now } else { safe };
            let there = from.get(page * PAGE..).unwrap_or_default();
            let there = &there[..there.len().min(to.len())];
            to[..there.len()].copy_from_slice(there);
        }
        Rc::new(bytes)
    }
}

/// What is in `dir`.
///
/// # Panics
/// If it cannot be read, or holds something that is neither file nor directory.
pub fn read_tree(dir: &Path) -> Tree {
    let (mut tree, mut todo) = (Tree::new(), vec![PathBuf::new()]);
    while let Some(below) = todo.pop() {
        let names = fs::read_dir(dir.join(&below)).expect("the directory can be listed");
        for name in names.map(|entry| entry.expect("the directory can be listed").file_name()) {
            let path = below.join(name);
            let found = fs::symlink_metadata(dir.join(&path)).expect("what is listed is there");
            let entry = if found.is_dir() {
                todo.push(path.clone());
                Entry::Dir
            } else {
                assert!(found.is_file(), "{} is something else", path.display());
                let bytes = fs::read(dir.join(&path)).expect("the file can be read");
                Entry::File { bytes: Rc::new(bytes), mode: found.mode() & 0o7777 }
            };
            tree.insert(path, entry);
        }
    }
    tree
}

/// Makes `dir` hold `tree` and nothing else.
///
/// # Panics
/// If it cannot be written.
pub fn write_tree(tree: &Tree, dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).expect("a directory can be made");
    for (path, entry) in tree {
        let path = dir.join(path);
        match entry {
            Entry::Dir => fs::create_dir(&path).expect("a directory can be made"),
            Entry::File { bytes, mode } => {
                fs::write(&path, bytes.as_slice()).expect("a file can be written");
                let mode = fs::Permissions::from_mode(*mode);
                fs::set_permissions(&path, mode).expect("the mode of an own file can be set");
            }
        }
    }
}

#[cfg(test)]
mod tests;
