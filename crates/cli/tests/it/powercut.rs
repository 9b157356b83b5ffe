//! The power goes while a snapshot is taken, tagged or removed: whatever of the unsynced changes is left, every snapshot is
//! whole or not there, what was said to be done is done, and the next run ends as if nothing had happened.
//!
//! No power is cut: `selfsame_testkit::powercut` works out what a disk may hold, from the system calls of a run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use selfsame_store::{Depth, Store};
use selfsame_testkit::powercut::{Cut, Disk, Entry, Op, Tree, read_tree, trace, write_tree};
use selfsame_testkit::{TestEnvironment, number, traces};

use crate::collect::{put, series};
use crate::program;
use crate::scene::Scene;

/// How many cuts there are at random moments of each command, besides those at each sync. `CUTS=200` for a long look.
const CUTS: u64 = 10;
/// How often each command is killed before a cut, spread over its operations. `KILLS=50` for a long look.
const KILLS: usize = 8;
/// How many snapshots there are before.
const SERIES: usize = 4;

/// A command on the disk, the directory `disk` of a world: the store `disk/s`, and what else the command makes there.
struct Case<'a> {
    world: &'a TestEnvironment,
    words: &'a [&'a str],
    /// How many snapshots there may be when it was interrupted.
    snapshots: std::ops::RangeInclusive<usize>,
}

impl Case<'_> {
    fn root(&self) -> PathBuf {
        // As the kernel names it.
        self.world.root().canonicalize().unwrap().join("disk")
    }

    fn run(&self, wrapper: &[&str], words: &[&str]) -> Output {
        program(self.world, wrapper, &[words, &["--store", "disk/s"]].concat()).output().unwrap()
    }

    #[track_caller]
    fn done(&self, words: &[&str], when: &str) -> String {
        let ran = self.run(&[], words);
        assert!(ran.status.success(), "{words:?} {when}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Runs the command on what the disk holds: what it did there.
    #[track_caller]
    fn traced(&self, when: &str) -> Vec<Op> {
        let traced = self.run(&trace::wrapper("calls"), self.words);
        assert!(traced.status.success(), "{when}: {}", String::from_utf8_lossy(&traced.stderr));
        let log = fs::read_to_string(self.world.root().join("calls")).unwrap();
        trace::operations(&log, &self.root(), &self.world.root().canonicalize().unwrap())
    }

    /// Runs the command once, and then looks at all that a power cut could have left of it. The disk then is as after the
    /// command. How many states were looked at.
    fn cut(&self) -> usize {
        let before = read_tree(&self.root());
        let ops = self.traced("at first");
        let after = read_tree(&self.root());
        let mut look = Look { case: self, after: &after, seen: BTreeSet::new(), cuts: 0 };
        look.at_each_sync(&before, &ops);
        look.at_random(&before, &ops);
        look.after_a_kill(&before, &ops);
        println!(
            "{:?}: {} operations, {} cuts, {} states",
            self.words,
            ops.len(),
            look.cuts,
            look.seen.len()
        );
        let seen = look.seen.len();
        write_tree(&after, &self.root());
        seen
    }
}

/// A look at what is left.
struct Look<'a> {
    case: &'a Case<'a>,
    after: &'a Tree,
    /// States that were looked at already.
    seen: BTreeSet<Tree>,
    cuts: usize,
}

