//! Whole streams: members of packages, indexes, an initramfs.

use std::io::{self, Read};

use super::Wrapping;
use crate::io::wide;

/// The most memory an xz stream may ask its decoder for: dictionaries up to 128 MiB and the decoder's own state.
/// xz -9 needs 65 MiB. zstd's decoder stops at windows of 128 MiB by itself.
const XZ_MEMORY: u64 = 160 << 20;

/// A stream yields more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decompresses to more than {limit} bytes")]
pub struct TooLong {
    /// The most bytes the caller allowed.
    pub limit: u64,
}

/// Passes on at most a number of bytes; one more is an error, never a silent end.
#[derive(Debug)]
pub struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Bounded<R> {
    /// Passes on at most `limit` bytes of `inner`.
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut one = [0];
            let room = buf.len().min(1);
            return match self.inner.read(&mut one[..room])? {
                0 => Ok(0),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, TooLong { limit: self.limit })),
            };
        }
        let take = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buf[..take])?;
        self.left -= wide(count);
        Ok(count)
    }
}

/// Plain bytes of a packed stream, with bounded memory and bounded length.
pub type Plain<'a> = Bounded<Box<dyn Read + Send + 'a>>;

impl Wrapping {
    /// A reader of the plain bytes of `packed` that yields at most `limit` bytes; more is a [`TooLong`] error.
    ///
    /// A stream that ends before its own end is `UnexpectedEof` or `InvalidData`, never a short success, and so is
    /// one that asks for a window above 128 MiB.
    pub fn plain<'a, R: Read + Send + 'a>(self, packed: R, limit: u64) -> io::Result<Plain<'a>> {
        let inner: Box<dyn Read + Send + 'a> = match self {
            Self::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
                Box::new(liblzma::read::XzDecoder::new_stream(packed, stream))
            }
            _ => self.reader(packed)?,
        };
        Ok(Bounded::new(inner, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(wrapping: Wrapping, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match wrapping {
            Wrapping::Gzip => {
                let level = flate2::Compression::new(6);
                flate2::read::GzEncoder::new(plain, level).read_to_end(&mut out).unwrap();
            }
            Wrapping::Xz => {
                liblzma::read::XzEncoder::new(plain, 6).read_to_end(&mut out).unwrap();
            }
            Wrapping::Zstd => out = zstd::stream::encode_all(plain, 3).unwrap(),
            Wrapping::None => out.extend_from_slice(plain),
        }
        out
    }

    fn sample() -> Vec<u8> {
        (0..60_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    #[test]
    fn streams_are_bounded_and_may_be_concatenated() {
        let plain = sample();
        for wrapping in [Wrapping::Gzip, Wrapping::Xz, Wrapping::Zstd, Wrapping::None] {
            let twice = [packed(wrapping, &plain), packed(wrapping, &plain)].concat();
            let limit = wide(2 * plain.len());
            let read = |limit| {
                let mut out = Vec::new();
                let result = wrapping.plain(&twice[..], limit).unwrap().read_to_end(&mut out);
                result.map(|_| out)
            };
            assert_eq!(read(limit).unwrap(), [&plain[..], &plain[..]].concat(), "{wrapping:?}");
            let error = read(limit - 1).unwrap_err();
            assert_eq!(error.to_string(), format!("decompresses to more than {} bytes", limit - 1));
        }
    }

    /// CVE-2026-2219: a zstd stream that stops in the middle must end, and end with an error.
    #[test]
    fn streams_cut_anywhere_are_errors() {
        let plain = sample();
        for wrapping in [Wrapping::Gzip, Wrapping::Xz, Wrapping::Zstd] {
            let whole = packed(wrapping, &plain);
            let step = (whole.len() / 150).max(1);
            for length in (1..whole.len()).step_by(step).chain([whole.len() - 1]) {
                let mut out = Vec::new();
                let result = wrapping
                    .plain(&whole[..length], u64::MAX)
                    .and_then(|mut reader| reader.read_to_end(&mut out));
                assert!(result.is_err(), "{wrapping:?} cut to {length} of {}", whole.len());
            }
        }
    }

    #[test]
    fn an_xz_stream_that_wants_much_memory_is_refused() {
        let mut small = packed(Wrapping::Xz, b"abc");
        // Block header: size, flags, filter id 0x21, properties size 1, dictionary size, padding, CRC32.
        assert_eq!(small[14..16], [0x21, 1]);
        small[16] = 37;
        let mut crc = flate2::Crc::new();
        crc.update(&small[12..20]);
        small[20..24].copy_from_slice(&crc.sum().to_le_bytes());
        let mut out = Vec::new();
        let error = Wrapping::Xz.plain(&small[..], 100).unwrap().read_to_end(&mut out).unwrap_err();
        assert!(error.to_string().to_lowercase().contains("mem"), "{error}");
    }
}
