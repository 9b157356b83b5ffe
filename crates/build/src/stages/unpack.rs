//! Unpacking packages and laying files into a root, in-process: no program of a package runs.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use selfsame_image::deb::{Deb, DebError};
use selfsame_image::tar::{self, TarError};
use selfsame_image::tree::{Contents, Item, Kind, Meta};
use selfsame_store::{Store, StoreError};

use crate::host::{Extractor, IdShift, NewKind};
use crate::lock::Package;
use crate::recipe::Tracked;

/// The most plain bytes one package may unpack to: the largest in Debian 12 has 4.5 GiB.
const LARGEST_PACKAGE: u64 = 16 << 30;

/// The most bytes of one boot file that is taken into memory.
const LARGEST_BOOT_FILE: u64 = 64 << 20;

/// Why a package or file could not be laid into a root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The package is not in the store.
    #[error("package {0} is not in the store")]
    Missing(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The package is no Debian package.
    #[error("package {package}")]
    Deb {
        /// Name and version.
        package: String,
        /// What is wrong with it.
        source: DebError,
    },
    /// The package's archive of files is broken.
    #[error("package {package}")]
    Tar {
        /// Name and version.
        package: String,
        /// What is wrong with it.
        source: TarError,
    },
    /// A path could not be made.
    #[error("cannot write {} below {}", String::from_utf8_lossy(path), root.display())]
    Write {
        /// The path in the root.
        path: Vec<u8>,
        /// The root.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A directory that becomes a root file system.
pub(crate) struct Root {
    dir: PathBuf,
    extractor: Extractor,
}

impl Root {
    /// Prepares the empty directory `dir`: merged directories, as Debian 12 has them.
    pub(crate) fn create(dir: &Path, shift: IdShift) -> Result<Self, UnpackError> {
        let root = Self::open(dir, shift)?;
        root.make(b"usr", &Meta::root(0o755, 0), NewKind::Dir)?;
        for name in ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] {
            let target = format!("usr/{name}");
            root.make(target.as_bytes(), &Meta::root(0o755, 0), NewKind::Dir)?;
            root.make(name.as_bytes(), &Meta::root(0o777, 0), NewKind::Symlink(target.as_bytes()))?;
        }
        Ok(root)
    }

    /// Uses the directory `dir` as it is.
    pub(crate) fn open(dir: &Path, shift: IdShift) -> Result<Self, UnpackError> {
        let extractor = Extractor::new(dir, shift).map_err(|source| failed(dir, b"", source))?;
        Ok(Self { dir: dir.to_owned(), extractor })
    }

    /// Unpacks the files of `package`.
    pub(crate) fn deb(&self, store: &Store, package: &Package) -> Result<(), UnpackError> {
        let mut visit = |entry: &tar::Entry, body: &mut dyn Read| {
            let kind = match &entry.kind {
                tar::Kind::Dir => NewKind::Dir,
                tar::Kind::File { .. } => NewKind::File(body),
                tar::Kind::Symlink(target) => NewKind::Symlink(target),
                tar::Kind::Hardlink(target) => NewKind::Hardlink(target),
                // No package of the base has any, and dpkg makes them again when it installs.
                tar::Kind::Char { .. } | tar::Kind::Block { .. } | tar::Kind::Fifo => return Ok(()),
            };
            self.make(&entry.path, &entry.meta(), kind)
        };
        for_each_file(store, package, &mut visit)
    }

    /// Writes a file owned by root, and the directories it needs.
    pub(crate) fn file(&self, path: &str, bytes: &[u8], mode: u16) -> Result<(), UnpackError> {
        for (at, _) in path.match_indices('/') {
            self.make(&path.as_bytes()[..at], &Meta::root(0o755, 0), NewKind::Dir)?;
        }
        self.make(path.as_bytes(), &Meta::root(mode, 0), NewKind::File(&mut &*bytes))
    }

    /// Lays `tracked` over the root. Directories that are there keep their metadata.
    pub(crate) fn overlay(&self, tracked: &Tracked) -> Result<(), UnpackError> {
        tracked.tree.walk(|path, entry| match entry.item {
            Item::Dir(_) => self.make(path, entry.meta, NewKind::Dir),
            Item::Leaf(_, Kind::Symlink(target)) => self.make(path, entry.meta, NewKind::Symlink(target)),
            Item::Leaf(_, Kind::File(content)) => {
                let opened = tracked.open(content).map_err(|source| failed(&self.dir, path, source))?;
                let mut reader = selfsame_image::io::Cursor::new(opened, 0);
                self.make(path, entry.meta, NewKind::File(&mut reader))
            }
            // The recipe's reader yields nothing else.
            Item::Leaf(..) => Ok(()),
        })
    }

    fn make(&self, path: &[u8], meta: &Meta, kind: NewKind<'_>) -> Result<(), UnpackError> {
        self.extractor.add(path, meta, kind).map_err(|source| failed(&self.dir, path, source))
    }
}

fn failed(root: &Path, path: &[u8], source: io::Error) -> UnpackError {
    UnpackError::Write { path: path.to_vec(), root: root.to_owned(), source }
}

/// Reads the files at `paths` out of `package`; those that are not in it are missing from the result.
pub(crate) fn take_files(
    store: &Store,
    package: &Package,
    paths: &[&str],
) -> Result<BTreeMap<String, Vec<u8>>, UnpackError> {
    let mut found = BTreeMap::new();
    for_each_file(store, package, &mut |entry, body| {
        if let Some(path) = paths.iter().find(|path| path.as_bytes() == entry.path) {
            let mut bytes = Vec::new();
            body.take(LARGEST_BOOT_FILE)
                .read_to_end(&mut bytes)
                .map_err(|source| failed(Path::new(&package.path), &entry.path, source))?;
            found.insert((*path).to_owned(), bytes);
        }
        Ok(())
    })?;
    Ok(found)
}

fn for_each_file(
    store: &Store,
    package: &Package,
    visit: &mut dyn FnMut(&tar::Entry, &mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let name = || format!("{} {}", package.name, package.version);
    let deb_error = |source| UnpackError::Deb { package: name(), source };
    let tar_error = |source| UnpackError::Tar { package: name(), source };
    let file = store.open_verified(&package.file.sha256)?.ok_or_else(|| UnpackError::Missing(name()))?;
    let deb = Deb::open(file).map_err(deb_error)?;
    let mut reader = deb.data(LARGEST_PACKAGE).map_err(deb_error)?;
    while let Some(entry) = reader.next().map_err(tar_error)? {
        visit(&entry, &mut reader.body())?;
    }
    Ok(())
}
