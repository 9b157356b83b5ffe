//! Plain bytes that were decompressed once, kept in memory as far as there is room: packed again by lz4, which is read
//! several times faster than what they came from.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lz4::block::{CompressionMode, compress, decompress};

use crate::io::wide;

/// Bytes of a piece.
pub(super) const PIECE: usize = 256 << 10;
/// What a piece takes in memory beside its bytes.
const BESIDE: u64 = 64;

/// Pieces from the start of a stream on.
#[derive(Debug)]
pub(super) struct Kept {
    /// `None` for one for which there was no room.
    pieces: Vec<Option<Box<[u8]>>>,
    /// What is left for all streams together; what this one has of it comes back in the end.
    memory: Arc<AtomicU64>,
    taken: u64,
}

impl Kept {
    pub(super) fn new(memory: Arc<AtomicU64>) -> Self {
        Self { pieces: Vec::new(), memory, taken: 0 }
    }

    fn add(&mut self, plain: &[u8]) {
        let packed = compress(plain, Some(CompressionMode::FAST(1)), false).ok();
        let packed = packed.filter(|packed| {
            let need = wide(packed.len()) + BESIDE;
            let taken =
                self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(need));
            if taken.is_ok() {
                self.taken += need;
            }
            taken.is_ok()
        });
        self.pieces.push(packed.map(Vec::into_boxed_slice));
    }

    /// Whether the first `count` pieces are kept.
    pub(super) fn has_all(&self, count: u64) -> bool {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.pieces.get(..count).is_some_and(|pieces| pieces.iter().all(Option::is_some))
    }

    /// Whether a piece was kept.
    pub(super) fn has(&self, number: u64) -> bool {
        self.packed(number).is_some()
    }

    fn packed(&self, number: u64) -> Option<&[u8]> {
        self.pieces.get(usize::try_from(number).ok()?)?.as_deref()
    }

    /// The `len` bytes of a piece that was kept.
    pub(super) fn get(&self, number: u64, len: usize) -> io::Result<Vec<u8>> {
        let packed = self.packed(number).ok_or(io::ErrorKind::NotFound)?;
        decompress(packed, i32::try_from(len).ok())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.memory.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// Keeps what is written, and counts it.
pub(super) struct Keeper {
    piece: Vec<u8>,
    kept: Kept,
    /// Bytes that were written.
    pub(super) written: u64,
}

impl Keeper {
    pub(super) fn new(memory: Arc<AtomicU64>) -> Self {
        Self { piece: Vec::new(), kept: Kept::new(memory), written: 0 }
    }

    /// What was kept of the first `len` bytes.
    pub(super) fn finish(mut self, len: u64) -> Kept {
        if len == self.written {
            if !self.piece.is_empty() {
                self.kept.add(&self.piece);
            }
        } else {
            let whole = usize::try_from(len / wide(PIECE)).unwrap_or(usize::MAX);
            self.kept.pieces.truncate(whole);
        }
        self.kept
    }
}

impl io::Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let step = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..step]);
        self.written += wide(step);
        if self.piece.len() == PIECE {
            self.kept.add(&self.piece);
            self.piece.clear();
        }
        Ok(step)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pieces_are_kept_as_far_as_there_is_memory_which_comes_back() {
        let memory = Arc::new(AtomicU64::new(20_000));
        let mut keeper = Keeper::new(Arc::clone(&memory));
        keeper.write_all(&vec![1; PIECE]).unwrap();
        // Bytes that lz4 cannot make shorter.
        let mut random = 1_u32;
        let noise: Vec<u8> = (0..PIECE)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                random.to_be_bytes()[0]
            })
            .collect();
        keeper.write_all(&noise).unwrap();
        keeper.write_all(b"end").unwrap();
        let len = keeper.written;
        assert_eq!(len, wide(2 * PIECE + 3));
        let kept = keeper.finish(len);
        assert!(kept.has_all(0) && !kept.has_all(3));
        assert_eq!(kept.get(0, PIECE).unwrap(), vec![1; PIECE]);
        assert!(!kept.has(1) && !kept.has(3) && kept.get(1, PIECE).is_err());
        assert_eq!(kept.get(2, 3).unwrap(), b"end");
        assert!(memory.load(Ordering::Relaxed) < 20_000);
        drop(kept);
        assert_eq!(memory.load(Ordering::Relaxed), 20_000);
    }

    #[test]
    fn what_a_damaged_end_gave_is_not_kept() {
        let mut keeper = Keeper::new(Arc::new(AtomicU64::new(1 << 30)));
        keeper.write_all(&vec![7; 3 * PIECE + 5]).unwrap();
        let kept = keeper.finish(wide(PIECE) + 1);
        assert!(kept.has_all(1) && !kept.has(1));
    }
}
