//! Outputs: remembered in the store by what they were made of, and put in place all or none.

use std::collections::BTreeSet;
use std::fs::{self, File as OsFile};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::execute::BuiltFile;
use crate::lock::Blob;

/// Kind of the records that remember images.
const KIND: &str = "image";

/// A file of a build, kept in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Its name in the output directory.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) content: Content,
}

/// Why outputs could not be put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// A file could not be written; those of an earlier build are untouched.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store lost a file that it had a moment before.
    #[error("the store lost an output before it was in {}; run the build again", dir.display())]
    Gone {
        /// The directory of the outputs.
        dir: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    name: String,
    file: Blob,
}

/// Remembers that `key` gives `files`.
pub(crate) fn remember(store: &Store, key: Digest, files: &[File]) -> Result<(), StoreError> {
    let list: Vec<_> =
        files.iter().map(|file| Remembered { name: file.name.clone(), file: file.content.into() }).collect();
    let bytes = serde_json::to_vec(&list).expect("names and numbers are always JSON");
    store.record_put(KIND, &key, &bytes)
}

/// The files that `key` gives, if the store has every one of them.
pub(crate) fn find(store: &Store, key: Digest) -> Result<Option<Vec<File>>, StoreError> {
    let Some(files) = remembered(store, &key)? else { return Ok(None) };
    let all = files.iter().all(|file| store.contains(&file.content.digest));
    if all {
        store.record_touch(KIND, &key);
    }
    Ok(all.then_some(files))
}

/// The files that `key` gave, whether the store still has them or not.
fn remembered(store: &Store, key: &Digest) -> Result<Option<Vec<File>>, StoreError> {
    let Some(bytes) = store.record_get(KIND, key)? else { return Ok(None) };
    let Ok(list) = serde_json::from_slice::<Vec<Remembered>>(&bytes) else { return Ok(None) };
    Ok(Some(list.into_iter().map(|item| File { name: item.name, content: item.file.into() }).collect()))
}

/// Outputs that can go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many builds they are of.
    pub builds: u64,
    /// Their length in bytes. What several builds have in common counts once, and stays as long as one of them does.
    pub bytes: u64,
}

/// Removes the outputs that `store` keeps of builds whose outputs were neither made nor asked for since `since`; only counts
/// them if `keep` is set. They can be made again; what lies in output directories is another copy.
pub fn sweep(store: &Store, since: SystemTime, keep: bool) -> Result<Swept, StoreError> {
    let (mut old, mut needed) = (Vec::new(), BTreeSet::new());
    for key in store.record_keys(KIND)? {
        // What cannot be read names nothing that could be removed.
        let Some(files) = remembered(store, &key)? else { continue };
        match store.record_used(KIND, &key)? {
            Some(used) if used < since => old.push((key, files)),
            _ => needed.extend(files.iter().map(|file| file.content.digest)),
        }
    }
    let mut swept = Swept { builds: old.len() as u64, bytes: 0 };
    for (_, files) in &old {
        for Content { digest, .. } in files.iter().map(|file| file.content) {
            if needed.insert(digest)
                && let Some(size) = store.size(&digest)
            {
                swept.bytes += size;
                if !keep {
                    store.remove(&digest)?;
                }
            }
        }
    }
    if !keep && !old.is_empty() {
        // Last, on the disk too: if this is stopped on the way, the next one finds what is left.
        store.sync()?;
        old.iter().try_for_each(|(key, _)| store.record_remove(KIND, key))?;
    }
    Ok(swept)
}

