//! Random trees, the same ones for the same seed, and changes of them.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_testkit::Numbers;

use crate::support::noise;

/// What a format, and the program that writes it, can take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taste {
    /// Directories and files only, with names as Windows takes them.
    pub(super) plain: bool,
    /// Unix sockets.
    pub(super) sockets: bool,
    /// Extended attributes.
    pub(super) attributes: bool,
    /// Longest target of a symbolic link.
    pub(super) target: usize,
    /// Devices, owners and attributes that only root may make.
    pub(super) root: bool,
}

/// A tree that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) taste: Taste,
    /// By path without a slash in front; that of the root is empty.
    pub(super) nodes: BTreeMap<Vec<u8>, Node>,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// Seconds since 1970, and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Dir,
    /// Length, and what is written where.
    File(u64, Vec<(u64, Vec<u8>)>),
    /// One more name of the file at this path.
    Link(Vec<u8>),
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

/// Parts of names, from those that every system takes to those that only Linux does.
const NAMES: [&[u8]; 24] = [
    b"a",
    b"file.txt",
    b"UPPER",
    b"with space",
    b".hidden",
    b"-rf",
    b"a-b",
    b"a.b",
    "Gr\u{fc}\u{df}e \u{96ea}".as_bytes(),
    b"README.md~1",
    b"a+b=c,d;[e]",
    b"x'y",
    // From here on not in FAT.
    "\u{1f980}\u{301}".as_bytes(),
    b"trailing ",
    b"dots...",
    b"new\nline",
    b"tab\tand \x01\x7f",
    b"\xff\xfe\x80",
    b"back\\slash",
    b"quote\"*?<>|:",
    b"%41=%3D",
    b"CON",
    b"#!$&",
    b"{}~^`",
];
/// How many of them FAT takes.
const PLAIN: usize = 12;
/// A file capability as Linux stores it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Plan {
    /// A tree with a bit of everything.
    pub(super) fn new(seed: u64, taste: Taste) -> Self {
        let mut numbers = Numbers(seed);
        // The first numbers of near seeds are alike.
        for _ in 0..8 {
            numbers.below(2);
        }
        let mut plan = Self { taste, nodes: BTreeMap::new() };
        let root = plan.node(Kind::Dir, &mut numbers);
        plan.nodes.insert(Vec::new(), root);
        for _ in 0..3 + numbers.below(8) {
            let path = plan.place(&mut numbers);
            plan.add(path, Kind::Dir, &mut numbers);
        }
        if numbers.below(3) == 0 {
            plan.deep(&mut numbers);
        }
        if numbers.below(4) == 0 {
            plan.crowd(&mut numbers);
        }
        for _ in 0..15 + numbers.below(35) {
            plan.add_any(&mut numbers);
        }
        plan
    }

    /// The same tree with a few changes, at least one of them in the content of a file.
    pub(super) fn changed(&self, seed: u64) -> Self {
        let mut numbers = Numbers(seed ^ 0x5bd1_e995);
        for _ in 0..8 {
            numbers.below(2);
        }
        let mut plan = self.clone();
        plan.content(&mut numbers);
        for _ in 0..1 + numbers.below(7) {
            plan.change(&mut numbers);
        }
        plan
    }

    fn add_any(&mut self, numbers: &mut Numbers) {
        let kind = match numbers.below(if self.taste.plain { 11 } else { 20 }) {
            0..8 => file(numbers),
            8..11 => sparse(numbers),
            11..13 => {
                let files = self.having(|node| matches!(node.kind, Kind::File(..)));
                let Some(file) = pick(&files, numbers) else { return };
                Kind::Link(file)
            }
            13..16 => Kind::Symlink(target(numbers, self.taste.target)),
            16 => Kind::Fifo,
            17 if self.taste.sockets => Kind::Socket,
            18 if self.taste.root => Kind::Char(device(numbers).0, device(numbers).1),
            19 if self.taste.root => Kind::Block(device(numbers).0, device(numbers).1),
            _ => file(numbers),
        };
        let path = self.place(numbers);
        self.add(path, kind, numbers);
    }

    /// More directories in each other than ISO 9660 has room for.
    fn deep(&mut self, numbers: &mut Numbers) {
        let mut path = self.place(numbers);
        for depth in 0..9 {
            self.add(path.clone(), Kind::Dir, numbers);
            path.extend(format!("/deep{depth}").bytes());
        }
        self.add(path, file(numbers), numbers);
    }

    /// More names than a block of a directory has room for.
    fn crowd(&mut self, numbers: &mut Numbers) {
        let dir = self.place(numbers);
        self.add(dir.clone(), Kind::Dir, numbers);
        for number in 0..100 + numbers.below(300) {
            let path = [&dir[..], format!("/one of many files, number {number}").as_bytes()].concat();
            let content = Kind::File(2, vec![(0, vec![b'x', b'\n'])]);
            self.add(path, content, numbers);
        }
    }

    fn add(&mut self, path: Vec<u8>, kind: Kind, numbers: &mut Numbers) {
        let node = self.node(kind, numbers);
        self.nodes.entry(path).or_insert(node);
    }

    fn node(&self, kind: Kind, numbers: &mut Numbers) -> Node {
        const MODES: [u32; 8] = [0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777, 0o000, 0o7777];
        let mut mode = MODES[numbers.below(MODES.len())];
        if !self.taste.root {
            // Who packs it must be able to read it, and who unpacks it to give it attributes.
            mode |= if matches!(kind, Kind::Dir) { 0o700 } else { 0o600 };
        }
        const OWNERS: [u32; 5] = [0, 7, 1000, 100_000, 3_000_000];
        let owner = (OWNERS[numbers.below(5)], OWNERS[numbers.below(5)]);
        let mut mtime = time(numbers);
        if self.taste.plain {
            // FAT begins in 1980. For mtools 2100 is a leap year: what it unpacks then is a day late, which what it lists is not.
            mtime.0 = mtime.0.clamp(315_619_200, 4_102_444_800);
        }
        let mut node = Node { kind, mode, owner, mtime, xattrs: BTreeMap::new() };
        while numbers.below(4) == 0 {
            self.attribute(&mut node, numbers);
        }
        node
    }

    /// Adds an attribute, or gives one another value.
    fn attribute(&self, node: &mut Node, numbers: &mut Numbers) {
        if !self.taste.attributes {
            return;
        }
        let everywhere = matches!(node.kind, Kind::Dir | Kind::File(..));
        let length = [0, 1, 10, 60, 300][numbers.below(5)];
        let (name, value) = match numbers.below(6) {
            0 => ("user.text", b"the same everywhere".to_vec()),
            1 => ("user.bytes", numbers.bytes(length)),
            2 => ("user.a=b%c", numbers.bytes(4)),
            3 => ("user.\u{e9}", b"\n=\n".to_vec()),
            4 if self.taste.root => ("trusted.selfsame", numbers.bytes(length)),
            5 if self.taste.root && matches!(node.kind, Kind::File(..)) => {
                ("security.capability", CAPABILITY.to_vec())
            }
            _ => return,
        };
        if everywhere || name.starts_with("trusted.") && self.taste.root {
            node.xattrs.insert(name.to_owned(), value);
        }
    }

    /// A path that nothing has.
    fn place(&self, numbers: &mut Numbers) -> Vec<u8> {
        let shallow = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count() < 5 && path.len() < 900;
        let dirs = self.having(|node| matches!(node.kind, Kind::Dir));
        let dirs: Vec<_> = dirs.into_iter().filter(|path| shallow(path)).collect();
        let dir = pick(&dirs, numbers).unwrap_or_default();
        let folded = |path: &[u8]| String::from_utf8_lossy(path).to_lowercase();
        let taken: BTreeSet<String> = self.nodes.keys().map(|path| folded(path)).collect();
        loop {
            let name = self.name(numbers);
            let path = [&dir[..], if dir.is_empty() { b"" } else { b"/" }, &name].concat();
            let free = if self.taste.plain {
                !taken.contains(&folded(&path))
            } else {
                !self.nodes.contains_key(&path)
            };
            if free {
                return path;
            }
        }
    }

    fn name(&self, numbers: &mut Numbers) -> Vec<u8> {
        let names = if self.taste.plain { PLAIN } else { NAMES.len() };
        let mut name = NAMES[numbers.below(names)].to_vec();
        match numbers.below(8) {
            0..3 => {}
            3..6 => name.extend(numbers.below(100).to_string().bytes()),
            6 => name.extend(NAMES[numbers.below(names)]),
            _ => {
                let length = [50, 98, 99, 100, 101, 200, 255][numbers.below(7)];
                // mtools gives a directory one more cluster, not two: on FAT32 that is room for 16 entries.
                let length = if self.taste.plain { length.min(15 * 13) } else { length };
                name.extend(std::iter::repeat_n(b'n', length - name.len()));
            }
        }
        name
    }

    fn having(&self, wanted: impl Fn(&Node) -> bool) -> Vec<Vec<u8>> {
        let found = self.nodes.iter().filter(|(_, node)| wanted(node));
        found.map(|(path, _)| path.clone()).collect()
    }

    /// Another content of a file, of the same length or not.
    fn content(&mut self, numbers: &mut Numbers) {
        let files = self.having(|node| matches!(node.kind, Kind::File(..)));
        let Some(path) = pick(&files, numbers) else {
            return self.add(b"new".to_vec(), Kind::File(3, vec![(0, b"new".to_vec())]), numbers);
        };
        let node = self.nodes.get_mut(&path).expect("it was just found");
        let Kind::File(size, pieces) = &mut node.kind else { return };
        match pieces.last_mut() {
            Some((_, bytes)) if !bytes.is_empty() && numbers.below(2) == 0 => {
                let at = numbers.below(bytes.len());
                bytes[at] ^= 1;
            }
            _ => {
                pieces.push((*size, b"and more\n".to_vec()));
                *size += 9;
            }
        }
    }

    fn change(&mut self, numbers: &mut Numbers) {
        let (all, taste) = (self.having(|_| true), self.taste);
        let path = pick(&all, numbers).unwrap_or_default();
        let own = self.clone();
        let Some(node) = self.nodes.get_mut(&path) else { return };
        match numbers.below(10) {
            0 => self.content(numbers),
            1 => node.mtime.0 += 1 + i64::from(taste.plain),
            2 => node.mtime.1 = (node.mtime.1 + 1) % 1_000_000_000,
            3 => node.mode ^= 0o011,
            4 if taste.root => node.owner.1 += 1,
            5 => own.attribute(node, numbers),
            6 => node.xattrs.clear(),
            7 => self.remove(&path),
            8 => self.renamed(&path, numbers),
            _ => self.add_any(numbers),
        }
    }

    /// Takes out what nothing depends on.
    fn remove(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        let needed = self.nodes.iter().any(|(other, node)| {
            other.starts_with(&below) || matches!(&node.kind, Kind::Link(first) if first == path)
        });
        if !path.is_empty() && !needed {
            self.nodes.remove(path);
        }
    }

    fn renamed(&mut self, path: &[u8], numbers: &mut Numbers) {
        let Some(node) = self.nodes.get(path).cloned() else { return };
        let count = self.nodes.len();
        self.remove(path);
        if self.nodes.len() < count {
            let path = self.place(numbers);
            self.nodes.insert(path, node);
        }
    }
}

