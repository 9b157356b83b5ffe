//! Writing a tag as a directory that any web server can serve.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};

use super::Tag;
use crate::lock::Lock;

/// The file of a tag that lists all others with their digests, as `sha256sum` reads it.
pub const SUMS: &str = "SHA256SUMS";
/// The file of a tag that holds the lock it was made for.
pub const LOCK: &str = "selfsame.lock";

/// Why a tag could not be written. Then the directory is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is something else.
    #[error("{} is there already, and is not this tag", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store lost a file that it had a moment before.
    #[error("the store lost {path}; try again")]
    Gone {
        /// The path of the file in the tag.
        path: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes `tag` to the new directory `dir`, with the lock it was made for. It appears there whole, or not at all.
///
/// Returns false if it is there already. Only its list of digests is looked at then.
pub fn export(tag: &Tag, lock: &Lock, store: &Store, dir: &Path) -> Result<bool, ExportError> {
    let lock = lock.to_string();
    let sums = sums(tag, &lock);
    if fs::symlink_metadata(dir).is_ok() {
        let same = fs::read(dir.join(SUMS)).is_ok_and(|found| found == sums.as_bytes());
        if !same {
            return Err(ExportError::Exists { path: dir.to_owned() });
        }
        // Whoever made it may have been killed before the name was safe.
        sync_file_system(dir)?;
        return Ok(false);
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let staged = Staged::beside(dir, parent)?;
    fill(&staged.path, tag, &[(LOCK, &lock), (SUMS, &sums)], store)?;
    fs::rename(&staged.path, dir).map_err(failed(dir))?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed(parent))?;
    Ok(true)
}

fn sums(tag: &Tag, lock: &str) -> String {
    let mut files = tag.files.clone();
    files.insert(LOCK.to_owned(), Content::of(lock.as_bytes()));
    files.iter().map(|(path, content)| format!("{}  {path}\n", content.digest)).collect()
}

fn fill(dir: &Path, tag: &Tag, texts: &[(&str, &String)], store: &Store) -> Result<(), ExportError> {
    for (path, content) in &tag.files {
        let to = dir.join(path);
        let parent = to.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(failed(parent))?;
        // Checked once more: what leaves the store is what its name says.
        let from = store.open_verified(&content.digest)?;
        let mut from = from.ok_or_else(|| ExportError::Gone { path: path.clone() })?;
        let mut file = File::create_new(&to).map_err(failed(&to))?;
        io::copy(&mut from, &mut file).map_err(failed(&to))?;
    }
    for (name, text) in texts {
        let to = dir.join(name);
        let write = || File::create_new(&to)?.write_all(text.as_bytes());
        write().map_err(failed(&to))?;
    }
    // One call instead of one for each of a thousand files: nothing has its final name yet.
    sync_file_system(dir)
}

fn sync_file_system(dir: &Path) -> Result<(), ExportError> {
    let synced = File::open(dir).and_then(|open| rustix::fs::syncfs(&open).map_err(io::Error::from));
    synced.map_err(failed(dir))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Io { path, source }
}

/// A directory that is removed unless it got its final name.
struct Staged {
    path: PathBuf,
    /// Held as long as this process lives.
    _lock: File,
}

impl Staged {
    /// A new directory that can be renamed to `dir`. Those of processes that were killed are removed.
    fn beside(dir: &Path, parent: &Path) -> Result<Self, ExportError> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let start = format!(".{name}.");
        for entry in fs::read_dir(parent).map_err(failed(parent))? {
            let path = entry.map_err(failed(parent))?.path();
            let other = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = other.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".new"));
            if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                && File::open(&path).is_ok_and(|open| open.try_lock().is_ok())
            {
                fs::remove_dir_all(&path).map_err(failed(&path))?;
            }
        }
        let path = parent.join(format!("{start}{}.new", std::process::id()));
        fs::create_dir(&path).map_err(failed(&path))?;
        let lock = File::open(&path).map_err(failed(&path))?;
        lock.try_lock().map_err(|error| failed(&path)(io::Error::other(error)))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename there is nothing of this name.
        let _ = fs::remove_dir_all(&self.path);
    }
}
