//! Reading files that somebody gave: no more of them than expected, and not after Ctrl-C.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use selfsame_image::Digest;
use selfsame_image::digest::Hasher;

use super::Context;
use crate::failure::Failure;

/// SHA-256 of the file `path`, which may be as large as images are.
pub fn digest(path: &Path, cx: &Context) -> Result<Digest, Failure> {
    let cannot = |error| Failure::input(error).context(format!("cannot read {}", path.display()));
    regular(path).map_err(cannot)?;
    let mut file = File::open(path).map_err(cannot)?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        cx.interrupt.check()?;
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(cannot(error)),
        }
    }
}

/// The text in `path`, which is `what`, if it has at most `limit` bytes.
pub fn text(path: &Path, limit: u64, what: &str) -> Result<String, Failure> {
    let cannot = || format!("cannot read {what} {}", path.display());
    let bytes = bytes(path, limit).map_err(|error| Failure::input(error).context(cannot()))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::input(format!("it is longer than {limit} bytes")).context(cannot()));
    }
    String::from_utf8(bytes).map_err(|error| Failure::input(error.utf8_error()).context(cannot()))
}

/// What is in the file `path`, and one byte beyond `limit` at most, so that what is too long can be told.
pub fn bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    regular(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses all but regular files. To be called before opening: opening a pipe waits for whoever writes.
///
/// # Errors
/// If there is nothing, or something else.
pub fn regular(path: &Path) -> io::Result<()> {
    match fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_expected_and_no_pipe_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(bytes(&file, 3).unwrap(), b"1234");
        assert_eq!(text(&file, 5, "the text").unwrap(), "12345");
        let long = text(&file, 4, "the text").unwrap_err().to_string();
        assert!(long.contains("cannot read the text ") && long.contains("longer than 4 bytes"), "{long}");
        fs::write(&file, b"\xff").unwrap();
        assert!(text(&file, 4, "the text").unwrap_err().to_string().contains("cause: invalid utf-8"));
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(bytes(&pipe, 3).unwrap_err().to_string(), "it is not a regular file");
    }
}
