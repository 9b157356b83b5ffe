//! Whole streams: members of packages, indexes, an initramfs.

use std::io::{self, BufRead, Read, Write};

use super::{Codec, Wrapping};
use crate::io::{ReadAt, wide};

/// The most memory an xz stream may ask its decoder for: dictionaries up to 128 MiB and the decoder's own state.
/// xz -9 needs 65 MiB. zstd's decoder stops at windows of 128 MiB by itself.
pub(super) const XZ_MEMORY: u64 = 160 << 20;

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

    /// What it passes on.
    pub(super) fn into_inner(self) -> R {
        self.inner
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

    /// The plain bytes of the one gzip member, xz stream or zstd frame that starts at byte `at` of `source`, and the
    /// offset of the first byte after it. More than `limit` plain bytes are a [`TooLong`] error.
    ///
    /// [`Wrapping::None`] has no end of its own: it takes everything to the end of the source.
    pub fn unpack_one(self, source: &impl ReadAt, at: u64, limit: u64) -> io::Result<(Vec<u8>, u64)> {
        let mut plain = Vec::new();
        let end = self.copy_one(source, at, limit, &mut plain)?;
        Ok((plain, end))
    }

    /// As [`Wrapping::unpack_one`], with the plain bytes written to `out`; the offset of the first byte after the stream.
    pub(crate) fn copy_one(
        self,
        source: &impl ReadAt,
        at: u64,
        limit: u64,
        out: &mut impl Write,
    ) -> io::Result<u64> {
        let packed = Tail::new(source, at);
        let rest = match self {
            Self::Gzip => {
                let mut reader = Bounded::new(flate2::bufread::GzDecoder::new(packed), limit);
                io::copy(&mut reader, out)?;
                reader.inner.into_inner()
            }
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
                copy_xz(packed, stream, limit, out)?
            }
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
                let mut reader = Bounded::new(decoder, limit);
                io::copy(&mut reader, out)?;
                reader.inner.finish()
            }
            Self::None => {
                let mut reader = Bounded::new(packed, limit);
                io::copy(&mut reader, out)?;
                reader.inner
            }
        };
        Ok(rest.at)
    }
}

/// Writes the at most `limit` plain bytes that `stream` makes of `packed`; what follows them.
pub(super) fn copy_xz<'a, R: ReadAt>(
    packed: Tail<'a, R>,
    stream: liblzma::stream::Stream,
    limit: u64,
    out: &mut impl Write,
) -> io::Result<Tail<'a, R>> {
    let mut reader = Bounded::new(liblzma::bufread::XzDecoder::new_stream(packed, stream), limit);
    io::copy(&mut reader, out)?;
    Ok(reader.inner.into_inner())
}

/// What follows a place in a source, through a buffer, and how far it was used.
pub(super) struct Tail<'a, R> {
    source: &'a R,
    /// Offset of the first byte that was not used yet.
    pub(super) at: u64,
    buf: Vec<u8>,
    used: usize,
}

impl<'a, R: ReadAt> Tail<'a, R> {
    pub(super) fn new(source: &'a R, at: u64) -> Self {
        Self { source, at, buf: Vec::new(), used: 0 }
    }
}

impl<R: ReadAt> BufRead for Tail<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buf.len() {
            let left = self.source.size()?.saturating_sub(self.at).min(1 << 16);
            self.buf.resize(usize::try_from(left).expect("at most 64 KiB"), 0);
            self.used = 0;
            if let Err(error) = self.source.read_exact_at(&mut self.buf, self.at) {
                self.buf.clear();
                return Err(error);
            }
        }
        Ok(&self.buf[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.buf.len() - self.used);
        self.used += amount;
        self.at += wide(amount);
    }
}

impl<R: ReadAt> Read for Tail<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buf)?;
        self.consume(count);
        Ok(count)
    }
}

/// Encoders are fed in pieces of this length whatever the caller writes: how a stream is cut into calls must not
/// show in its bytes.
const PIECE: usize = 1 << 16;

/// Compresses what is written to it as one stream on the calling thread; made by [`Codec::stream_writer`].
pub struct StreamWriter<W: Write> {
    encoder: Encoder<W>,
    piece: Vec<u8>,
    written: u64,
    announced: Option<u64>,
}

enum Encoder<W: Write> {
    Gzip(flate2::write::GzEncoder<W>),
    Xz(liblzma::write::XzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> std::fmt::Debug for StreamWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWriter").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Codec {
    /// Compresses everything that is written from now on, as one stream that the kernel's decompressors take: a gzip
    /// member without name and time (RFC 1952, not the zlib of blocks), an xz stream with CRC32, or a zstd frame with
    /// a checksum and a window of at most 8 MiB.
    ///
    /// lz4 has no such form here: that is an error ([`Codec::takes_streams`]).
    ///
    /// `size` is how many bytes are going to be written, if that is known; zstd then states it and fits its tables to
    /// it. The bytes depend on `self`, the plain bytes, `size` and [`super::LIBRARIES`] alone.
    pub fn stream_writer<W: Write>(self, out: W, size: Option<u64>) -> io::Result<StreamWriter<W>> {
        let encoder = match self {
            Self::Gzip { level } => {
                let level = flate2::Compression::new(u32::from(level));
                // 3 is Unix, as gzip -n writes it.
                let header = flate2::GzBuilder::new().mtime(0).operating_system(3);
                Encoder::Gzip(header.write(out, level))
            }
            Self::Xz { .. } => {
                let stream = self.xz_stream()?;
                Encoder::Xz(liblzma::write::XzEncoder::new_stream(out, stream))
            }
            Self::Zstd { level } => {
                let mut encoder = zstd::stream::write::Encoder::new(out, i32::from(level))?;
                encoder.include_checksum(true)?;
                encoder.include_contentsize(size.is_some())?;
                encoder.set_pledged_src_size(size)?;
                // The levels above 19 would ask the kernel for windows of 32 to 128 MiB.
                if level > 19 {
                    encoder.window_log(23)?;
                }
                Encoder::Zstd(encoder)
            }
            Self::Lz4 { .. } => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "lz4 compresses blocks, not streams"));
            }
        };
        Ok(StreamWriter { encoder, piece: Vec::with_capacity(PIECE), written: 0, announced: size })
    }
}

