//! The disk that a guest sees.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::read::Packing;
use crate::extent::{Label, Member, Members, Piece, Source, Unreadable};
use crate::io::{ReadAt, wide};

/// What the disk is called.
pub(super) const NAME: &str = "guest disk";

/// Where a part of the disk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Plain(u64),
    /// Compressed: the first byte, and how many there are at most.
    Packed(u64, u64),
}

/// A part of the disk: its first byte, its length, and where it lies. What no run has is zero.
pub(super) type Run = (u64, u64, Place);

/// The disk. A backing file is not opened: what would be read there is zero.
pub(super) struct Guest {
    pub(super) source: Source,
    pub(super) packing: Packing,
    pub(super) cluster: u64,
    pub(super) size: u64,
    /// Ascending.
    pub(super) runs: Vec<Run>,
    /// The cluster that was decompressed last, by its first byte in the image.
    pub(super) last: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
}

impl Guest {
    /// The first run that ends behind a byte.
    fn run(&self, at: u64) -> usize {
        self.runs.partition_point(|(start, len, _)| start + len <= at)
    }

    /// A cluster that is compressed.
    fn unpacked(&self, start: u64, len: u64) -> io::Result<Arc<Vec<u8>>> {
        if let Some((at, bytes)) = &*self.last.lock().unwrap_or_else(PoisonError::into_inner)
            && *at == start
        {
            return Ok(Arc::clone(bytes));
        }
        let mut packed = vec![0; usize::try_from(len).unwrap_or(0)];
        self.source.read_exact_at(&mut packed, start)?;
        let plain_len = usize::try_from(self.cluster).expect("at most 2 MiB");
        let mut plain = Vec::with_capacity(plain_len);
        // Behind the data is what the last sector has of other clusters.
        match self.packing {
            Packing::Deflate => {
                let mut inflate = flate2::Decompress::new(false);
                inflate.decompress_vec(&packed, &mut plain, flate2::FlushDecompress::Finish)?;
            }
            Packing::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(&packed[..])?.single_frame();
                io::Read::read_to_end(&mut io::Read::take(decoder, self.cluster), &mut plain)?;
            }
        }
        if plain.len() != plain_len {
            let message = format!("{} of {plain_len} bytes of a cluster at {start:#x}", plain.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let plain = Arc::new(plain);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((start, Arc::clone(&plain)));
        Ok(plain)
    }
}

impl ReadAt for Guest {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        if at.checked_add(wide(buf.len())).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut index = self.run(at);
        while !buf.is_empty() {
            let (start, len, place) =
                self.runs.get(index).copied().unwrap_or((self.size, 0, Place::Plain(0)));
            let until = if at < start { start } else { start + len };
            let step = usize::try_from(until - at).unwrap_or(usize::MAX).min(buf.len());
            let (now, later) = std::mem::take(&mut buf).split_at_mut(step);
            match place {
                _ if at < start => now.fill(0),
                Place::Plain(from) => self.source.read_exact_at(now, from + (at - start))?,
                Place::Packed(from, packed) => {
                    let within = usize::try_from(at - start).expect("inside of a cluster");
                    now.copy_from_slice(&self.unpacked(from, packed)?[within..within + step]);
                }
            }
            if at >= start {
                index += 1;
            }
            (buf, at) = (later, at + wide(step));
        }
        Ok(())
    }

    fn zeros_until(&self, at: u64) -> u64 {
        let next = self.runs.get(self.run(at)).map_or(self.size, |(start, ..)| *start);
        next.max(at)
    }

    fn in_order(&self) -> bool {
        self.source.in_order()
    }
}

/// The disk as the only file inside.
pub(super) struct Inside {
    pub(super) guest: Arc<Guest>,
    /// Whether there is one.
    pub(super) there: bool,
}

impl Members for Inside {
    fn open(&self, member: u32) -> Result<Member, Unreadable> {
        match member < self.count() {
            true => Ok(Member::from(Arc::clone(&self.guest) as Source)),
            false => Err(Unreadable { format: "qcow2", message: format!("there is no member {member}") }),
        }
    }

    fn label(&self, _: u32) -> Label<'_> {
        Label::Part(NAME)
    }

    fn count(&self) -> u32 {
        u32::from(self.there)
    }

    fn pieces(&self, _: u32) -> Result<Vec<Piece>, Unreadable> {
        let (mut all, mut done) = (Vec::new(), 0);
        for (start, len, place) in &self.guest.runs {
            if *start > done {
                all.push(Piece { place: None, plain: true, part: (0, start - done) });
            }
            done = start + len;
            let (place, plain) = match place {
                Place::Plain(at) => ((*at, *len), true),
                Place::Packed(at, packed) => ((*at, *packed), false),
            };
            all.push(Piece { place: Some(place), plain, part: (0, *len) });
        }
        if self.guest.size > done {
            all.push(Piece { place: None, plain: true, part: (0, self.guest.size - done) });
        }
        Ok(all)
    }
}
