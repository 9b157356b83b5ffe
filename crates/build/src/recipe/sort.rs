//! The recipe's sort file: which contents lie at the front of the SquashFS.

use std::path::Path;

use selfsame_image::Digest;
use selfsame_image::squashfs::Sort;

use super::files::{FilesError, resolve};

/// A sort file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortFile {
    /// Of its bytes.
    pub digest: Digest,
    /// What they say.
    pub sort: Sort,
}

impl SortFile {
    /// Reads the sort file `relative` of the recipe in `dir`.
    ///
    /// # Errors
    /// [`FilesError::Line`] for a line that makes no sense; else as [`resolve`].
    pub fn read(dir: &Path, relative: &Path) -> Result<Self, FilesError> {
        let target = resolve(dir, relative)?;
        let path = dir.join(relative);
        let bytes = match std::fs::read(target) {
            Ok(bytes) => bytes,
            Err(source) => return Err(FilesError::Io { path, source }),
        };
        match Sort::parse(&bytes) {
            Ok(sort) => Ok(Self { digest: Digest::of(&bytes), sort }),
            Err(error) => Err(FilesError::Line { path, line: error.line, problem: error.problem }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_line_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join("boot.sort"), text).unwrap();
            SortFile::read(dir.path(), Path::new("boot.sort"))
        };
        let file = read("usr/bin 3\n").unwrap();
        assert_eq!((file.sort.priority(b"usr/bin/ls"), file.digest), (3, Digest::of(b"usr/bin 3\n")));
        let error = read("usr/bin 3\nusr/lib high\n").unwrap_err().to_string();
        assert!(error.ends_with("boot.sort:2: \"high\" is no priority from -32768 to 32767"), "{error}");
        let missing = SortFile::read(dir.path(), Path::new("none")).unwrap_err();
        assert!(matches!(missing, FilesError::Io { .. }), "{missing}");
    }
}
