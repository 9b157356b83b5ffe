//! Bits that change, and files that are not what they were, in a store with a snapshot and in a tag (R5 and R6): none is
//! used silently. It is refused, or the right bytes come from elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use selfsame_apt::fetch::{FetchConfig, FetchError, Fetcher, Silent, Want};
use selfsame_apt::mirrors::Mirror;
use selfsame_apt::snapshot::{History, load_snapshot};
use selfsame_build::event::{Event, Observer};
use selfsame_build::fetch::{Source, Wanted};
use selfsame_build::lock::Lock;
use selfsame_build::recipe::{self, Recipe};
use selfsame_build::snapshots::{Kept, history};
use selfsame_build::tag::{self, Request, Tag};
use selfsame_image::Digest;
use selfsame_store::Store;
use selfsame_testkit::{Numbers, scratch};

use crate::build::files_below;
use crate::scene::Scene;

const FLIPS: usize = 1000;
const OTHERS: usize = 200;

/// A directory, and what belongs into it.
struct Place {
    dir: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Place {
    /// The files of `from`, in `dir`.
    fn copy(from: &Path, dir: PathBuf) -> Self {
        let file = |path: PathBuf| (path.strip_prefix(from).unwrap().to_owned(), fs::read(&path).unwrap());
        let place = Self { dir, files: files_below(from).into_iter().map(file).collect() };
        place.restore();
        place
    }

    fn restore(&self) {
        let _ = fs::remove_dir_all(&self.dir);
        for (name, bytes) in &self.files {
            let path = self.dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn any(&self, numbers: &mut Numbers) -> (&PathBuf, &[u8]) {
        let (name, bytes) = self.files.iter().nth(numbers.below(self.files.len())).unwrap();
        (name, bytes)
    }

    /// Changes one bit; what was done, in words.
    fn flip(&self, numbers: &mut Numbers) -> String {
        let (name, bytes) = self.any(numbers);
        let (at, bit) = (numbers.below(bytes.len()), numbers.below(8));
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << bit;
        fs::write(self.dir.join(name), bytes).unwrap();
        format!("bit {bit} of byte {at} of {}", name.display())
    }

    /// Does something else to a file; what was done, in words.
    fn spoil(&self, numbers: &mut Numbers) -> String {
        let ((name, bytes), (other, others)) = (self.any(numbers), self.any(numbers));
        let (path, beside) = (self.dir.join(name), self.dir.join(other));
        let what = ["cut", "empty", "another's", "exchanged", "link", "directory", "extra"];
        let what = what[numbers.below(what.len())];
        fs::remove_file(&path).unwrap();
        match what {
            "cut" => fs::write(&path, &bytes[..numbers.below(bytes.len())]).unwrap(),
            "empty" => fs::write(&path, "").unwrap(),
            "another's" => fs::write(&path, others).unwrap(),
            "exchanged" => {
                fs::write(&path, others).unwrap();
                fs::write(beside, bytes).unwrap();
            }
            "link" => symlink(beside, &path).unwrap(),
            "directory" => fs::create_dir(&path).unwrap(),
            _ => {
                fs::write(&path, bytes).unwrap();
                let more = Digest::of(name.as_os_str().as_encoded_bytes()).to_string();
                fs::write(path.with_file_name(&more[2..]), others).unwrap();
            }
        }
        format!("{what}: {}, {}", name.display(), other.display())
    }
}

/// The mirrors that are asked: one, or none.
struct Mirrors {
    fetcher: Fetcher,
    mirrors: Vec<Mirror>,
}

impl Mirrors {
    fn of(path: Option<&Path>) -> Self {
        let config = FetchConfig { offline: true, retries: 0, ..FetchConfig::default() };
        let mirrors = path.map(Mirror::of_directory).into_iter().collect();
        Self { fetcher: Fetcher::new(config).unwrap(), mirrors }
    }
}

impl Source for Mirrors {
    fn fetch(&self, wanted: &[Wanted], store: &Store, _: &dyn Observer) -> Result<(), FetchError> {
        let want = |one: &Wanted| Want {
            what: one.what.clone(),
            size: one.content.size,
            digest: one.content.digest,
            paths: one.paths.clone(),
        };
        let wants: Vec<_> = wanted.iter().map(want).collect();
        self.fetcher.fetch_all(store, &wants, &self.mirrors, &Silent).map(drop)
    }
}

struct Nobody;

impl Observer for Nobody {
    fn on(&self, _: Event) {}
}

type Error = Box<dyn std::error::Error>;

/// What a tag would hold, from the store and from a mirror. Everything that it names was read and is right.
fn collect(store: &Store, image: &(Recipe, Lock), mirror: Option<&Path>) -> Result<Tag, Error> {
    let (recipe, lock) = image;
    let source = Mirrors::of(mirror);
    let request = Request { recipe, lock, store, source: &source, sources: false, observer: &Nobody };
    let tag = tag::collect(&request)?;
    for content in tag.files.values() {
        assert_eq!(store.read(&content.digest)?.map(|bytes| bytes.len() as u64), Some(content.size));
    }
    Ok(tag)
}

/// Everything that a store is asked for: the files of a tag, the snapshots, checked again, and what was seen.
fn used(
    dir: &Path,
    image: &(Recipe, Lock),
    mirror: Option<&Path>,
) -> Result<(Tag, Vec<Kept>, History), Error> {
    let store = Store::open(dir)?;
    let (tag, all, seen) = (collect(&store, image, mirror)?, Kept::all(&store)?, history(&store)?);
    for kept in &all {
        load_snapshot(&kept.spec, &kept.snapshot, &kept.spec.read_keyring(&store)?, &store)?;
    }
    Ok((tag, all, seen))
}

/// An archive with a store that has a snapshot of it, and a tag; all of it in the scene.
fn scene() -> (Scene, (Recipe, Lock)) {
    let scene = Scene::with_lock(3);
    scene.taken();
    scene.run(&["snapshot", "tag", "r", "tag"]).success();
    let dir = scene.world.root().join("r");
    let lock = fs::read_to_string(dir.join("selfsame.lock")).unwrap().parse().unwrap();
    let recipe = recipe::load(&dir).unwrap();
    (scene, (recipe, lock))
}

#[test]
fn nothing_of_a_store_that_rots_is_used() {
    let (scene, image) = scene();
    let (dir, mut numbers) = (scratch(), Numbers(5));
    let store = scene.world.root().join(scene.store());
    // Where the lock is concerns `snapshot gc` alone.
    fs::remove_dir_all(store.join("records/lock")).unwrap();
    let place = Place::copy(&store, dir.path().join("store"));
    // Layout, signed file, index, key, four packages, and the records of the snapshot and of what was seen.
    assert_eq!(place.files.len(), 10, "{:?}", place.files.keys());
    let archive = scene.world.root().join("m");
    let good = used(&place.dir, &image, None).unwrap();
    let (mut refused, mut repaired) = (0, 0);
    for round in 0..(FLIPS + OTHERS) / 2 {
        place.restore();
        let flips = round < FLIPS / 2;
        let what = if flips { place.flip(&mut numbers) } else { place.spoil(&mut numbers) };
        let mirror = Some(archive.as_path()).filter(|_| round % 2 == 1);
        match used(&place.dir, &image, mirror) {
            Ok(found) => {
                assert!(found == good, "{what}: another state is used");
                assert!(!flips || mirror.is_some(), "{what}: nothing was noticed");
                repaired += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 300 && repaired > 100, "{refused} refused, {repaired} repaired");
}

/// Whether `SHA256SUMS` fits to all files that it names.
fn sums_hold(dir: &Path) -> bool {
    let line = |line: &str| {
        let (digest, name) = line.split_once("  ")?;
        Some(Digest::of(&fs::read(dir.join(name)).ok()?).to_string() == digest)
    };
    fs::read_to_string(dir.join(tag::SUMS)).is_ok_and(|sums| sums.lines().all(|one| line(one) == Some(true)))
}

#[test]
fn nothing_of_a_tag_that_rots_is_used() {
    let (scene, image) = scene();
    let (dir, mut numbers) = (scratch(), Numbers(6));
    let place = Place::copy(&scene.world.root().join("tag"), dir.path().join("tag"));
    // Signed file, index under both names, four packages, lock and digests.
    assert_eq!(place.files.len(), 9, "{:?}", place.files.keys());
    let archive = place.dir.join("fixture");
    let empty = || {
        let path = dir.path().join("store");
        let _ = fs::remove_dir_all(&path);
        Store::open(path).unwrap()
    };
    let good = collect(&empty(), &image, Some(&archive)).unwrap();
    assert!(sums_hold(&place.dir));
    let (mut refused, mut right) = (0, 0);
    for round in 0..(FLIPS + OTHERS) / 2 {
        place.restore();
        let flips = round < FLIPS / 2;
        let what = if flips { place.flip(&mut numbers) } else { place.spoil(&mut numbers) };
        assert!(!flips || !sums_hold(&place.dir), "{what}: {} holds", tag::SUMS);
        match collect(&empty(), &image, Some(&archive)) {
            Ok(found) => {
                assert!(found == good, "{what}: another file is used");
                right += 1;
            }
            Err(_) => refused += 1,
        }
    }
    // A change of the lock, of the digests or of the second name of the index does not matter: they are not asked.
    assert!(refused > 300 && right > 100, "{refused} refused, {right} right");
}
