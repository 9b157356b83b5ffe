//! An archive, a recipe that pins it and a store: what the archive does is taken, refused, served, locked and tagged.

use std::cell::Cell;
use std::fs;
use std::process::Stdio;

use selfsame_apt::date::serial;
use selfsame_apt::packages::Index;
use selfsame_build::lock::{ArchiveState, Install, Lock, Package, Request, Role, SuiteState};
use selfsame_image::tree::Content;
use selfsame_testkit::archive::{Archive, Deb, Key, NOW, Sign, Suite, certificate, clearsign};
use selfsame_testkit::{Run, Service, TestEnvironment};

use crate::build::builds_here;
use crate::{assert_says, world};

/// A recipe `r` for the archive in the directory `m`, and a store.
pub(crate) struct Scene {
    pub(crate) world: TestEnvironment,
    /// The recipe, but for its mirrors.
    pub(crate) recipe: String,
    /// Number of the store in use.
    store: Cell<usize>,
}

impl Scene {
    /// Each suite must be signed by at least `threshold` of `keys`.
    pub(crate) fn new(suites: &[&str], keys: &[&Key], threshold: usize) -> Self {
        let world = world();
        world.write("r/keys.pgp", certificate(keys));
        let fingerprints: Vec<_> = keys.iter().map(|key| key.fingerprint()).collect();
        let recipe = format!(
            "format = 1\n[image]\nname = \"x\"\noutputs = [\"tar\"]\nepoch = \"2026-01-01T00:00:00Z\"\n\
             [packages]\npriority = \"essential\"\n\
             [archives.fixture]\nsuites = {suites:?}\nthreshold = {threshold}\n\
             keys = {{ file = \"keys.pgp\", fingerprints = {fingerprints:?} }}\n"
        );
        let scene = Self { world, recipe, store: Cell::new(0) };
        scene.mirrors(&[format!("file:{}/m", scene.world.root().display())]);
        scene
    }

    /// An archive of `hello` and this many packages more, and a lock of it.
    pub(crate) fn with_lock(packages: usize) -> Self {
        let key = Key::new("archive");
        let scene = Self::new(&["trixie"], &[&key], 1);
        let state = (0..packages).map(package).fold(suite("trixie", &key, NOW - 60, "1.0"), Suite::with);
        scene.write_lock(&scene.lock(std::slice::from_ref(&state)));
        scene.put(vec![state]);
        scene
    }

    /// Makes these the mirrors of the recipe.
    pub(crate) fn mirrors(&self, urls: &[String]) {
        self.world.write("r/selfsame.toml", format!("{}mirrors = {urls:?}\n", self.recipe));
    }

    /// Puts this and nothing else into the archive.
    pub(crate) fn put(&self, suites: Vec<Suite<'_>>) {
        let root = self.world.root().join("m");
        let _ = fs::remove_dir_all(&root);
        Archive { suites }.write(&root);
    }

    /// Signs another text in the place of the suite's own.
    pub(crate) fn sign(&self, suite: &Suite<'_>, text: &str) {
        self.world.write(format!("m/dists/{}/InRelease", suite.path), clearsign(text, &suite.signatures));
    }

    /// Name of the store in use.
    pub(crate) fn store(&self) -> String {
        format!("s{}", self.store.get())
    }

    /// From now on another store is used, which knows nothing.
    pub(crate) fn forget(&self) {
        self.store.set(self.store.get() + 1);
    }

    pub(crate) fn run(&self, words: &[&str]) -> Run {
        let store = self.store();
        self.world.run([words, &["--store", &store]].concat())
    }

    fn list(&self) -> String {
        self.run(&["snapshot", "list"]).success()
    }

    /// Takes the state that is there, which must be refused with `status` and `words`, and is not listed; nor is it locked.
    #[track_caller]
    pub(crate) fn refused(&self, status: i32, words: &[&str]) {
        let before = self.list();
        let message = self.run(&["snapshot", "create", "r"]).failure(status);
        assert_says(&message, words);
        assert_eq!(self.list(), before);
        let lock = self.world.root().join("r/selfsame.lock");
        if builds_here() && !lock.exists() {
            assert_says(&self.run(&["lock", "r"]).failure(status), words);
            assert!(!lock.exists());
            assert_eq!(self.list(), before);
        }
    }