fn pick(all: &[Vec<u8>], numbers: &mut Numbers) -> Option<Vec<u8>> {
    if all.is_empty() { None } else { Some(all[numbers.below(all.len())].clone()) }
}

fn time(numbers: &mut Numbers) -> (i64, u32) {
    const SECONDS: [i64; 10] = [
        0,
        1,
        -1,
        -1_000_000_000,
        1_600_000_000,
        1_700_000_001,
        (1 << 31) - 1,
        1 << 31,
        (1 << 32) + 5,
        315_532_800,
    ];
    let nanoseconds = [0, 1, 250_000_000, 999_999_999][numbers.below(4)];
    let seconds = SECONDS[numbers.below(SECONDS.len())];
    let more = i64::try_from(numbers.below(1000)).expect("it is small");
    (if numbers.below(2) == 0 { seconds } else { 1_600_000_000 + more }, nanoseconds)
}

fn device(numbers: &mut Numbers) -> (u32, u32) {
    [(1, 3), (8, 0), (255, 255), (259, 300_000), (4095, 1_048_575), (5, 256)][numbers.below(6)]
}

fn target(numbers: &mut Numbers, longest: usize) -> Vec<u8> {
    const TARGETS: [&[u8]; 7] =
        [b"a", b"/", b"../..", b"/etc/./motd", b"no//where/", "gr\u{fc}n".as_bytes(), b"\xff b"];
    match numbers.below(3) {
        0 => {
            let length = [59, 60, 61, 99, 100, 101, 254, 1000, 4095][numbers.below(9)];
            b"to/somewhere/far/away/".iter().copied().cycle().take(length.min(longest)).collect()
        }
        _ => TARGETS[numbers.below(TARGETS.len())].to_vec(),
    }
}

