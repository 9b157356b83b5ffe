//! From a tar archive to a tree.

use std::io::{self, Read};

use super::{Body, Corruption, Dialect, Entry, Kind, Reader, TarError};
use crate::io::ReadError;
use crate::tree::{self, Item, Leaf, Memory, Meta, Tree, TreeError};

/// Reads the entries that are left into a tree; `keep` takes the bytes of each file and says what to call them.
///
/// The root has the metadata of the archive's entry for it, or `root`. A name twice, a parent that has no entry of
/// its own, and a hard link to something that did not come before are errors.
pub fn collect<R: Read, C>(
    reader: &mut Reader<R>,
    root: Meta,
    mut keep: impl FnMut(&Entry, Body<'_, R>) -> io::Result<C>,
) -> Result<Tree<C>, TarError> {
    let mut tree = Tree::new(root);
    let mut root_seen = false;
    while let Some(entry) = reader.next()? {
        let at = entry.at;
        let corrupt = |kind| ReadError::Corrupt { at, kind };
        let misfit = |error: TreeError| corrupt(Corruption::Tree(error));
        let kind = match &entry.kind {
            Kind::Dir if entry.path.is_empty() => {
                if std::mem::replace(&mut root_seen, true) {
                    return Err(misfit(TreeError::Exists(Vec::new())));
                }
                tree.root.meta = entry.meta();
                continue;
            }
            Kind::Dir => {
                tree.insert_dir(&entry.path, entry.meta()).map_err(misfit)?;
                continue;
            }
            Kind::Hardlink(target) => {
                let found = tree.get(target).map(|found| found.item);
                let Some(Item::Leaf(id, _)) = found else {
                    return Err(corrupt(Corruption::Link(target.clone())));
                };
                tree.link(&entry.path, id).map_err(misfit)?;
                continue;
            }
            Kind::File { size } => {
                let kept = keep(&entry, reader.body());
                tree::Kind::File(kept.map_err(|source| ReadError::Io { at, len: *size, source })?)
            }
            Kind::Symlink(target) => tree::Kind::Symlink(target.as_slice().into()),
            Kind::Char { major, minor } => tree::Kind::Char { major: *major, minor: *minor },
            Kind::Block { major, minor } => tree::Kind::Block { major: *major, minor: *minor },
            Kind::Fifo => tree::Kind::Fifo,
        };
        tree.insert(&entry.path, Leaf { meta: entry.meta(), kind }).map_err(misfit)?;
    }
    Ok(tree)
}

/// Reads a whole archive with the bytes of its files into memory: for small archives, the caller bounds `archive`.
pub fn read_tree(archive: impl Read, dialect: Dialect) -> Result<(Tree, Memory), TarError> {
    let mut memory = Memory::new();
    let mut reader = Reader::new(archive, dialect);
    let tree = collect(&mut reader, Meta::root(0o755, 0), |_, mut body| {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        Ok(memory.add(bytes))
    })?;
    Ok((tree, memory))
}
