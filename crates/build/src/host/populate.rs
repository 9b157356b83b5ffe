//! A tree as files of this machine.

use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use selfsame_image::Tree;
use selfsame_image::digest::Hasher;
use selfsame_image::io::Cursor;
use selfsame_image::tree::{Contents, Item, Kind};

use super::IdShift;
use super::extract::{EntryKind, ExtractError, ExtractReason, Extractor, Placed};

/// What happens to directories that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directories {
    /// They stay as they are.
    Keep,
    /// They get owner, mode, time and attributes of the tree; the top directory too.
    Set,
}

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PopulateError {
    /// The directory cannot be opened.
    #[error("cannot open the directory to write to")]
    Open(#[source] io::Error),
    /// An entry could not be written.
    #[error(transparent)]
    Entry(#[from] ExtractError),
    /// A file's content is not to be had.
    #[error("cannot read the content of {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What the provider said.
        source: io::Error,
    },
    /// A file's bytes are no longer those that the tree names.
    #[error("{} changed during the build", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Writes `tree` below the directory `dir`, by the rules of [`Extractor`]: files take the place of files, and links to
/// directories are followed as if `dir` were `/`.
///
/// # Errors
/// The first entry that could not be written, in the order of the tree. Device nodes and sockets are refused.
/// [`PopulateError::Changed`] comes after the wrong bytes were written: `dir` is of no use then.
pub fn populate(
    dir: &Path,
    tree: &Tree,
    contents: &dyn Contents,
    shift: IdShift,
    directories: Directories,
) -> Result<(), PopulateError> {
    let mut extractor = Extractor::new(dir, shift).map_err(PopulateError::Open)?;
    // The first name of each inode; the others become links to it.
    let mut names: Vec<Option<Vec<u8>>> = vec![None; tree.leaves().len()];
    tree.walk(|path, entry| {
        let at = || PathBuf::from(OsStr::from_bytes(path));
        let unread = |source| PopulateError::Content { path: at(), source };
        let add = |extractor: &mut Extractor, kind| extractor.add(path, entry.meta, kind);
        let (id, kind) = match entry.item {
            Item::Dir(_) => {
                let placed = add(&mut extractor, EntryKind::Dir)?;
                if placed == Placed::Kept && directories == Directories::Set {
                    let set = extractor.set_dir(path, entry.meta);
                    set.map_err(|reason| ExtractError { path: at(), reason })?;
                }
                return Ok(());
            }
            Item::Leaf(id, kind) => (id.index(), kind),
        };
        if let Some(first) = &names[id] {
            add(&mut extractor, EntryKind::HardLink(first))?;
            return Ok(());
        }
        match kind {
            Kind::File(content) => {
                let opened = Cursor::new(contents.open(content).map_err(unread)?, 0);
                let mut reader = Hashing { inner: BufReader::new(opened), hasher: Hasher::new() };
                match add(&mut extractor, EntryKind::File { size: content.size, content: &mut reader }) {
                    Err(ExtractError { reason: ExtractReason::Short { .. }, .. }) => {
                        return Err(PopulateError::Changed { path: at() });
                    }
                    added => added?,
                };
                // Providers find files by name, so what they give may not be what was hashed before.
                if reader.hasher.finish() != content.digest {
                    return Err(PopulateError::Changed { path: at() });
                }
            }
            Kind::Symlink(target) => drop(add(&mut extractor, EntryKind::Symlink(target))?),
            Kind::Fifo => drop(add(&mut extractor, EntryKind::Fifo)?),
            Kind::Block { .. } | Kind::Char { .. } | Kind::Socket => {
                add(&mut extractor, EntryKind::Special)?;
            }
        }
        names[id] = Some(path.to_vec());
        Ok::<(), PopulateError>(())
    })?;
    extractor.finish()?;
    Ok(())
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use selfsame_image::tree::{Content, Leaf, Meta};
    use selfsame_image::{Digest, ReadAt};

    use super::*;

    /// Gives these bytes whatever is asked for.
    struct Always(&'static [u8]);

    impl Contents for Always {
        fn open(&self, _: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
            Ok(Arc::new(self.0.to_vec()))
        }
    }

    #[test]
    fn a_file_that_changed_since_it_was_hashed_is_named() {
        let content = Content { size: 5, digest: Digest::of(b"hello") };
        let mut meta = Meta::root(0o644, 7);
        // Whoever runs the tests.
        (meta.uid, meta.gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut tree = Tree::new(Meta::root(0o755, 7));
        tree.insert(b"motd", Leaf { meta, kind: Kind::File(content) }).unwrap();
        let write = |bytes| {
            let dir = tempfile::tempdir().unwrap();
            populate(dir.path(), &tree, &Always(bytes), IdShift::NONE, Directories::Keep)
        };
        write(b"hello").unwrap();
        for changed in [&b"jello"[..], b"hell", b""] {
            assert_eq!(write(changed).unwrap_err().to_string(), "motd changed during the build");
        }
    }
}
