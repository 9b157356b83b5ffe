//! The few file operations the store is made of, with their errors.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use selfsame_image::digest::{Digest, Hasher};

use crate::error::StoreError;

/// Turns an I/O error at `path` into a store error; a full disk becomes [`StoreError::Full`].
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    failed_writing(action, path, None)
}

/// As [`failed`], for a call that had `needed` more bytes to write.
pub(crate) fn failed_writing(
    action: &'static str,
    path: &Path,
    needed: Option<u64>,
) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let free = path.parent().and_then(free_bytes);
            StoreError::Full { path, needed, free, source }
        }
        _ => StoreError::Io { action, path, source },
    }
}

/// Bytes that an unprivileged process can still write to the file system of `dir`.
fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// `ab/<62 hex>`: 256 directories keep each of them short.
pub(crate) fn fan_out(digest: &Digest) -> String {
    let hex = digest.to_string();
    format!("{}/{}", &hex[..2], &hex[2..])
}

/// A name that is one path component on every file system and needs no quoting.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), StoreError> {
    let fine =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=100).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fine) {
        Ok(())
    } else {
        Err(StoreError::BadName { what, name: name.chars().take(200).collect() })
    }
}

/// Makes one directory, and makes its name durable. Nothing is written if it exists.
pub(crate) fn make_dir(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(failed("make directory", path)(error)),
    }
}

/// Makes a directory and its parents.
pub(crate) fn make_dirs(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_dirs(parent)?;
    }
    make_dir(path)
}

/// Makes what was renamed or created in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes back everything the file system of `dir` holds in memory.
pub(crate) fn sync_file_system(dir: &Path) -> Result<(), StoreError> {
    let open = File::open(dir).map_err(failed("open", dir))?;
    rustix::fs::syncfs(&open).map_err(|errno| failed("sync", dir)(errno.into()))
}

/// What another process removed meanwhile need not be removed.
pub(crate) fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(failed("rename to", to))
}

/// A new file that nobody else has.
pub(crate) fn create_new(path: &Path, needed: Option<u64>) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).map_err(failed_writing("create", path, needed))
}

/// Writes and syncs a small file whose name is the caller's alone.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    let write = |mut file: File| file.write_all(bytes).and_then(|()| file.sync_all());
    options.open(path).and_then(write).map_err(failed_writing("write", path, Some(bytes.len() as u64)))
}

/// Takes the write permission away: nothing that has a final name is ever written again.
pub(crate) fn freeze(file: &File, path: &Path) -> Result<(), StoreError> {
    file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(failed("set mode of", path))
}

/// Gives a whole file its final name, making the directory if this is its first one.
pub(crate) fn place(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            to.parent().map_or(Ok(()), make_dir)?;
            rename(from, to)
        }
        Err(error) => Err(failed("rename to", to)(error)),
    }
}

/// What is at a final name.
pub(crate) enum Opened {
    Missing,
    /// Something a store never puts there, such as a symbolic link.
    NotAFile,
    File(File),
}

/// Opens a regular file, never through a symbolic link and never waiting for a named pipe.
pub(crate) fn open_regular(path: &Path) -> Result<Opened, StoreError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    match options.open(path) {
        Ok(file) => {
            let regular = file.metadata().map_err(failed("look at", path))?.is_file();
            Ok(if regular { Opened::File(file) } else { Opened::NotAFile })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Opened::Missing),
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) => Ok(Opened::NotAFile),
        Err(error) => Err(failed("open", path)(error)),
    }
}

/// Whether `path` names the file that is open as `file`.
pub(crate) fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

pub(crate) fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Names in `dir`, sorted; none if the directory is not there. Names that are not UTF-8 come out readable, not exact.
pub(crate) fn sorted_names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("list", dir))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The digests whose [`fan_out`] is below `dir`, sorted.
pub(crate) fn digests_below(dir: &Path) -> Result<Vec<Digest>, StoreError> {
    let mut found = Vec::new();
    for outer in sorted_names(dir)? {
        let inner = sorted_names(&dir.join(&outer))?;
        found.extend(inner.iter().filter_map(|name| crate::blob::digest_of_names(&outer, name)));
    }
    Ok(found)
}

/// `dir` and what is below it, as far as it can be removed.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file that is removed unless it gets its final name.
#[derive(Debug)]
pub(crate) struct Unfinished(Option<PathBuf>);

impl Unfinished {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Gives it its final name.
    pub(crate) fn place(mut self, to: &Path) -> Result<(), StoreError> {
        place(self.path(), to)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // If this fails, the next process that opens the store sweeps it.
            let _ = fs::remove_file(path);
        }
    }
}

/// The digest and length of everything that is left to read in `file`.
pub(crate) fn hash(file: &mut File) -> io::Result<(Hasher, u64)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 17];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher, size)),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
