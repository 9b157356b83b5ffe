//! The plain bytes of compressed streams as a source that can be read anywhere: what was kept at once, the rest from front
//! to back at the speed of the codec, and backwards at the price of beginning again.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::coding::Coding;
use super::kept::{Kept, PIECE};
use crate::extent::Source;
use crate::io::{Cursor, ReadAt, Window, wide};

/// Pieces that are held as they are: 4 MiB. Streams may lie in streams, and each has its own.
const RECENT: usize = 16;

/// One stream: how it is compressed, where it lies and how many bytes it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) coding: Coding,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) plain: u64,
}

/// The plain bytes of streams, one behind the other.
pub(crate) struct Rewind {
    source: Source,
    streams: Arc<[Stream]>,
    size: u64,
    kept: Kept,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What comes next, and the number of the piece that it begins with.
    reader: Option<(Streams, u64)>,
    /// Pieces that were read last.
    recent: VecDeque<(u64, Arc<Vec<u8>>)>,
}

impl State {
    fn remember(&mut self, number: u64, piece: &Arc<Vec<u8>>) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((number, Arc::clone(piece)));
    }
}

impl Rewind {
    /// `kept` is of the plain bytes of the same streams.
    pub(super) fn new(source: Source, streams: Vec<Stream>, kept: Kept) -> Self {
        let size = streams.iter().map(|stream| stream.plain).sum();
        Self { source, streams: streams.into(), size, kept, state: Mutex::default() }
    }

    /// The streams, in the order of what they hold.
    pub(crate) fn streams(&self) -> &[Stream] {
        &self.streams
    }

    fn piece(&self, number: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, piece)) = state.recent.iter().find(|(recent, _)| *recent == number) {
            return Ok(Arc::clone(piece));
        }
        let len = |number: u64| {
            let left = self.size.saturating_sub(number.saturating_mul(wide(PIECE)));
            usize::try_from(left).unwrap_or(PIECE).min(PIECE)
        };
        if self.kept.has(number) {
            // Others need not wait for what this one unpacks.
            drop(state);
            let piece = Arc::new(self.kept.get(number, len(number))?);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.remember(number, &piece);
            return Ok(piece);
        }
        let (mut reader, mut next) =
            state.reader.take().filter(|(_, next)| *next <= number).unwrap_or_else(|| {
                let (source, streams) = (Arc::clone(&self.source), Arc::clone(&self.streams));
                (Streams { source, streams, next: 0, open: None }, 0)
            });
        loop {
            let mut piece = vec![0; len(next)];
            reader.read_exact(&mut piece)?;
            let piece = Arc::new(piece);
            state.remember(next, &piece);
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
            let Some(Stream { coding, start, end, plain }) = self.streams.get(self.next).copied() else {
                return Ok(0);
            };
            self.next += 1;
            let packed = Cursor::new(Window::new(Arc::clone(&self.source), start, end - start), 0);
            self.open = Some(coding.plain(packed, plain)?);
        }
    }
}

/// The `plain` bytes of the deflate data that `packed` is. Nothing is read before they are; if there are fewer or more of them,
/// that is an error of the read that finds it.
pub(crate) fn inflated(packed: Source, plain: u64) -> io::Result<Source> {
    let stream = Stream { coding: Coding::Deflate, start: 0, end: packed.size()?, plain };
    Ok(Arc::new(Rewind::new(packed, vec![stream], Kept::new(Arc::default()))))
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
            let piece = self.piece(at / wide(PIECE))?;
            let from = usize::try_from(at % wide(PIECE)).expect("inside a piece");
            let step = buf.len().min(piece.len() - from);
            let (now, later) = buf.split_at_mut(step);
            now.copy_from_slice(&piece[from..from + step]);
            (buf, at) = (later, at + wide(step));
        }
        Ok(())
    }

    fn in_order(&self) -> bool {
        !self.kept.has_all(self.size.div_ceil(wide(PIECE)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::AtomicU64;

    use super::super::kept::Keeper;
    use super::*;
    use crate::codec::{Codec, Wrapping};

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
            let coding = Coding::Wrapped(wrapping);
            streams.push(Stream { coding, start, end: wide(packed.len()), plain: wide(part.len()) });
        }
        let packed: Source = Arc::new(packed);
        // Nothing kept, some of it, and all.
        for (memory, in_order) in [(0, true), (1 << 20, true), (1 << 30, false)] {
            let mut keeper = Keeper::new(Arc::new(AtomicU64::new(memory)));
            keeper.write_all(&plain).unwrap();
            let kept = keeper.finish(wide(plain.len()));
            let rewind = Rewind::new(Arc::clone(&packed), streams.clone(), kept);
            assert_eq!((rewind.size().unwrap(), rewind.in_order()), (wide(plain.len()), in_order));
            for (from, len) in
                [(0, 10), (6_999_990, 20), (11_999_999, 1), (0, 12_000_000), (5, 0), (300_000, 4)]
            {
                let mut buf = vec![0; len];
                rewind.read_exact_at(&mut buf, wide(from)).unwrap();
                assert!(buf == plain[from..from + len], "{len} bytes at {from}, {memory}");
            }
            assert!(rewind.read_exact_at(&mut [0; 2], 11_999_999).is_err());
        }
    }
    #[test]
    fn deflate_data_has_as_many_bytes_as_was_said() {
        let plain: Vec<u8> = (0_u32..300_000).flat_map(|number| (number / 3).to_le_bytes()).collect();
        let mut writer = Codec::Gzip { level: 6 }.stream_writer(Vec::new(), None).unwrap();
        writer.write_all(&plain).unwrap();
        let packed = writer.finish().unwrap();
        let packed: Source = Arc::new(packed[10..packed.len() - 8].to_vec());
        let open = |plain| inflated(Arc::clone(&packed), plain).unwrap();
        let right = open(wide(plain.len()));
        let mut buf = vec![0; plain.len()];
        right.read_exact_at(&mut buf, 0).unwrap();
        assert!(buf == plain);
        right.read_exact_at(&mut buf[..10], 500_001).unwrap();
        assert!(buf[..10] == plain[500_001..500_011]);
        for wrong in [plain.len() - 1, plain.len() + 1, 1] {
            let mut buf = vec![0; wrong];
            assert!(open(wide(wrong)).read_exact_at(&mut buf, 0).is_err(), "{wrong}");
        }
    }
}
