//! Files with holes: disk images are mostly that, and zeros that lie nowhere need not be read.

use std::fs::File;
use std::io;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use selfsame_image::ReadAt;

/// A file, and what the kernel knows of its holes.
#[derive(Debug)]
pub(super) struct Holes(pub(super) File);

impl ReadAt for Holes {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        ReadAt::read_exact_at(&self.0, buf, at)
    }

    fn zeros_until(&self, at: u64) -> u64 {
        // lseek(2): where the next data begin; there is no such place behind the last of them.
        match rustix::fs::seek(&self.0, SeekFrom::Data(at)) {
            Ok(data) => data.max(at),
            Err(Errno::NXIO) => self.size().unwrap_or(at).max(at),
            Err(_) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn holes_are_zeros_that_need_not_be_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100 << 20).unwrap();
        file.write_all_at(b"data", 60 << 20).unwrap();
        let file = Holes(file);
        let found = file.zeros_until(0);
        // File systems without holes say that all is data.
        assert!(found == 0 || (59 << 20..=60 << 20).contains(&found), "{found}");
        assert_eq!(file.zeros_until(60 << 20), 60 << 20);
        let end = file.zeros_until(90 << 20);
        assert!(end == 90 << 20 || end == 100 << 20, "{end}");
        assert_eq!(file.zeros_until(100 << 20), 100 << 20);
    }
}
