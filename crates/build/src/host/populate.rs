//! A tree as files of this machine.

use std::ffi::OsStr;
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use selfsame_image::Tree;
use selfsame_image::io::Cursor;
use selfsame_image::tree::{Contents, Item, Kind};

use super::IdShift;
use super::extract::{EntryKind, ExtractError, Extractor, Placed};

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
}

/// Writes `tree` below the directory `dir`, by the rules of [`Extractor`]: files take the place of files, and links to
/// directories are followed as if `dir` were `/`.
///
/// # Errors
/// The first entry that could not be written, in the order of the tree. Device nodes and sockets are refused.
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
                let mut reader = BufReader::new(Cursor::new(contents.open(content).map_err(unread)?, 0));
                add(&mut extractor, EntryKind::File { size: content.size, content: &mut reader })?
            }
            Kind::Symlink(target) => add(&mut extractor, EntryKind::Symlink(target))?,
            Kind::Fifo => add(&mut extractor, EntryKind::Fifo)?,
            Kind::Block { .. } | Kind::Char { .. } | Kind::Socket => add(&mut extractor, EntryKind::Special)?,
        };
        names[id] = Some(path.to_vec());
        Ok::<(), PopulateError>(())
    })?;
    extractor.finish()?;
    Ok(())
}
