//! How formats reach bytes: positioned reads, and the error every reader reports.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A source of bytes that can be read anywhere, from any thread.
pub trait ReadAt: Sync {
    /// Length of the source in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills the whole of `buf` from byte `at` on; `UnexpectedEof` if the source ends before.
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;

    /// The end of the zeros that are known to lie from byte `at` on without reading them; `at` if none are.
    fn zeros_until(&self, at: u64) -> u64 {
        at
    }

    /// Whether reading from front to back is much cheaper than in any other order.
    fn in_order(&self) -> bool {
        false
    }
}

/// A length in memory as a length in a source. Lossless: no supported target has pointers above 64 bits.
pub(crate) fn wide(length: usize) -> u64 {
    u64::try_from(length).expect("a usize has at most 64 bits")
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let start = usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, at)
    }
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, at)
    }
}

impl<R: ReadAt + ?Sized + Send> ReadAt for std::sync::Arc<R> {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, at)
    }

    fn zeros_until(&self, at: u64) -> u64 {
        (**self).zeros_until(at)
    }

    fn in_order(&self) -> bool {
        (**self).in_order()
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, at)
    }

    fn zeros_until(&self, at: u64) -> u64 {
        (**self).zeros_until(at)
    }

    fn in_order(&self) -> bool {
        (**self).in_order()
    }
}

/// The offset of the first byte from `at` on that is not zero; `None` if there is none.
pub(crate) fn skip_zeros(source: &(impl ReadAt + ?Sized), mut at: u64) -> io::Result<Option<u64>> {
    let size = source.size()?;
    let mut buf = [0; 4096];
    while at < size {
        let take = usize::try_from((size - at).min(wide(buf.len()))).expect("at most the buffer");
        let part = &mut buf[..take];
        source.read_exact_at(part, at)?;
        if let Some(found) = part.iter().position(|byte| *byte != 0) {
            return Ok(Some(at + wide(found)));
        }
        at += wide(take);
    }
    Ok(None)
}

/// A part of a source, with its own byte 0: a partition, a file inside an image.
#[derive(Clone, Copy, Debug)]
pub struct Window<R> {
    inner: R,
    start: u64,
    len: u64,
}

impl<R: ReadAt> Window<R> {
    /// The `len` bytes of `inner` from `start` on. Reads past the end of `inner` fail when they happen.
    pub fn new(inner: R, start: u64, len: u64) -> Self {
        Self { inner, start, len }
    }
}

impl<R: ReadAt> ReadAt for Window<R> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let fits = at.checked_add(buf.len() as u64).is_some_and(|end| end <= self.len);
        let from = self.start.checked_add(at).filter(|_| fits).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.inner.read_exact_at(buf, from)
    }

    fn zeros_until(&self, at: u64) -> u64 {
        let until = self.start.checked_add(at).map_or(0, |from| self.inner.zeros_until(from));
        until.saturating_sub(self.start).min(self.len).max(at)
    }

    fn in_order(&self) -> bool {
        self.inner.in_order()
    }
}

/// Reads a [`ReadAt`] from front to back.
#[derive(Clone, Debug)]
pub struct Cursor<R> {
    inner: R,
    at: u64,
}

impl<R: ReadAt> Cursor<R> {
    /// Starts at byte `at` of `inner`.
    pub fn new(inner: R, at: u64) -> Self {
        Self { inner, at }
    }
}

impl<R: ReadAt> io::Read for Cursor<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.inner.size()?.saturating_sub(self.at);
        let take = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.inner.read_exact_at(&mut buf[..take], self.at)?;
        self.at += take as u64;
        Ok(take)
    }
}

/// Why an image or archive could not be read. `K` names the rules of one format that can be broken.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<K: std::error::Error + 'static> {
    /// The bytes break a rule of the format.
    #[error("corrupt at byte {at:#x}: {kind}")]
    Corrupt {
        /// Byte offset of the structure that breaks the rule.
        at: u64,
        /// The rule, with the values that broke it.
        kind: K,
    },
    /// The image is valid but uses something that is not implemented.
    #[error("unsupported feature at byte {at:#x}: {feature}")]
    Unsupported {
        /// Byte offset of the structure that asks for the feature.
        at: u64,
        /// Name of the feature in the field's own words.
        feature: &'static str,
    },
    /// The source could not be read; nothing is known about the image.
    #[error("cannot read {len} bytes at {at:#x}")]
    Io {
        /// Byte offset of the read.
        at: u64,
        /// Length of the read in bytes.
        len: u64,
        /// What the source said.
        source: io::Error,
    },
}