impl Look<'_> {
    fn at_each_sync(&mut self, before: &Tree, ops: &[Op]) {
        let mut disk = Disk::new(&self.case.root(), before);
        for (number, op) in ops.iter().enumerate() {
            if let Op::SyncEnds { .. } = op {
                for cut in [Cut::Nothing, Cut::Everything, Cut::Some(number as u64)] {
                    self.look(&disk, cut, &format!("cut before operation {number}, {}", op.words()));
                }
            }
            disk.apply(op);
        }
        // Otherwise the books are wrong, and everything else says nothing.
        let same = |tree: &Tree| -> Vec<(PathBuf, Option<Vec<u8>>)> {
            let bytes = |entry: &Entry| match entry {
                Entry::File { bytes, .. } => Some(bytes.to_vec()),
                Entry::Dir => None,
            };
            tree.iter().map(|(path, entry)| (path.clone(), bytes(entry))).collect()
        };
        assert!(same(&disk.cut(Cut::Everything)) == same(self.after), "the disk is not as the trace has it");
        self.at_the_end(&disk, "after the command");
    }

    /// What was said to be done is, whatever of the rest is left.
    fn at_the_end(&mut self, disk: &Disk, when: &str) {
        for cut in [Cut::Nothing, Cut::Everything].into_iter().chain((0..5).map(Cut::Some)) {
            let when = format!("{:?}: cut {when}, {cut:?}", self.case.words);
            let left = disk.cut(cut);
            assert_eq!(kept(&left), kept(self.after), "what was said to be done is not, {when}");
            self.state(left, &when);
        }
    }

    /// The program is killed, runs again to its end, and then the power goes: what the first run left unsynced and the
    /// second one found in its place is part of what it says to have done.
    fn after_a_kill(&mut self, before: &Tree, ops: &[Op]) {
        let kills = number("KILLS", KILLS).min(ops.len());
        for kill in 0..kills {
            let end = ops.len() * kill / kills;
            let mut disk = Disk::new(&self.case.root(), before);
            ops[..end].iter().for_each(|op| disk.apply(op));
            write_tree(&disk.cut(Cut::Everything), &self.case.root());
            let when = format!("killed before operation {end}, {}", ops[end].words());
            let again = self.case.traced(&when);
            again.iter().for_each(|op| disk.apply(op));
            self.at_the_end(&disk, &format!("after the second run, the first was {when}"));
        }
    }

    fn at_random(&mut self, before: &Tree, ops: &[Op]) {
        let cuts = number("CUTS", CUTS);
        for seed in 0..cuts {
            let mut disk = Disk::new(&self.case.root(), before);
            // Spread over the run, and not only where something was made safe.
            let end = usize::try_from(seed * 7_919 % (ops.len() as u64 + 1)).unwrap();
            ops[..end].iter().for_each(|op| disk.apply(op));
            self.look(&disk, Cut::Some(seed + 1_000_000), &format!("cut {seed}, before operation {end}"));
        }
    }

    fn look(&mut self, disk: &Disk, cut: Cut, when: &str) {
        self.state(disk.cut(cut), &format!("{when}, {cut:?}"));
    }

    fn state(&mut self, left: Tree, when: &str) {
        self.cuts += 1;
        // Two states that differ in what was not finished are one.
        let unfinished = |path: &Path| path.starts_with("s/tmp");
        let mut key = left.clone();
        key.retain(|path, _| !unfinished(path));
        if self.seen.contains(&key) {
            return;
        }
        self.seen.insert(key);
        let (case, when) = (self.case, format!("{:?}: {when}", self.case.words));
        write_tree(&left, &case.root());
        let said = case.done(&["snapshot", "verify"], &when);
        let snapshots = said.matches(": good as of ").count();
        assert!(case.snapshots.contains(&snapshots), "{when}: {snapshots}");
        self.is_clean(&when);
        // A directory that is made beside the store is whole or not there.
        if left.keys().any(|path| path.starts_with("tag")) {
            assert!(part(&left, "tag") == part(self.after, "tag"), "{when}");
        }
        case.done(case.words, &when);
        self.is_clean(&when);
        let again = read_tree(&case.root());
        assert_eq!(kept(&again), kept(self.after), "{when}");
        assert!(again.keys().all(|path| !path.to_string_lossy().ends_with(".new")), "{when}");
    }

    #[track_caller]
    fn is_clean(&self, when: &str) {
        let store = Store::open(self.case.root().join("s")).unwrap();
        assert_eq!(store.check(Depth::Bytes).unwrap(), [], "{when}");
        let stat = store.stat().unwrap();
        assert_eq!((stat.tmp, stat.damaged), (0, 0), "{when}");
    }
}

/// The files below a directory.
fn part(tree: &Tree, dir: &str) -> Tree {
    tree.iter().filter(|(path, _)| path.starts_with(dir)).map(|(p, e)| (p.clone(), e.clone())).collect()
}

/// Names of blobs, of records and of what is beside the store: what is the same however often something was tried.
fn kept(tree: &Tree) -> BTreeSet<PathBuf> {
    let files = tree.iter().filter(|(_, entry)| matches!(entry, Entry::File { .. }));
    let names = files.map(|(path, _)| path.clone());
    names
        .filter(|path| !path.starts_with("s") || path.starts_with("s/blobs") || path.starts_with("s/records"))
        .collect()
}

#[test]
fn after_a_power_cut_every_snapshot_is_whole_or_not_there() {
    if !traces() {
        return;
    }
    let world = series(SERIES as i64);
    put(&world, SERIES as i64, SERIES as i64);
    let world = &world.world;
    fs::create_dir(world.root().join("disk")).unwrap();
    fs::rename(world.root().join("s"), world.root().join("disk/s")).unwrap();
    let most = SERIES + 1;
    let create = Case { world, words: &["snapshot", "create", "r"], snapshots: SERIES..=most };
    // Otherwise next to nothing was looked at.
    assert!(create.cut() > 10);
    let gc = Case { world, words: &["snapshot", "gc"], snapshots: most..=most };
    assert!(gc.cut() > 10);
    let expire = Case { world, words: &["snapshot", "gc", "--older-than", "0"], snapshots: 1..=most };
    assert!(expire.cut() > 10);
}

#[test]
fn after_a_power_cut_the_first_snapshot_and_its_store_are_whole_or_not_there() {
    if !traces() {
        return;
    }
    let world = series(0);
    put(&world, 0, 0);
    let world = &world.world;
    fs::create_dir(world.root().join("disk")).unwrap();
    let create = Case { world, words: &["snapshot", "create", "r"], snapshots: 0..=1 };
    assert!(create.cut() > 10);
}

#[test]
fn after_a_power_cut_a_tag_is_whole_or_not_there() {
    if !traces() {
        return;
    }
    let scene = Scene::with_lock(4);
    fs::create_dir(scene.world.root().join("disk")).unwrap();
    let tag = Case { world: &scene.world, words: &["snapshot", "tag", "r", "disk/tag"], snapshots: 0..=0 };
    assert!(tag.cut() > 10);
}
