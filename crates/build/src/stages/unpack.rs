//! Unpacking packages and laying files into a root, in-process: no program of a package runs.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use selfsame_image::deb::{Deb, DebError};
use selfsame_image::tar::{self, TarError};
use selfsame_image::tree::Meta;
use selfsame_store::{Store, StoreError};

use super::debs::PlainDebs;
use crate::host::{self, Directories, EntryKind, ExtractError, Extractor, IdShift, PopulateError};
use crate::lock::Package;
use crate::recipe::Tracked;

/// The most plain bytes one package may unpack to: the largest in Debian 12 has 4.5 GiB.
pub(super) const LARGEST_PACKAGE: u64 = 16 << 30;

/// The most bytes of one boot file that is taken into memory.
pub(crate) const LARGEST_BOOT_FILE: u64 = 64 << 20;

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
    /// The package, or what a package may not hold, could not be laid into the root.
    #[error("package {package}")]
    Extract {
        /// Name and version.
        package: String,
        /// The path and why not.
        source: ExtractError,
    },
    /// A file of the recipe or of the build itself could not be written.
    #[error("below {}", root.display())]
    Write {
        /// The root.
        root: PathBuf,
        /// The path and why not.
        source: ExtractError,
    },
    /// The recipe's overlay could not be laid over the root.
    #[error("the overlay cannot be laid over the system")]
    Overlay(#[from] PopulateError),
    /// The root cannot be opened.
    #[error("cannot open {}", root.display())]
    Open {
        /// The root.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of a package could not be read.
    #[error("package {package}: cannot read {path}")]
    Read {
        /// Name and version.
        package: String,
        /// The file.
        path: String,
        /// What was wrong.
        source: io::Error,
    },
    /// A boot file is longer than any that is known.
    #[error("package {package}: {path} has more than {limit} bytes")]
    TooLong {
        /// Name and version.
        package: String,
        /// The file.
        path: String,
        /// Most bytes it may have.
        limit: u64,
    },
}

/// A directory that becomes a root file system.
pub(crate) struct Root {
    dir: PathBuf,
    shift: IdShift,
    extractor: Extractor,
}

impl Root {
    /// Prepares the empty directory `dir`: merged directories, as Debian 12 has them, made at `time`.
    pub(crate) fn create(dir: &Path, shift: IdShift, time: i64) -> Result<Self, UnpackError> {
        let mut root = Self::open(dir, shift)?;
        root.make(b"usr", &Meta::root(0o755, time), EntryKind::Dir)?;
        for name in ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] {
            let target = format!("usr/{name}");
            root.make(target.as_bytes(), &Meta::root(0o755, time), EntryKind::Dir)?;
            root.make(name.as_bytes(), &Meta::root(0o777, time), EntryKind::Symlink(target.as_bytes()))?;
        }
        Ok(root)
    }

    /// Uses the directory `dir` as it is.
    pub(crate) fn open(dir: &Path, shift: IdShift) -> Result<Self, UnpackError> {
        let open = |source| UnpackError::Open { root: dir.to_owned(), source };
        Ok(Self { dir: dir.to_owned(), shift, extractor: Extractor::new(dir, shift).map_err(open)? })
    }

    /// Unpacks the files of `package` out of the store.
    pub(crate) fn deb(&mut self, store: &Store, package: &Package) -> Result<(), UnpackError> {
        for_each_file(store, package, &mut |entry, body| self.add(package, entry, body))
    }

    /// Unpacks the files of `package` out of its plain archive.
    pub(crate) fn plain_deb(&mut self, debs: &PlainDebs, package: &Package) -> Result<(), UnpackError> {
        let (_, _, mut reader) = debs.reader(package)?;
        let broken = |source| UnpackError::Tar { package: title(package), source };
        while let Some(entry) = reader.next().map_err(broken)? {
            self.add(package, &entry, &mut reader.body())?;
        }
        Ok(())
    }

    fn add(&mut self, package: &Package, entry: &tar::Entry, body: &mut dyn Read) -> Result<(), UnpackError> {
        let kind = match &entry.kind {
            tar::Kind::Dir => EntryKind::Dir,
            tar::Kind::File { size } => EntryKind::File { size: *size, content: body },
            tar::Kind::Symlink(target) => EntryKind::Symlink(target),
            tar::Kind::Hardlink(target) => EntryKind::HardLink(target),
            tar::Kind::Fifo => EntryKind::Fifo,
            tar::Kind::Char { .. } | tar::Kind::Block { .. } => EntryKind::Special,
        };
        let added = self.extractor.add(&entry.path, &entry.meta(), kind);
        added.map(drop).map_err(|source| UnpackError::Extract { package: title(package), source })
    }

    /// Writes a file owned by root, and the directories it needs.
    pub(crate) fn file(&mut self, path: &str, bytes: &[u8], mode: u16) -> Result<(), UnpackError> {
        for (at, _) in path.match_indices('/') {
            self.make(&path.as_bytes()[..at], &Meta::root(0o755, 0), EntryKind::Dir)?;
        }
        let kind = EntryKind::File { size: bytes.len() as u64, content: &mut &*bytes };
        self.make(path.as_bytes(), &Meta::root(mode, 0), kind)
    }

    /// Lays `tracked` over the root. Directories that are there keep their metadata.
    pub(crate) fn overlay(&self, tracked: &Tracked) -> Result<(), UnpackError> {
        Ok(host::populate(&self.dir, &tracked.tree, tracked, self.shift, Directories::Keep)?)
    }

    /// Gives directories their times, now that nothing is written into them any more.
    pub(crate) fn finish(self) -> Result<(), UnpackError> {
        let root = self.dir;
        self.extractor.finish().map_err(|source| UnpackError::Write { root, source })
    }

    fn make(&mut self, path: &[u8], meta: &Meta, kind: EntryKind<'_>) -> Result<(), UnpackError> {
        let write = |source| UnpackError::Write { root: self.dir.clone(), source };
        self.extractor.add(path, meta, kind).map(drop).map_err(write)
    }
}