/// Text, noise, or the same byte again and again.
fn bytes(length: usize, numbers: &mut Numbers) -> Vec<u8> {
    match numbers.below(3) {
        0 => {
            let from = numbers.below(1000);
            noise(from + length).split_off(from)
        }
        1 => (0..).flat_map(|line| format!("line {line}\n").into_bytes()).take(length).collect(),
        _ => vec![b'x'; length],
    }
}

fn file(numbers: &mut Numbers) -> Kind {
    const SIZES: [usize; 14] = [0, 1, 5, 60, 155, 511, 512, 513, 2048, 4095, 4096, 4097, 70_000, 300_001];
    let size = SIZES[numbers.below(SIZES.len())];
    let content = bytes(size, numbers);
    let pieces = if content.is_empty() { Vec::new() } else { vec![(0, content)] };
    Kind::File(u64::try_from(size).expect("it is small"), pieces)
}

/// A file with holes, which may be at its start and at its end.
fn sparse(numbers: &mut Numbers) -> Kind {
    const BLOCK: usize = 4096;
    let (mut at, mut pieces) = (numbers.below(2) * BLOCK * 3, Vec::new());
    for _ in 0..numbers.below(6) {
        let length = [1, 100, BLOCK, BLOCK + 1, 5 * BLOCK][numbers.below(5)];
        pieces.push((u64::try_from(at).expect("it is small"), bytes(length, numbers)));
        at = (at + length).next_multiple_of(BLOCK) + numbers.below(20) * BLOCK;
    }
    let size = at + [0, 1, 10 * BLOCK, 100 * BLOCK + 7][numbers.below(4)];
    let size = size.max(pieces.last().map_or(0, |(at, bytes)| usize::try_from(*at).unwrap() + bytes.len()));
    Kind::File(u64::try_from(size).expect("it is small"), pieces)
}