/// Puts `files` into `out`; `None` if the store does not have them all any more. All are written under other names
/// first, so a failure leaves what was there.
///
/// `fresh` says that this process just wrote and hashed the files, so that they are not hashed once more.
pub(crate) fn publish(
    store: &Store,
    files: &[File],
    out: &Path,
    fresh: bool,
) -> Result<Option<Vec<BuiltFile>>, OutputError> {
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| OutputError::Write { path, source }
    };
    fs::create_dir_all(out).map_err(write(out))?;
    let mut staged = Staged(Vec::new());
    for file in files {
        let last = out.join(&file.name);
        if !fresh && is_already(&last, &file.content) {
            continue;
        }
        let next = out.join(format!(".{}.{}.new", file.name, std::process::id()));
        let digest = &file.content.digest;
        let from = if fresh { store.open_unverified(digest) } else { store.open_verified(digest) };
        let mut from = match from {
            Ok(Some(from)) => from,
            // It was put aside, and can be made again.
            Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if fresh && is_same(&last, &from, &file.content).unwrap_or(false) {
            continue;
        }
        staged.0.push((next.clone(), last));
        let mut to = OsFile::create(&next).map_err(write(&next))?;
        io::copy(&mut from, &mut to).map_err(write(&next))?;
    }
    while let Some((next, last)) = staged.0.last() {
        fs::rename(next, last).map_err(write(last))?;
        staged.0.pop();
    }
    let built = |file: &File| BuiltFile { path: out.join(&file.name), content: file.content };
    Ok(Some(files.iter().map(built).collect()))
}

/// Files that are not in place yet; removed when putting them there fails.
struct Staged(Vec<(PathBuf, PathBuf)>);

impl Drop for Staged {
    fn drop(&mut self) {
        for (next, _) in &self.0 {
            let _ = fs::remove_file(next);
        }
    }
}

/// Whether the file at `path` has the bytes of `from`. Ends at the first difference, which a new image has near its
/// beginning.
fn is_same(path: &Path, from: &OsFile, content: &Content) -> io::Result<bool> {
    let file = OsFile::open(path)?;
    if file.metadata()?.len() != content.size || !path.symlink_metadata()?.is_file() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < content.size {
        let length = usize::try_from(content.size - at).map_or(ours.len(), |left| left.min(ours.len()));
        from.read_exact_at(&mut ours[..length], at)?;
        file.read_exact_at(&mut theirs[..length], at)?;
        if ours[..length] != theirs[..length] {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

fn is_already(path: &Path, content: &Content) -> bool {
    let same = || -> io::Result<bool> {
        let mut file = OsFile::open(path)?;
        if file.metadata()?.len() != content.size || !path.symlink_metadata()?.is_file() {
            return Ok(false);
        }
        Ok(Digest::of_reader(&mut file)? == (content.digest, content.size))
    };
    same().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn outputs_go_when_no_build_asked_for_them_and_none_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let file = |text: &str| {
            store.put(text.as_bytes()).unwrap();
            File { name: format!("{text}.iso"), content: Content::of(text.as_bytes()) }
        };
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        remember(&store, old, &[file("only old"), file("both")]).unwrap();
        let between = SystemTime::now() + Duration::from_secs(60);
        remember(&store, new, &[file("both")]).unwrap();
        // Both are older than what is to come; asking for one makes it young.
        assert_eq!(sweep(&store, between, true).unwrap(), Swept { builds: 2, bytes: 12 });
        let record = dir.path().join("records").join(KIND);
        let touched = || {
            let hex = new.to_string();
            let file = OsFile::open(record.join(&hex[..2]).join(&hex[2..])).unwrap();
            file.set_times(fs::FileTimes::new().set_modified(between)).unwrap();
        };
        assert!(find(&store, new).unwrap().is_some());
        touched();
        for keep in [true, false] {
            assert_eq!(sweep(&store, between, keep).unwrap(), Swept { builds: 1, bytes: 8 });
        }
        assert_eq!(sweep(&store, between, false).unwrap(), Swept::default());
        assert!(find(&store, old).unwrap().is_none() && find(&store, new).unwrap().is_some());
        assert!(!store.contains(&Digest::of(b"only old")) && store.contains(&Digest::of(b"both")));
    }
}
