//! Blobs by SHA-256 and small immutable records, in one local directory.
//!
//! ```text
//! STORE/layout               "selfsame store layout 1\n"
//!       blobs/ab/<62 hex>    files 0444, named by the SHA-256 of their bytes
//!       records/<kind>/ab/<62 hex>
//!       cache/<kind>/ab/<62 hex>   what can be made again; the oldest go when there are too many
//!       partial/<64 hex>     downloads that go on at the next run
//!       tmp/<owner>/         unfinished writes; <owner>.lock is held as long as the owner lives
//!       work/<name>/         plain directories for whoever builds
//!       damaged/             what was found to hold other bytes than it should
//! ```
//!
//! Promises, and where they are kept:
//!
//! - **Old or new, never between.** Bytes are written under `tmp/`, synced, and get their final name by `rename`; the
//!   directory is synced before the call returns. A final name is never truncated, pre-sized or written through.
//!   Removals are synced by [`Store::sync`]: whoever removes records and then what they name calls it in between.
//! - **No silent bit rot.** Every way to get bytes out that does not say `unverified` hashes them first. What is
//!   damaged is refused, named, and moved to `damaged/`, so that the next `put` or download makes it whole again.
//! - **Many processes, one store.** There is no lock for the whole store. Names are immutable, renames are atomic, and
//!   what a killed process left in `tmp/` is swept by the next one, which finds its lock free.
#![forbid(unsafe_code)]

mod batch;
mod blob;
mod blob_file;
mod cache;
mod check;
mod error;
mod fs;
mod partial;
mod record;
mod sealed;
mod session;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use selfsame_image::digest::Digest;

pub use batch::Batch;
pub use blob::BlobWriter;
pub use blob_file::BlobFile;
pub use cache::Trimmed;
pub use check::{Depth, Fault, Problem, Stat};
pub use error::{Item, StoreError};
pub use partial::Partial;

pub use session::Scratch;
use session::Sessions;

/// Newest layout this program reads and writes. Increment when an older program would misread the directory.
const LAYOUT: u32 = 1;
const LAYOUT_WORDS: &str = "selfsame store layout ";
const DIRS: [&str; 7] = ["blobs", "cache", "damaged", "partial", "records", "tmp", "work"];

/// A directory of blobs and records. Clones are cheap and refer to the same directory.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    sessions: Sessions,
}

impl Store {
    /// Opens the store at `dir`, and makes it (with parents) if nothing or an empty directory is there.
    ///
    /// Sweeps what killed processes left in `tmp/`. Writes nothing else to a store that exists already, so that a
    /// store on a full or read-only disk still opens.
    ///
    /// # Errors
    /// [`StoreError::NewerLayout`] if a newer program made it, [`StoreError::NotAStore`] if the directory holds
    /// something else.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = std::path::absolute(dir.as_ref()).map_err(fs::failed("find", dir.as_ref()))?;
        fs::make_dirs(&root)?;
        while !layout_is_ours(&root)? {
            make_layout(&root)?;
        }
        for name in DIRS {
            fs::make_dir(&root.join(name))?;
        }
        let sessions = Sessions::new(root.join("tmp"));
        sessions.sweep();
        let store = Self { inner: Arc::new(Inner { root, sessions }) };
        store.sweep_partials();
        Ok(store)
    }

    /// The directory of the store, absolute.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Where the blob is, or would be. The file at this path may be missing or damaged.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir("blobs").join(fs::fan_out(digest))
    }

    /// The directory `work/<name>`, made if it is missing. What is in it is the caller's affair.
    ///
    /// # Errors
    /// [`StoreError::BadName`] unless `name` is 1 to 100 of the characters `a-z 0-9 . _ -` and does not start with a dot.
    pub fn work_dir(&self, name: &str) -> Result<PathBuf, StoreError> {
        fs::check_name("work directory", name)?;
        let path = self.dir("work").join(name);
        fs::make_dir(&path)?;
        Ok(path)
    }

    /// A new, empty directory that lasts until it is dropped.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        Scratch::create(self.inner.sessions.path(None)?)
    }

    /// Makes all that was done to the store survive a power cut. Only removals need it: until then a power cut may undo
    /// any of them without the others.
    ///
    /// Writes back the whole file system (`syncfs`), which includes what other programs wrote to it.
    pub fn sync(&self) -> Result<(), StoreError> {
        fs::sync_file_system(self.root())
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.inner.root.join(name)
    }

    /// Moves what is at `path` to `damaged/`, if it still is the file that `seen` was opened from.
    ///
    /// Another process may have put a whole blob there since. Moving that one away would lose it, so the moved file is
    /// looked at again and put back.
    fn move_aside(&self, path: &Path, name: &str, seen: Option<&File>) -> Option<PathBuf> {
        let same = |at: &Path| match seen {
            Some(seen) => fs::is_same_file(seen, at),
            None => true,
        };
        if !same(path) {
            return None;
        }
        let aside = self.dir("damaged").join(name);
        std::fs::rename(path, &aside).ok()?;
        if !same(&aside) {
            // Never over a file that came back in the meantime: `hard_link` refuses to replace.
            let _ = std::fs::hard_link(&aside, path);
            let _ = std::fs::remove_file(&aside);
            return None;
        }
        Some(aside)
    }
}