    /// Takes the state that is there, which must work whatever was tried before, and can be verified.
    #[track_caller]
    pub(crate) fn taken(&self) -> String {
        self.run(&["snapshot", "create", "r"]).success();
        self.run(&["snapshot", "verify"]).success()
    }

    /// Serves what the store has.
    pub(crate) fn service(&self, more: &[&str]) -> Service {
        let store = self.store();
        let words = ["snapshot", "serve", "--listen", "127.0.0.1:0", "--store", &store];
        let mut command = self.world.command([&words[..], more].concat());
        command.stderr(Stdio::null());
        Service::start(command)
    }

    /// A lock of `suites`, as `selfsame lock` would write it if these packages could run apt.
    pub(crate) fn lock(&self, suites: &[Suite<'_>]) -> Lock {
        let recipe = selfsame_build::recipe::load(&self.world.root().join("r")).unwrap();
        let mut packages = Vec::new();
        let state = |suite: &Suite<'_>| {
            let index = suite.indexes().remove("main/binary-amd64/Packages").unwrap();
            let plain = Index::parse(index.plain).unwrap();
            packages.extend(plain.packages().map(locked));
            SuiteState {
                suite: suite.path.clone(),
                codename: suite.codename.clone(),
                date: suite.date.unwrap(),
                verified_at: NOW + 5,
                in_release: Content::of(suite.in_release().as_bytes()).into(),
                signers: suite.signatures.iter().map(|sign| sign.key.fingerprint()).collect(),
                indexes: vec![selfsame_build::lock::Index {
                    path: "main/binary-amd64/Packages.xz".to_owned(),
                    file: Content::of(&index.xz).into(),
                }],
            }
        };
        let suites: Vec<_> = suites.iter().map(state).collect();
        packages.sort_by(|a: &Package, b| a.name.cmp(&b.name));
        let serial = serial(suites.iter().map(|state| state.date).max().unwrap());
        Lock {
            request: Request::of(&recipe),
            archives: vec![ArchiveState { name: "fixture".to_owned(), serial, suites }],
            local: Vec::new(),
            install: Install {
                base: packages.iter().map(|package| package.name.clone()).collect(),
                ..Install::default()
            },
            packages,
        }
    }

    pub(crate) fn write_lock(&self, lock: &Lock) {
        self.world.write("r/selfsame.lock", lock.to_string());
    }

    /// Makes a tag, which must be refused with `status` and `words`, and is not there then.
    #[track_caller]
    pub(crate) fn no_tag(&self, status: i32, words: &[&str]) {
        let message = self.run(&["snapshot", "tag", "r", "tag"]).failure(status);
        assert_says(&message, words);
        assert!(!self.world.root().join("tag").exists());
    }

    /// Makes a tag, which must work whatever was tried before, and removes it.
    #[track_caller]
    pub(crate) fn tagged(&self) {
        self.run(&["snapshot", "tag", "r", "tag"]).success();
        fs::remove_dir_all(self.world.root().join("tag")).unwrap();
    }
}

/// The suite `name` of `date`, signed at that time, with one package of this version.
pub(crate) fn suite<'k>(name: &str, key: &'k Key, date: i64, version: &str) -> Suite<'k> {
    let mut suite = Suite::new(name, key).with(Deb::new("hello", version));
    (suite.date, suite.signatures) = (Some(date), vec![Sign::new(key, date)]);
    suite
}

/// The package `pNUMBER`.
fn package(number: usize) -> Deb {
    Deb::new(&format!("p{number}"), "1.0").file(&format!("usr/share/p{number}"), 0o644, &[b'x'; 5000])
}

fn locked(package: selfsame_apt::packages::Package<'_>) -> Package {
    let (source, version) = package.source();
    Package {
        name: package.name().to_owned(),
        version: package.version_text().to_owned(),
        architecture: package.architecture().to_owned(),
        archive: "fixture".to_owned(),
        path: package.filename().to_owned(),
        file: package.file().into(),
        source: format!("{source} (= {version})"),
        role: Role::Image,
    }
}
