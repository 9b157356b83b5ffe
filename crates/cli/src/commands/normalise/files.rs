//! Which files there are: each once, however many names it has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A file, and its names among what was given.
#[derive(Debug)]
pub struct Group {
    /// At least one; in the order in which they were found.
    pub names: Vec<PathBuf>,
    /// How many more it has.
    pub elsewhere: u64,
}

/// The regular files among `paths` and below them, in byte order of what is in a directory.
pub fn groups(paths: &[PathBuf]) -> Result<Vec<Group>, Failure> {
    let mut walk = Walk::default();
    for path in paths {
        let cannot = |error| Failure::input(error).context(format!("cannot read {}", path.display()));
        let meta = fs::symlink_metadata(path).map_err(cannot)?;
        if meta.is_symlink() {
            return Err(Failure::input(format!("{} is a symbolic link", path.display()))
                .hint("links are not followed: name the file or directory that it leads to"));
        }
        if !meta.is_dir() && !meta.is_file() {
            return Err(cannot(io::Error::other("it is neither a regular file nor a directory")));
        }
        walk.add(path.clone(), &meta)?;
    }
    Ok(walk.groups)
}

#[derive(Default)]
struct Walk {
    groups: Vec<Group>,
    /// By device and inode, where the file is among the groups.
    known: BTreeMap<(u64, u64), usize>,
}

impl Walk {
    fn add(&mut self, path: PathBuf, meta: &fs::Metadata) -> Result<(), Failure> {
        if meta.is_dir() {
            return self.below(&path);
        }
        if !meta.is_file() {
            return Ok(());
        }
        let new = Group { names: Vec::new(), elsewhere: meta.nlink() };
        let groups = &mut self.groups;
        let place = *self.known.entry((meta.dev(), meta.ino())).or_insert_with(|| {
            groups.push(new);
            groups.len() - 1
        });
        let group = &mut self.groups[place];
        // A path may be given twice, or lie below another.
        if !group.names.contains(&path) {
            group.names.push(path);
            group.elsewhere = group.elsewhere.saturating_sub(1);
        }
        Ok(())
    }

    fn below(&mut self, dir: &Path) -> Result<(), Failure> {
        let cannot = |error| Failure::input(error).context(format!("cannot read {}", dir.display()));
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(cannot)? {
            names.push(entry.map_err(cannot)?.file_name());
        }
        names.sort();
        for name in names {
            let path = dir.join(name);
            let meta = fs::symlink_metadata(&path)
                .map_err(|error| Failure::input(error).context(format!("cannot read {}", path.display())))?;
            self.add(path, &meta)?;
        }
        Ok(())
    }
}

/// Opens a file; not what a symbolic link leads to that came in its place, and without waiting for a pipe.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("flags have 31 bits");
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file any more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_found_once_with_its_names_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("in/deep")).unwrap();
        for name in ["in/b", "in/a", "in/deep/c", "out"] {
            fs::write(at(name), name).unwrap();
        }
        fs::hard_link(at("in/a"), at("in/deep/a2")).unwrap();
        fs::hard_link(at("in/b"), at("elsewhere")).unwrap();
        std::os::unix::fs::symlink(at("out"), at("in/link")).unwrap();
        std::os::unix::fs::symlink(dir.path(), at("in/up")).unwrap();
        let groups = groups(&[at("in"), at("in/a")]).unwrap();
        let short = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
        let found: Vec<_> = groups
            .iter()
            .map(|group| (group.names.iter().map(short).collect::<Vec<_>>().join(" "), group.elsewhere))
            .collect();
        let expected = [("in/a in/deep/a2", 0), ("in/b", 1), ("in/deep/c", 0)];
        assert_eq!(found, expected.map(|(names, elsewhere)| (names.to_owned(), elsewhere)));
        assert!(super::groups(&[at("in/link")]).unwrap_err().to_string().contains("symbolic link"));
        assert!(open(&at("in/link")).is_err());
        assert!(open(&at("in")).is_err());
    }
}