/// Whether `layout` says that this program can use the directory; false if there is no such file yet.
fn layout_is_ours(root: &Path) -> Result<bool, StoreError> {
    let path = root.join("layout");
    let text = match fs::read_at_most(&path, 100) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => {
            return Err(StoreError::Io { action: "read", path, source });
        }
    };
    match text.trim_end().strip_prefix(LAYOUT_WORDS).map(str::parse::<u32>) {
        Some(Ok(found)) if (1..=LAYOUT).contains(&found) => Ok(true),
        Some(Ok(found)) => Err(StoreError::NewerLayout { path, found, known: LAYOUT }),
        _ => Err(StoreError::BadLayout { path, found: text }),
    }
}

/// Writes the layout file of a new store. Processes and threads may do so at once: all write the same bytes.
fn make_layout(root: &Path) -> Result<(), StoreError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for name in fs::sorted_names(root)? {
        let known = name.starts_with("layout.") || name == "lost+found";
        // A second process may be past this point and may have made the other names already.
        if !known && !root.join("layout").exists() {
            return Err(StoreError::NotAStore { path: root.to_owned(), found: name });
        }
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unfinished = root.join(format!("layout.{}-{number}", std::process::id()));
    let text = format!("{LAYOUT_WORDS}{LAYOUT}\n");
    fs::write_whole(&unfinished, text.as_bytes())?;
    fs::rename(&unfinished, &root.join("layout"))?;
    fs::sync_dir(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_becomes_a_store_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        Store::open(&path).unwrap();
        assert_eq!(std::fs::read(path.join("layout")).unwrap(), b"selfsame store layout 1\n");
        Store::open(&path).unwrap();
    }

    #[test]
    fn a_store_of_a_newer_program_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("layout"), "selfsame store layout 2\n").unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        let path = dir.path().display();
        assert_eq!(
            error.to_string(),
            format!("{path}/layout: the store has layout 2, this program knows layouts up to 1")
        );
        std::fs::write(dir.path().join("layout"), "other\n").unwrap();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::BadLayout { .. })));
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::NotAStore { found, .. } if found == "thesis.txt"), "{error}");
        assert_eq!(fs::sorted_names(dir.path()).unwrap(), ["thesis.txt"]);
    }

    #[test]
    fn a_killed_creation_is_finished_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        std::fs::write(dir.path().join("layout.4711"), "selfsa").unwrap();
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn work_directories_are_single_names() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(store.work_dir("stage-1.upper").unwrap().is_dir());
        for bad in ["", "..", ".x", "a/b", "A", "a\0b", &"x".repeat(101)] {
            assert!(matches!(store.work_dir(bad), Err(StoreError::BadName { .. })), "{bad:?}");
        }
    }
}
