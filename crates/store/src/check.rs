//! Looking at everything a store holds.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use selfsame_image::digest::Digest;

use crate::Store;
use crate::blob::digest_of_names;
use crate::error::StoreError;
use crate::fs;

/// How closely [`Store::check`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names and kinds of files only.
    Names,
    /// All bytes are read and hashed.
    Bytes,
}

/// In which way something in the store is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes of a blob have another digest.
    Digest {
        /// The digest they have.
        found: Digest,
    },
    /// The header of a record does not fit its name or its payload.
    Record,
    /// A directory, link, pipe or the like where a file should be.
    NotAFile,
    /// A name that no store gives.
    Stranger,
    /// The system cannot read it.
    Unreadable(io::ErrorKind),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest { found } => write!(f, "its bytes have SHA-256 {found}"),
            Self::Record => f.write_str("its header does not fit its name or its bytes"),
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::Stranger => f.write_str("no store gives such a name"),
            Self::Unreadable(kind) => write!(f, "it cannot be read: {kind}"),
        }
    }
}

/// Something [`Store::check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which file, below the store's directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
    /// Where it was moved; `None` if it is still in its place.
    pub moved_to: Option<PathBuf>,
}

/// How much is in a store. Lengths in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Number of blobs.
    pub blobs: u64,
    /// Length of all blobs.
    pub blob_bytes: u64,
    /// Number of records of all kinds.
    pub records: u64,
    /// Length of all records with their headers.
    pub record_bytes: u64,
    /// Number of cache entries of all kinds.
    pub cached: u64,
    /// Length of all cache entries.
    pub cached_bytes: u64,
    /// Number of downloads that are not finished.
    pub partials: u64,
    /// Length of what is there of them.
    pub partial_bytes: u64,
    /// Number of temporary files of processes that are at work, or were killed since the store was opened.
    pub tmp: u64,
    /// Length of the temporary files.
    pub tmp_bytes: u64,
    /// Number of files that were found damaged and moved away.
    pub damaged: u64,
    /// Length of the damaged files.
    pub damaged_bytes: u64,
    /// Number of work directories. What is in them is not counted.
    pub work_dirs: u64,
}

impl Store {
    /// Counts what is in the store. Other processes may change it meanwhile.
    pub fn stat(&self) -> Result<Stat, StoreError> {
        let mut stat = Stat::default();
        (stat.blobs, stat.blob_bytes) = count(&self.dir("blobs"))?;
        (stat.records, stat.record_bytes) = count(&self.dir("records"))?;
        (stat.cached, stat.cached_bytes) = count(&self.dir("cache"))?;
        (stat.partials, stat.partial_bytes) = count(&self.dir("partial"))?;
        (stat.damaged, stat.damaged_bytes) = count(&self.dir("damaged"))?;
        for name in fs::sorted_names(&self.dir("tmp"))? {
            if !name.ends_with(".lock") {
                let (files, bytes) = count(&self.dir("tmp").join(name))?;
                stat.tmp += files;
                stat.tmp_bytes += bytes;
            }
        }
        stat.work_dirs = fs::sorted_names(&self.dir("work"))?.len() as u64;
        Ok(stat)
    }

    /// Looks at all blobs, records and cache entries, in the order of their paths. A damaged one is moved to `damaged/`, as it would
    /// be at its next use (a cache entry is removed); strangers stay where they are.
    ///
    /// # Errors
    /// Only if a directory cannot be listed. What is wrong with the contents is the result.
    pub fn check(&self, depth: Depth) -> Result<Vec<Problem>, StoreError> {
        let mut problems = Vec::new();
        self.check_names(Path::new("blobs"), &mut problems, &mut |digest| match depth {
            Depth::Names => Ok(()),
            Depth::Bytes => self.open_verified(digest).map(drop),
        })?;
        self.check_kinds("records", &mut problems, &mut |kind, key| match depth {
            Depth::Names => Ok(()),
            Depth::Bytes => self.record_get(kind, key).map(drop),
        })?;
        self.check_kinds("cache", &mut problems, &mut |kind, key| match depth {
            Depth::Names => Ok(()),
            Depth::Bytes => self.cache_check(kind, key),
        })?;
        Ok(problems)
    }

    /// Walks the kinds in a directory of the store.
    fn check_kinds(
        &self,
        below: &str,
        problems: &mut Vec<Problem>,
        look: &mut dyn FnMut(&str, &Digest) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for kind in fs::sorted_names(&self.dir(below))? {
            let dir = Path::new(below).join(&kind);
            if fs::check_name("kind", &kind).is_err() || !self.root().join(&dir).is_dir() {
                problems.push(Problem { path: dir, fault: Fault::Stranger, moved_to: None });
                continue;
            }
            self.check_names(&dir, problems, &mut |key| look(&kind, key))?;
        }
        Ok(())
    }

    /// Walks two levels of names that together are digests, and has `look` look at each.
    fn check_names(
        &self,
        below: &Path,
        problems: &mut Vec<Problem>,
        look: &mut dyn FnMut(&Digest) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for outer in fs::sorted_names(&self.root().join(below))? {
            let dir = below.join(&outer);
            let is_dir = std::fs::symlink_metadata(self.root().join(&dir)).is_ok_and(|found| found.is_dir());
            if !is_dir || outer.len() != 2 {
                problems.push(Problem { path: dir, fault: Fault::Stranger, moved_to: None });
                continue;
            }
            for inner in fs::sorted_names(&self.root().join(&dir))? {
                let path = dir.join(&inner);
                let Some(digest) = digest_of_names(&outer, &inner) else {
                    problems.push(Problem { path, fault: Fault::Stranger, moved_to: None });
                    continue;
                };
                let regular =
                    std::fs::symlink_metadata(self.root().join(&path)).is_ok_and(|found| found.is_file());
                match look(&digest) {
                    Ok(()) if regular => {}
                    Ok(()) => problems.push(Problem { path, fault: Fault::NotAFile, moved_to: None }),
                    Err(StoreError::Damaged { fault, moved_to, .. }) => {
                        problems.push(Problem { path, fault, moved_to });
                    }
                    Err(StoreError::Io { source, .. }) => {
                        let fault = Fault::Unreadable(source.kind());
                        problems.push(Problem { path, fault, moved_to: None });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Number and length of the files in `dir` and below.
fn count(dir: &Path) -> Result<(u64, u64), StoreError> {
    let (mut files, mut bytes) = (0, 0);
    for name in fs::sorted_names(dir)? {
        let path = dir.join(name);
        // Gone meanwhile is as good as never there.
        let Ok(found) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if found.is_dir() {
            let (below_files, below_bytes) = count(&path)?;
            files += below_files;
            bytes += below_bytes;
        } else {
            files += 1;
            bytes += found.size();
        }
    }
    Ok((files, bytes))
}