/// A package in messages.
pub(super) fn title(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
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
            let bytes = read_whole(body, package, path, LARGEST_BOOT_FILE)?;
            found.insert((*path).to_owned(), bytes);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The file `path` of `package`, whose bytes are `body`, if it has at most `limit` of them.
pub(crate) fn read_whole(
    body: &mut dyn Read,
    package: &Package,
    path: &str,
    limit: u64,
) -> Result<Vec<u8>, UnpackError> {
    let mut bytes = Vec::new();
    let read = body.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| UnpackError::Read { package: title(package), path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        // A boot file that is cut off would only be noticed by a machine that does not start.
        return Err(UnpackError::TooLong { package: title(package), path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Shows `visit` every entry of `package`.
pub(crate) fn for_each_file(
    store: &Store,
    package: &Package,
    visit: &mut dyn FnMut(&tar::Entry, &mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let deb_error = |source| UnpackError::Deb { package: title(package), source };
    let tar_error = |source| UnpackError::Tar { package: title(package), source };
    let file =
        store.open_verified(&package.file.sha256)?.ok_or_else(|| UnpackError::Missing(title(package)))?;
    let deb = Deb::open(file).map_err(deb_error)?;
    let mut reader = deb.data(LARGEST_PACKAGE).map_err(deb_error)?;
    while let Some(entry) = reader.next().map_err(tar_error)? {
        visit(&entry, &mut reader.body())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_above_the_limit_is_refused_not_cut() {
        let package = &crate::lock::sample().packages[0];
        let read = |limit| read_whole(&mut &b"12345"[..], package, "boot/x", limit);
        assert_eq!(read(5).unwrap(), b"12345");
        let message = read(4).unwrap_err().to_string();
        assert_eq!(message, "package dpkg 1:2.0~rc1-1+b2: boot/x has more than 4 bytes");
    }
}
