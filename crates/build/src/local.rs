//! Directories of packages in the recipe, each an archive of its own that nobody signed: the lock has the digest of its
//! index, and that has those of the packages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use selfsame_apt::deb822::{self, Malformed};
use selfsame_apt::packages::{Index, IndexError};
use selfsame_apt::release::check_path;
use selfsame_image::Epoch;
use selfsame_image::deb::{Deb, DebError};
use selfsame_image::tree::{Content, Item, Kind};
use selfsame_store::{Store, StoreError};

use crate::lock::{LocalState, Lock, Package, is_package_name};
use crate::recipe::{FilesError, Recipe, read_tracked, resolve};

/// End of the names of packages. Files with other names are left alone: `.changes` and `.buildinfo` lie beside them.
const ENDING: &str = ".deb";
/// What an error names that is about no single package.
const LIST: &str = "the list of its packages";
/// What says where a package is, in an index; a package cannot say that of itself.
const OF_THE_FILE: [&str; 7] = ["Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512", "Status"];

/// Why packages of the recipe cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The directory or a file in it could not be read.
    #[error("overlay {archive}")]
    Files {
        /// Name of the archive.
        archive: String,
        /// Which, and why not.
        source: FilesError,
    },
    /// The directory is none, or has no package.
    #[error("overlay {archive}: {} has no files that end in {ENDING}", directory.display())]
    Empty {
        /// Name of the archive.
        archive: String,
        /// The directory as the recipe names it.
        directory: PathBuf,
    },
    /// A name that is no file, or not one that an index can have.
    #[error("overlay {archive}: {path} is a symbolic link, or has a name that no archive can have")]
    Name {
        /// Name of the archive.
        archive: String,
        /// Path below the directory.
        path: String,
    },
    /// A file is no package.
    #[error("overlay {archive}: {path} is not a package")]
    Deb {
        /// Name of the archive.
        archive: String,
        /// Path below the directory.
        path: String,
        /// Why not.
        source: DebError,
    },
    /// The control file of a package is none.
    #[error("overlay {archive}: the control file of {path}")]
    Control {
        /// Name of the archive.
        archive: String,
        /// Path below the directory.
        path: String,
        /// Why not.
        source: Malformed,
    },
    /// The control file of a package has not one paragraph, or has a field that only an index has.
    #[error("overlay {archive}: the control file of {path} {fault}")]
    Odd {
        /// Name of the archive.
        archive: String,
        /// Path below the directory.
        path: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A package says of itself what no index may have.
    #[error("overlay {archive}: {path}")]
    Index {
        /// Name of the archive.
        archive: String,
        /// Path below the directory.
        path: String,
        /// What is wrong.
        source: IndexError,
    },
    /// Two files are the same package.
    #[error("overlay {archive}: {first} and {second} are both {package}")]
    Twice {
        /// Name of the archive.
        archive: String,
        /// Name, version and architecture.
        package: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// What the lock names is not in the recipe.
    #[error("overlay {archive}: {path} is not what the lock pins")]
    Changed {
        /// Name of the archive.
        archive: String,
        /// Path below the directory, or the index of all of it.
        path: String,
    },
    /// The lock names a package that its own index does not have.
    #[error("overlay {archive}: the lock's {package} is not in the index that the lock names")]
    Unlisted {
        /// Name of the archive.
        archive: String,
        /// Name and version of the package.
        package: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the archive `name` of the recipe; its index and its packages come into the store.
///
/// # Panics
/// If the recipe has no such archive.
pub(crate) fn read(recipe: &Recipe, name: &str, store: &Store) -> Result<Local, LocalError> {
    let local = look(recipe, name)?;
    for path in local.files.keys() {
        local.keep(path, store)?;
    }
    store.put(local.index.text())?;
    Ok(local)
}

/// Whether the recipe's own archives hold what `lock` was made of.
///
/// # Errors
/// If a directory cannot be read as an archive, or the lock has a package that is not in the index which it names.
pub fn is_as_locked(recipe: &Recipe, lock: &Lock) -> Result<bool, LocalError> {
    match check(recipe, lock) {
        Ok(_) => Ok(recipe.local.len() == lock.local.len()),
        Err(LocalError::Changed { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The recipe's own archives that `lock` names. Nothing is written.
///
/// # Errors
/// [`LocalError::Changed`] if the recipe has something else than what was locked, [`LocalError::Unlisted`] if the lock has a
/// package that is not in the index which it names.
pub(crate) fn check(recipe: &Recipe, lock: &Lock) -> Result<Vec<Local>, LocalError> {
    lock.local.iter().map(|state| check_one(recipe, lock, state)).collect()
}

fn check_one(recipe: &Recipe, lock: &Lock, state: &LocalState) -> Result<Local, LocalError> {
    let archive = || state.name.clone();
    let changed = |path: &str| LocalError::Changed { archive: archive(), path: path.to_owned() };
    if !recipe.local.contains_key(&state.name) {
        return Err(changed(LIST));
    }
    let local = look(recipe, &state.name)?;
    if local.state != *state {
        let same = |package: &&Package| {
            local.files.get(&package.path).is_some_and(|file| file.content == package.file.into())
        };
        let other = packages(lock, state).find(|package| !same(package));
        return Err(changed(other.map_or(LIST, |package| &package.path)));
    }
    match packages(lock, state).find(|package| !package.is_listed(&local.index)) {
        Some(Package { name, version, .. }) => {
            Err(LocalError::Unlisted { archive: archive(), package: format!("{name} {version}") })
        }
        None => Ok(local),
    }
}

/// Brings those packages that are `needed` and that the lock has from the recipe's own archives into the store, with the
/// index of each.
pub(crate) fn bring(
    checked: &[Local],
    lock: &Lock,
    needed: impl Fn(&Package) -> bool,
    store: &Store,
) -> Result<(), LocalError> {
    for local in checked {
        store.put(local.index.text())?;
        for package in packages(lock, &local.state).filter(|package| needed(package)) {
            local.keep(&package.path, store)?;
        }
    }
    Ok(())
}

/// The lock's packages of one archive.
fn packages<'l>(lock: &'l Lock, state: &LocalState) -> impl Iterator<Item = &'l Package> {
    let name = state.name.clone();
    lock.packages.iter().filter(move |package| package.archive == name)
}

/// One such archive, as the recipe has it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) state: LocalState,
    pub(crate) index: Index,
    /// Its packages by path below the directory.
    files: BTreeMap<String, InRecipe>,
}

impl Local {
    /// Puts the package at `path` into the store, if that lacks it and it is still the one that is wanted.
    fn keep(&self, path: &str, store: &Store) -> Result<(), LocalError> {
        let archive = || self.state.name.clone();
        let changed = || LocalError::Changed { archive: archive(), path: path.to_owned() };
        let InRecipe { host, content } = self.files.get(path).ok_or_else(changed)?;
        if matches!(store.open_verified(&content.digest), Ok(Some(_))) {
            return Ok(());
        }
        let failed = |source| LocalError::Files {
            archive: archive(),
            source: FilesError::Io { path: host.clone(), source },
        };
        let mut open = File::open(host).map_err(failed)?;
        let mut writer = store.writer()?.announce(content.size);
        let mut buffer = vec![0; 1 << 16];
        loop {
            match open.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => writer.append(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        match writer.finish(Some(*content)) {
            Err(StoreError::Mismatch { .. }) => Err(changed()),
            finished => Ok(finished.map(drop)?),
        }
    }
}

/// A file of the recipe.
#[derive(Debug)]
struct InRecipe {
    host: PathBuf,
    content: Content,
}

/// Reads a directory of packages. The same files give the same index, wherever they lie and in whichever order they were made.
fn look(recipe: &Recipe, name: &str) -> Result<Local, LocalError> {
    let directory = &recipe.local[name].directory;
    let archive = || name.to_owned();
    let failed = |source| LocalError::Files { archive: archive(), source };
    let root = resolve(&recipe.dir, directory).map_err(failed)?;
    let empty = || LocalError::Empty { archive: archive(), directory: directory.clone() };
    if !root.is_dir() {
        return Err(empty());
    }
    // Times do not matter here.
    let tracked = read_tracked(&recipe.dir, directory, Epoch(0)).map_err(failed)?;
    let (mut files, mut stanzas) = (BTreeMap::new(), BTreeMap::new());
    tracked.tree.walk(|path, entry| {
        let odd = |path: &[u8]| LocalError::Name {
            archive: archive(),
            path: String::from_utf8_lossy(path).into_owned(),
        };
        let content = match entry.item {
            // Git keeps where a link leads, not what is there: nothing behind it would be in a commit.
            Item::Leaf(_, Kind::Symlink(_)) => return Err(odd(path)),
            Item::Leaf(_, Kind::File(content)) if path.ends_with(ENDING.as_bytes()) => content,
            _ => return Ok(()),
        };
        let path = plain_path(path).ok_or_else(|| odd(path))?;
        let file = InRecipe { host: root.join(&path), content: *content };
        let stanza = stanza(name, &path, &file)?;
        let key = (stanza.name, stanza.version, stanza.architecture);
        if let Some((first, _)) = stanzas.get(&key) {
            let (name, version, architecture) = &key;
            let package = format!("{name} {version} {architecture}");
            let (first, second) = (String::clone(first), path);
            return Err(LocalError::Twice { archive: archive(), package, first, second });
        }
        stanzas.insert(key, (path.clone(), stanza.text));
        files.insert(path, file);
        Ok(())
    })?;
    if files.is_empty() {
        return Err(empty());
    }
    let text = stanzas.into_values().map(|(_, text)| text).collect::<Vec<_>>().join(&b'\n');
    let state = LocalState { name: archive(), index: Content::of(&text).into() };
    let index = Index::parse(text).map_err(|source| LocalError::Index {
        archive: archive(),
        path: LIST.to_owned(),
        source,
    })?;
    Ok(Local { state, index, files })
}

/// A path as archives have them: nothing that must be quoted in an index or an address.
fn plain_path(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    check_path(text).is_ok().then(|| text.to_owned())
}

/// One stanza of an index.
struct Stanza {
    name: String,
    version: String,
    architecture: String,
    text: Vec<u8>,
}

/// The stanza of the package at `path`.
fn stanza(archive: &str, path: &str, file: &InRecipe) -> Result<Stanza, LocalError> {
    let (archive, path) = (|| archive.to_owned(), || path.to_owned());
    let io = |source| LocalError::Files {
        archive: archive(),
        source: FilesError::Io { path: file.host.clone(), source },
    };
    let odd = |fault: String| LocalError::Odd { archive: archive(), path: path(), fault };
    let open = File::open(&file.host).map_err(io)?;
    let control = Deb::open(open).and_then(|deb| deb.control());
    let control = control.map_err(|source| LocalError::Deb { archive: archive(), path: path(), source })?;
    let paragraph = deb822::single(control.stanza())
        .map_err(|source| LocalError::Control { archive: archive(), path: path(), source })?
        .ok_or_else(|| odd("is empty".to_owned()))?;
    if let Some(field) = OF_THE_FILE.iter().find(|field| paragraph.get(field).is_some()) {
        return Err(odd(format!("has the field {field}, which is the archive's to give")));
    }
    let mut text = control.stanza()[paragraph.range()].trim_ascii_end().to_vec();
    let Content { size, digest } = file.content;
    text.extend(format!("\nFilename: {}\nSize: {size}\nSHA256: {digest}\n", path()).bytes());
    // What an index may not have is told with the file that brings it.
    let index = Index::parse(text.clone());
    let index = index.map_err(|source| LocalError::Index { archive: archive(), path: path(), source })?;
    let package = index.packages().next().ok_or_else(|| odd("is empty".to_owned()))?;
    if !is_package_name(package.name()) {
        return Err(odd(format!("gives it the name {:?}, which no package can have", package.name())));
    }
    let [name, version, architecture] =
        [package.name(), package.version_text(), package.architecture()].map(str::to_owned);
    Ok(Stanza { name, version, architecture, text })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use selfsame_testkit::archive::Deb;

    use super::*;
    use crate::recipe;

    const RECIPE: &str = r#"format = 1
[image]
name = "x"
outputs = ["tar"]
[archives.debian]
suites = ["bookworm"]
keys = "debian"
[[overlay]]
name = "mine"
directory = "debs"
"#;

    struct World {
        dir: tempfile::TempDir,
        recipe: Recipe,
        store: Store,
    }

    impl World {
        fn new(files: &[(&str, Vec<u8>)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let recipe = recipe::parse(&dir.path().join("r"), RECIPE).unwrap();
            fs::create_dir_all(recipe.dir.join("debs/sub")).unwrap();
            let store = Store::open(dir.path().join("store")).unwrap();
            let world = Self { dir, recipe, store };
            files.iter().for_each(|(path, bytes)| world.write(path, bytes));
            world
        }

        fn write(&self, path: &str, bytes: &[u8]) {
            fs::write(self.recipe.dir.join("debs").join(path), bytes).unwrap();
        }

        fn read(&self) -> Result<Local, LocalError> {
            read(&self.recipe, "mine", &self.store)
        }
    }

    fn deb(name: &str, version: &str) -> Vec<u8> {
        Deb::new(name, version).bytes()
    }

    #[test]
    fn the_index_says_where_each_package_is_and_what_it_holds() {
        let (b2, b10, a) = (deb("bb", "2"), deb("bb", "10"), deb("aa", "1"));
        let world =
            World::new(&[("z.deb", a.clone()), ("sub/b.deb", b10), ("b.deb", b2), ("a.changes", vec![1])]);
        let local = world.read().unwrap();
        let found: Vec<_> = local.index.packages().map(|one| (one.version_text(), one.filename())).collect();
        assert_eq!(found, [("1", "z.deb"), ("10", "sub/b.deb"), ("2", "b.deb")]);
        let first = local.index.find("aa").next().unwrap();
        assert_eq!(first.file(), Content::of(&a));
        assert_eq!(world.store.read(&Content::of(&a).digest).unwrap(), Some(a));
        let text = world.store.read(&local.state.index.sha256).unwrap().unwrap();
        let text = String::from_utf8(text).unwrap();
        let digest = first.file().digest;
        assert!(
            text.starts_with("Package: aa\nVersion: 1\n") && text.contains(&digest.to_string()),
            "{text}"
        );
        // Another order of the files on the disk is no other index.
        let again = World::new(&[
            ("b.deb", deb("bb", "2")),
            ("sub/b.deb", deb("bb", "10")),
            ("z.deb", deb("aa", "1")),
        ]);
        assert_eq!(again.read().unwrap().state, local.state);
    }

    #[test]
    fn what_cannot_be_in_an_archive_is_named() {
        let world = World::new(&[("a.deb", deb("aa", "1"))]);
        let refused = |path: &str, bytes: &[u8], words: &str| {
            world.write(path, bytes);
            let error = world.read().unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            fs::remove_file(world.recipe.dir.join("debs").join(path)).unwrap();
        };
        refused("b.deb", b"!<arch>\n", "overlay mine: b.deb is not a package");
        refused("b.deb", &deb("aa", "1"), "a.deb and b.deb are both aa 1 amd64");
        refused(
            "b c.deb",
            &deb("bb", "1"),
            "b c.deb is a symbolic link, or has a name that no archive can have",
        );
        let sized = Deb::new("bb", "1").set("SHA256", "00").bytes();
        refused("b.deb", &sized, "the control file of b.deb has the field SHA256");
        refused("b_1%3a2.deb", &deb("bb", "1"), "b_1%3a2.deb is a symbolic link, or has a name");
        refused("b.deb", &deb("../bb", "1"), "overlay mine: b.deb");
        refused("b.deb", &deb("Bb", "1"), "gives it the name \"Bb\", which no package can have");
        let installed = Deb::new("bb", "1").set("Status", "install ok installed").bytes();
        refused("b.deb", &installed, "has the field Status");
        for (target, link) in [("a.deb", "debs/l.deb"), ("sub", "debs/more")] {
            let link = world.recipe.dir.join(link);
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert!(matches!(world.read(), Err(LocalError::Name { .. })));
            fs::remove_file(link).unwrap();
        }
        world.read().unwrap();
        fs::remove_file(world.recipe.dir.join("debs/a.deb")).unwrap();
        assert!(matches!(world.read(), Err(LocalError::Empty { .. })));
        let elsewhere = world.dir.path().join("elsewhere");
        fs::rename(world.recipe.dir.join("debs"), &elsewhere).unwrap();
        assert!(matches!(world.read(), Err(LocalError::Files { .. })));
        std::os::unix::fs::symlink(&elsewhere, world.recipe.dir.join("debs")).unwrap();
        assert!(matches!(world.read(), Err(LocalError::Files { source: FilesError::Leaves { .. }, .. })));
    }

    #[test]
    fn what_changed_since_the_lock_is_refused() {
        let world = World::new(&[("a.deb", deb("nano", "1"))]);
        let mut lock = crate::lock::sample();
        lock.local = vec![world.read().unwrap().state];
        lock.packages.retain(|package| package.name == "nano");
        let file = Content::of(&deb("nano", "1"));
        let package = &mut lock.packages[0];
        (package.archive, package.path, package.file) = ("mine".into(), "a.deb".into(), file.into());
        (package.version, package.source) = ("1".into(), "nano (= 1)".into());
        let store = Store::open(world.dir.path().join("other")).unwrap();
        let bring = |lock: &Lock| bring(&check(&world.recipe, lock)?, lock, |_| true, &store);
        bring(&lock).unwrap();
        assert!(store.contains(&file.digest) && store.contains(&lock.local[0].index.sha256));
        assert!(is_as_locked(&world.recipe, &lock).unwrap());
        // A lock that somebody changed names what its own index does not have.
        let mut forged = lock.clone();
        forged.packages[0].version = "9".into();
        let error = bring(&forged).unwrap_err();
        assert_eq!(
            error.to_string(),
            "overlay mine: the lock's nano 9 is not in the index that the lock names"
        );
        // What the store has does not hide that the recipe has something else.
        world.write("b.deb", &deb("other", "1"));
        let error = bring(&lock).unwrap_err();
        assert_eq!(error.to_string(), "overlay mine: the list of its packages is not what the lock pins");
        fs::remove_file(world.recipe.dir.join("debs/b.deb")).unwrap();
        world.write("a.deb", &deb("nano", "2"));
        assert!(!is_as_locked(&world.recipe, &lock).unwrap());
        let error = bring(&lock).unwrap_err();
        assert_eq!(error.to_string(), "overlay mine: a.deb is not what the lock pins");
        fs::remove_file(world.recipe.dir.join("debs/a.deb")).unwrap();
        assert!(matches!(bring(&lock), Err(LocalError::Empty { .. })));
    }
}
