//! The plain bytes of compressed streams as a source that can be read anywhere: from front to back at the speed of the
//! codec, and backwards at the price of beginning again.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::Wrapping;
use crate::extent::Source;
use crate::io::{Cursor, ReadAt, Window, wide};

/// Bytes that are decompressed at a time.
const PIECE: u64 = 256 << 10;
/// Pieces that are kept: 4 MiB. Streams may lie in streams, and each has its own.
const KEPT: usize = 16;

/// One stream: how it is compressed, where it lies and how many bytes it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) wrapping: Wrapping,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) plain: u64,
}

/// The plain bytes of streams, one behind the other.
pub(crate) struct Rewind {
    source: Source,
    streams: Arc<[Stream]>,
    size: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What comes next, and the number of the piece that it begins with.
    reader: Option<(Streams, u64)>,
    /// Pieces that were read last, ascending.
    kept: VecDeque<(u64, Arc<Vec<u8>>)>,
}

impl Rewind {
    pub(crate) fn new(source: Source, streams: Vec<Stream>) -> Self {
        let size = streams.iter().map(|stream| stream.plain).sum();
        Self { source, streams: streams.into(), size, state: Mutex::default() }
    }

    fn piece(&self, number: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, piece)) = state.kept.iter().find(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(piece));
        }
        let (mut reader, mut next) = match state.reader.take().filter(|(_, next)| *next <= number) {
            Some(reader) => reader,
            None => {
                state.kept.clear();
                (
                    Streams {
                        source: Arc::clone(&self.source),
                        streams: Arc::clone(&self.streams),
                        next: 0,
                        open: None,
                    },
                    0,
                )
            }
        };
        loop {
            let len = PIECE.min(self.size.saturating_sub(next * PIECE));
            let mut piece = vec![0; usize::try_from(len).expect("at most a piece")];
            reader.read_exact(&mut piece)?;
            let piece = Arc::new(piece);
            if state.kept.len() == KEPT {
                state.kept.pop_front();
            }
            state.kept.push_back((next, Arc::clone(&piece)));
            next += 1;
            if next > number {
                state.reader = Some((reader, next));
                return Ok(piece);
            }
        }
    }
}

/// Reads streams one after the other; one of them is open at a time.
struct Streams {
    source: Source,
    streams: Arc<[Stream]>,
    next: usize,
    open: Option<Box<dyn Read + Send>>,
}

impl Read for Streams {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(open) = &mut self.open {
                let count = open.read(buf)?;
                if count > 0 || buf.is_empty() {
                    return Ok(count);
                }
                self.open = None;
            }
            let Some(Stream { wrapping, start, end, plain }) = self.streams.get(self.next).copied() else {
                return Ok(0);
            };
            self.next += 1;
            let packed = Cursor::new(Window::new(Arc::clone(&self.source), start, end - start), 0);
            self.open = Some(Box::new(wrapping.plain(packed, plain)?));
        }
    }
}

impl ReadAt for Rewind {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        if at.checked_add(wide(buf.len())).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buf.is_empty() {
            let piece = self.piece(at / PIECE)?;
            let from = usize::try_from(at % PIECE).expect("inside a piece");
            let step = buf.len().min(piece.len() - from);
            let (now, later) = buf.split_at_mut(step);
            now.copy_from_slice(&piece[from..from + step]);
            (buf, at) = (later, at + wide(step));
        }
        Ok(())
    }

    fn in_order(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::codec::Codec;

    #[test]
    fn any_place_can_be_read_in_any_order() {
        let plain: Vec<u8> = (0_u32..3_000_000).flat_map(|number| number.to_le_bytes()).collect();
        let (first, second) = plain.split_at(7_000_001);
        let (mut packed, mut streams) = (b"junk".to_vec(), Vec::new());
        for (part, codec, wrapping) in [
            (first, Codec::Zstd { level: 1 }, Wrapping::Zstd),
            (second, Codec::Gzip { level: 1 }, Wrapping::Gzip),
        ] {
            let mut writer = codec.stream_writer(Vec::new(), None).unwrap();
            writer.write_all(part).unwrap();
            let start = wide(packed.len());
            packed.extend(writer.finish().unwrap());
            streams.push(Stream { wrapping, start, end: wide(packed.len()), plain: wide(part.len()) });
        }
        let rewind = Rewind::new(Arc::new(packed), streams);
        assert_eq!(rewind.size().unwrap(), wide(plain.len()));
        for (from, len) in [(0, 10), (6_999_990, 20), (11_999_999, 1), (0, 12_000_000), (5, 0), (300_000, 4)]
        {
            let mut buf = vec![0; len];
            rewind.read_exact_at(&mut buf, wide(from)).unwrap();
            assert!(buf == plain[from..from + len], "{len} bytes at {from}");
        }
        assert!(rewind.read_exact_at(&mut [0; 2], 11_999_999).is_err());
    }
}
