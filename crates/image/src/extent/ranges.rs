//! Members that lie in their container as they are.

use std::io;
use std::sync::Arc;

use super::{Label, Member, Members, Owner, Paths, Piece, Source, Unreadable};
use crate::io::{ReadAt, Window};

/// Members that lie in their container as they are, each in one range or several.
pub(crate) struct Ranges {
    pub(crate) format: &'static str,
    pub(crate) source: Source,
    pub(crate) paths: Arc<Paths>,
    pub(crate) files: Vec<InRanges>,
}

/// One such member.
pub(crate) struct InRanges {
    pub(crate) owner: Owner,
    /// Whether its path is the name of a part of the container.
    pub(crate) part: bool,
    /// First byte and length of each range; [`HOLE`] for one that is not there, and all zeros.
    pub(crate) ranges: Vec<(u64, u64)>,
}

/// Where a range begins that no byte of the container is in.
pub(crate) const HOLE: u64 = u64::MAX;

impl Ranges {
    fn get(&self, member: u32) -> Option<&InRanges> {
        self.files.get(usize::try_from(member).ok()?)
    }
}

impl Members for Ranges {
    fn open(&self, member: u32) -> Result<Member, Unreadable> {
        let Some(found) = self.get(member) else {
            return Err(Unreadable { format: self.format, message: format!("there is no member {member}") });
        };
        let size = self.source.size().map_err(|error| Unreadable::new(self.format, &error))?;
        let behind = |(start, len): &&(u64, u64)| {
            *start != HOLE && start.checked_add(*len).is_none_or(|end| end > size)
        };
        if let Some((start, len)) = found.ranges.iter().find(behind) {
            let message =
                format!("{len} bytes of it would lie from byte {start:#x} on, behind the end at {size:#x}");
            return Err(Unreadable { format: self.format, message });
        }
        let source: Source = match &found.ranges[..] {
            [(start, len)] if *start != HOLE => Arc::new(Window::new(Arc::clone(&self.source), *start, *len)),
            several => Arc::new(Pieces { source: Arc::clone(&self.source), ranges: several.to_vec() }),
        };
        Ok(source.into())
    }

    fn label(&self, member: u32) -> Label<'_> {
        match self.get(member) {
            Some(InRanges { owner, part: false, .. }) => Label::Path(self.paths.of(*owner)),
            Some(InRanges { owner, .. }) => {
                Label::Part(std::str::from_utf8(self.paths.of(*owner)).unwrap_or_default())
            }
            None => Label::Part(""),
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.files.len()).unwrap_or(u32::MAX)
    }

    fn pieces(&self, member: u32) -> Result<Vec<Piece>, Unreadable> {
        let ranges = self.get(member).map_or(&[][..], |found| &found.ranges);
        let piece = |(start, len): &(u64, u64)| Piece {
            place: (*start != HOLE).then_some((*start, *len)),
            plain: true,
            part: (0, *len),
        };
        Ok(ranges.iter().map(piece).collect())
    }
}

/// Ranges of a source, one behind the other.
struct Pieces {
    source: Source,
    ranges: Vec<(u64, u64)>,
}

impl ReadAt for Pieces {
    fn size(&self) -> io::Result<u64> {
        Ok(self.ranges.iter().map(|(_, len)| len).sum())
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        for (start, len) in &self.ranges {
            if buf.is_empty() {
                break;
            }
            if at >= *len {
                at -= len;
                continue;
            }
            let step = usize::try_from(len - at).unwrap_or(usize::MAX).min(buf.len());
            let (now, later) = std::mem::take(&mut buf).split_at_mut(step);
            match *start {
                HOLE => now.fill(0),
                start => self.source.read_exact_at(now, start + at)?,
            }
            (buf, at) = (later, 0);
        }
        if buf.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn zeros_until(&self, at: u64) -> u64 {
        let (mut from, mut known) = (0_u64, at);
        for (start, len) in &self.ranges {
            let end = from.saturating_add(*len);
            if (from..end).contains(&known) {
                known = match *start {
                    HOLE => end,
                    start => {
                        let zeros = self.source.zeros_until(start + (known - from)).saturating_sub(start);
                        from.saturating_add(zeros.min(*len))
                    }
                };
                if known < end {
                    break;
                }
            }
            from = end;
        }
        known.max(at)
    }

    fn in_order(&self) -> bool {
        self.source.in_order()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_as_one() {
        let source: Source = Arc::new(b"0123456789abcdef".to_vec());
        let pieces = Pieces { source, ranges: vec![(10, 3), (0, 0), (HOLE, 2), (2, 4)] };
        let size = pieces.size().unwrap();
        assert_eq!(size, 9);
        for from in 0..=size {
            for to in from..=size {
                let mut buf = vec![0; usize::try_from(to - from).unwrap()];
                pieces.read_exact_at(&mut buf, from).unwrap();
                let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
                assert_eq!(buf, b"abc\0\x002345"[range]);
            }
        }
        assert!(pieces.read_exact_at(&mut [0; 3], 7).is_err());
        let zeros: Vec<u64> = (0..=size + 1).map(|at| pieces.zeros_until(at)).collect();
        assert_eq!(zeros, [0, 1, 2, 5, 5, 5, 6, 7, 8, 9, 10]);
        let source: Source = Arc::new(pieces);
        let inner = Pieces { source, ranges: vec![(1, 4), (HOLE, 1), (3, 1), (5, 2)] };
        let zeros: Vec<u64> = (0..8).map(|at| inner.zeros_until(at)).collect();
        assert_eq!(zeros, [0, 1, 6, 6, 6, 6, 6, 7]);
    }
}