impl<W: Write> StreamWriter<W> {
    /// Ends the stream and gives the writer below. Fewer or more bytes than announced are an error.
    pub fn finish(mut self) -> io::Result<W> {
        self.encode()?;
        if let Some(announced) = self.announced.filter(|announced| *announced != self.written) {
            let message = format!("{} bytes were compressed instead of {announced}", self.written);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        match self.encoder {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Xz(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }

    fn encode(&mut self) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Gzip(encoder) => encoder.write_all(&self.piece)?,
            Encoder::Xz(encoder) => encoder.write_all(&self.piece)?,
            Encoder::Zstd(encoder) => encoder.write_all(&self.piece)?,
        }
        self.piece.clear();
        Ok(())
    }
}

impl<W: Write> Write for StreamWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.encode()?;
        }
        let take = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..take]);
        self.written += wide(take);
        Ok(take)
    }

    /// Does nothing: a flush would show in the compressed bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

    const CODECS: [Codec; 6] = [
        Codec::Gzip { level: 1 },
        Codec::Gzip { level: 6 },
        Codec::Gzip { level: 9 },
        Codec::Xz { preset: 6, x86: true, dict_size: 1 << 20 },
        Codec::Zstd { level: 3 },
        Codec::Zstd { level: 20 },
    ];

    fn wrapping(codec: Codec) -> Wrapping {
        match codec {
            Codec::Gzip { .. } => Wrapping::Gzip,
            Codec::Xz { .. } => Wrapping::Xz,
            Codec::Zstd { .. } => Wrapping::Zstd,
            Codec::Lz4 { .. } => unreachable!("not among those above"),
        }
    }

    /// Compresses `plain` in writes of `step` bytes.
    fn streamed(codec: Codec, plain: &[u8], step: usize) -> Vec<u8> {
        let mut writer = codec.stream_writer(Vec::new(), Some(wide(plain.len()))).unwrap();
        for part in plain.chunks(step) {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn how_a_stream_is_written_does_not_show() {
        let plain: Vec<u8> = (0..60_000u32).flat_map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()).collect();
        assert!(plain.len() > 3 * PIECE);
        for codec in CODECS {
            let whole = streamed(codec, &plain, plain.len());
            for step in [1, 999, PIECE - 1, PIECE, PIECE + 1] {
                assert!(streamed(codec, &plain, step) == whole, "{codec} in steps of {step}");
            }
            let packed = [&[0xaa; 100][..], &whole, b"more"].concat();
            let (back, end) = wrapping(codec).unpack_one(&packed, 100, wide(plain.len())).unwrap();
            assert!(back == plain, "{codec}");
            assert_eq!(end, wide(100 + whole.len()), "{codec}");
            assert!(wrapping(codec).unpack_one(&packed, 100, wide(plain.len()) - 1).is_err(), "{codec}");
        }
    }

    #[test]
    fn empty_streams_are_streams() {
        for codec in CODECS {
            let packed = streamed(codec, b"", 1);
            let (back, end) = wrapping(codec).unpack_one(&packed, 0, 0).unwrap();
            assert_eq!((back.len(), end), (0, wide(packed.len())), "{codec}");
        }
    }

    #[test]
    fn the_announced_length_holds() {
        for codec in CODECS {
            let mut writer = codec.stream_writer(Vec::new(), Some(4)).unwrap();
            writer.write_all(b"abc").unwrap();
            assert!(writer.finish().is_err(), "{codec}");
        }
    }

    #[test]
    fn headers_are_what_the_kernel_wants() {
        let plain = sample();
        let gzip = streamed(CODECS[2], &plain, 100);
        assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3], "no name, no time, best effort, Unix");
        let xz = streamed(CODECS[3], &plain, 100);
        assert_eq!(xz[7], 1, "CRC32");
        for level in [1, 15, 19, 20, 22] {
            // Only a length above the window makes libzstd state a window instead of the length.
            let mut writer = Codec::Zstd { level }.stream_writer(Vec::new(), Some(1 << 40)).unwrap();
            writer.write_all(&[0; 1 << 20]).unwrap();
            writer.encode().unwrap();
            let Encoder::Zstd(mut encoder) = writer.encoder else { panic!() };
            encoder.flush().unwrap();
            let header = &encoder.get_ref()[..6];
            let (checksum, single_segment) = (header[4] >> 2 & 1, header[4] >> 5 & 1);
            let window_log = 10 + (header[5] >> 3);
            assert_eq!((checksum, single_segment), (1, 0), "level {level}");
            assert!(window_log <= 23, "level {level}: window of 2^{window_log} bytes");
        }
    }
}
