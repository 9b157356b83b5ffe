//! Files of the recipe as a tree: what Git keeps of a file (bytes and the executable bit) and nothing else.
//!
//! Owners, times, umask, directory order and empty directories of the checkout do not reach the image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selfsame_image::tree::{Content, Contents, Kind, Leaf, Meta, TreeError};
use selfsame_image::{Digest, Epoch, ReadAt, Tree};

/// Files of a recipe: their tree, and where the bytes are.
#[derive(Debug)]
pub struct Tracked {
    /// Owned by root, modes 755 and 644, times at the epoch.
    pub tree: Tree,
    paths: BTreeMap<Digest, PathBuf>,
}

/// Why files of the recipe could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a symbolic link that leads out of the recipe.
    #[error("{} leaves the recipe: it leads to {}", path.display(), target.display())]
    Leaves {
        /// The path as the recipe names it.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The path is the recipe itself, which is more than what goes into an image.
    #[error("{} is the recipe's own directory; files for the image need one below it", path.display())]
    Whole {
        /// The path as the recipe names it.
        path: PathBuf,
    },
    /// A device, socket or pipe.
    #[error("{} is neither a file, a directory nor a symbolic link", path.display())]
    Special {
        /// The path.
        path: PathBuf,
    },
    /// A line of a file makes no sense.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The rule that it breaks, with the value that breaks it.
        problem: String,
    },
    /// A name cannot be in a tree.
    #[error("in {}", path.display())]
    Tree {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: TreeError,
    },
}

impl Contents for Tracked {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        let path = self.paths.get(&content.digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(File::open(path)?))
    }
}

/// Reads the file or directory `relative` of the recipe in `dir`. A file becomes a tree with that one name.
///
/// The path itself must lie inside `dir` after following symbolic links; links below it are kept as links.
pub fn read_tracked(dir: &Path, relative: &Path, epoch: Epoch) -> Result<Tracked, FilesError> {
    let target = resolve(dir, relative)?;
    let mut reader =
        Reader { tracked: Tracked { tree: Tree::new(meta(0o755, epoch)), paths: BTreeMap::new() }, epoch };
    if target.is_dir() {
        reader.directory(&target, b"")?;
    } else {
        let name = target.file_name().map_or_else(Vec::new, |name| name.as_bytes().to_vec());
        reader.entry(&target, &name)?;
    }
    Ok(reader.tracked)
}

/// Where the file or directory `relative` of the recipe in `dir` is, with all symbolic links followed.
///
/// # Errors
/// [`FilesError::Leaves`] if that is not inside `dir`, [`FilesError::Whole`] if it is `dir` itself.
pub fn resolve(dir: &Path, relative: &Path) -> Result<PathBuf, FilesError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| FilesError::Io { path, source }
    };
    let path = dir.join(relative);
    let target = path.canonicalize().map_err(io(&path))?;
    let home = dir.canonicalize().map_err(io(dir))?;
    if target == home {
        return Err(FilesError::Whole { path });
    }
    if target.starts_with(&home) { Ok(target) } else { Err(FilesError::Leaves { path, target }) }
}

fn meta(mode: u16, epoch: Epoch) -> Meta {
    Meta::root(mode, i64::from(epoch.0))
}

struct Reader {
    tracked: Tracked,
    epoch: Epoch,
}

impl Reader {
    fn directory(&mut self, host: &Path, path: &[u8]) -> Result<(), FilesError> {
        let io = |source| FilesError::Io { path: host.to_owned(), source };
        let mut names = std::fs::read_dir(host)
            .map_err(io)?
            .map(|entry| entry.map(|e| e.file_name()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(io)?;
        names.sort();
        // Git never keeps anything of this name: what has it is Git's own.
        names.retain(|name| name != ".git");
        for name in names {
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.as_bytes());
            self.entry(&host.join(&name), &below)?;
        }
        Ok(())
    }

    fn entry(&mut self, host: &Path, path: &[u8]) -> Result<(), FilesError> {
        let io = |source| FilesError::Io { path: host.to_owned(), source };
        let tree = |source| FilesError::Tree { path: host.to_owned(), source };
        let stat = host.symlink_metadata().map_err(io)?;
        let kind = stat.file_type();
        if kind.is_dir() {
            return self.directory(host, path);
        }
        let (mode, kind) = if kind.is_symlink() {
            let target = host.read_link().map_err(io)?;
            (0o777, Kind::Symlink(target.as_os_str().as_bytes().into()))
        } else if kind.is_file() {
            let mut file = File::open(host).map_err(io)?;
            let (digest, size) = Digest::of_reader(&mut file).map_err(io)?;
            self.tracked.paths.insert(digest, host.to_owned());
            (if stat.mode() & 0o100 != 0 { 0o755 } else { 0o644 }, Kind::File(Content { size, digest }))
        } else {
            return Err(FilesError::Special { path: host.to_owned() });
        };
        // A directory is there for the sake of its first file: a checkout has no other ones.
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if self.tracked.tree.get(&path[..at]).is_none() {
                self.tracked.tree.insert_dir(&path[..at], meta(0o755, self.epoch)).map_err(tree)?;
            }
        }
        self.tracked.tree.insert(path, Leaf { meta: meta(mode, self.epoch), kind }).map_err(tree)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn keeps_what_git_keeps() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = dir.path().join("files/etc");
        std::fs::create_dir_all(&overlay).unwrap();
        std::fs::write(overlay.join("motd"), "hello\n").unwrap();
        std::fs::set_permissions(overlay.join("motd"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(overlay.join("run"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(overlay.join("run"), PermissionsExt::from_mode(0o700)).unwrap();
        symlink("/outside", overlay.join("link")).unwrap();
        std::fs::create_dir_all(dir.path().join("files/srv/empty/below")).unwrap();
        for git in ["files/.git/objects", "files/etc/.git"] {
            std::fs::create_dir_all(dir.path().join(git)).unwrap();
            std::fs::write(dir.path().join(git).join("HEAD"), "ref").unwrap();
        }
        let tracked = read_tracked(dir.path(), Path::new("files"), Epoch(7)).unwrap();
        let mut lines = Vec::new();
        tracked
            .tree
            .walk(|path, entry| {
                lines.push(format!(
                    "{} {:o} {}",
                    String::from_utf8_lossy(path),
                    entry.meta.mode,
                    entry.meta.mtime
                ));
                Ok::<(), ()>(())
            })
            .unwrap();
        assert_eq!(lines, [" 755 7", "etc 755 7", "etc/link 777 7", "etc/motd 644 7", "etc/run 755 7"]);
    }

    #[test]
    fn a_link_out_of_the_recipe_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/usr", dir.path().join("files")).unwrap();
        let error = read_tracked(dir.path(), Path::new("files"), Epoch(7)).unwrap_err();
        assert!(matches!(error, FilesError::Leaves { .. }), "{error}");
    }

    #[test]
    fn a_link_to_the_recipe_itself_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink(".", dir.path().join("files")).unwrap();
        let error = read_tracked(dir.path(), Path::new("files"), Epoch(7)).unwrap_err();
        assert!(matches!(error, FilesError::Whole { .. }), "{error}");
    }
}
