//! Writing a file that somebody may have written before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces the file at `path` in one step, or makes it: it is whole, or what it was before. Its mode stays.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    // The file itself, not a link to it.
    let path = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        found => found?,
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let next = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&next)?;
        file.write_all(text.as_bytes())?;
        if let Ok(old) = fs::metadata(&path) {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&next, &path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&next)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_whole_or_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.toml"), dir.path().join("link"));
        replace(&file, "one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a.toml", &link).unwrap();
        replace(&link, "two").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        // A directory cannot be replaced by a file, and nothing is left of the attempt.
        replace(dir.path(), "three").unwrap_err();
        let parent = dir.path().parent().unwrap();
        let name = dir.path().file_name().unwrap().to_string_lossy().into_owned();
        let like = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&name);
        assert_eq!(fs::read_dir(parent).unwrap().flatten().filter(like).count(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
