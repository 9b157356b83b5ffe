//! Reading metadata blocks, with a bounded cache of the plain ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use zerocopy::{FromBytes, IntoBytes};

use super::Inner;
use crate::io::ReadAt;
use crate::squashfs::error::{Corruption, Error};
use crate::squashfs::layout::{META_BLOCK, META_RAW, wide};

/// Keeps the values that were added last.
#[derive(Debug)]
pub(super) struct Cache<T> {
    room: usize,
    held: Mutex<Held<T>>,
}

/// The values, and their keys in the order in which they came.
type Held<T> = (BTreeMap<u64, Arc<T>>, VecDeque<u64>);

impl<T> Cache<T> {
    pub(super) fn new(room: usize) -> Self {
        Self { room, held: Mutex::default() }
    }

    /// The value under `key`, made by `make` if it is not held. Two threads may make the same value at once.
    pub(super) fn get(&self, key: u64, make: impl FnOnce() -> Result<T, Error>) -> Result<Arc<T>, Error> {
        let lock = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = lock().0.get(&key) {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(make()?);
        let (held, order) = &mut *lock();
        if held.insert(key, Arc::clone(&value)).is_none() {
            order.push_back(key);
        }
        if order.len() > self.room
            && let Some(oldest) = order.pop_front()
        {
            held.remove(&oldest);
        }
        Ok(value)
    }
}

/// A metadata block.
#[derive(Debug)]
pub(in crate::squashfs) struct MetaBlock {
    /// 1 to 8192 bytes.
    pub(in crate::squashfs) plain: Vec<u8>,
    /// Offset of the block behind it.
    pub(in crate::squashfs) next: u64,
    /// It is stored as it is.
    pub(in crate::squashfs) raw: bool,
}

/// Where a table's metadata blocks lie.
#[derive(Clone, Copy, Debug)]
pub(in crate::squashfs) struct Region {
    pub(in crate::squashfs) table: &'static str,
    pub(in crate::squashfs) start: u64,
    pub(in crate::squashfs) end: u64,
}

/// Reads a metadata stream from front to back.
#[derive(Debug)]
pub(in crate::squashfs) struct Cursor<'a, R> {
    inner: &'a Inner<R>,
    region: Region,
    at: u64,
    offset: usize,
    block: Option<Arc<MetaBlock>>,
}

impl<R: ReadAt> Inner<R> {
    /// The metadata block that begins at byte `at`.
    pub(in crate::squashfs) fn meta_block(&self, at: u64, region: Region) -> Result<Arc<MetaBlock>, Error> {
        if !(region.start..region.end).contains(&at) {
            let reference = at.wrapping_sub(region.start) << 16;
            return Err(Error::Corrupt {
                at,
                kind: Corruption::Reference { reference, table: region.table },
            });
        }
        self.meta.get(at, || {
            let mut header = [0; 2];
            self.read(at, &mut header)?;
            let header = u16::from_le_bytes(header);
            let (stored, raw) = (header & !META_RAW, header & META_RAW != 0);
            if stored == 0 || usize::from(stored) > META_BLOCK {
                return Err(Error::Corrupt { at, kind: Corruption::MetaSize { stored } });
            }
            let mut bytes = vec![0; usize::from(stored)];
            self.read(at + 2, &mut bytes)?;
            let plain = if raw { bytes } else { self.decompress(at, &bytes, META_BLOCK)? };
            if plain.is_empty() {
                let message = "it holds nothing".to_owned();
                let kind = Corruption::Undecodable { stored: u64::from(stored), message };
                return Err(Error::Corrupt { at, kind });
            }
            Ok(MetaBlock { plain, next: at + 2 + u64::from(stored), raw })
        })
    }

    /// A cursor at `reference`, which is relative to the start of `region`.
    pub(in crate::squashfs) fn cursor(&self, region: Region, reference: u64) -> Cursor<'_, R> {
        // An offset beyond the block is found when something is read.
        let offset = usize::try_from(reference & 0xffff).expect("16 bits fit");
        Cursor { inner: self, region, at: region.start.saturating_add(reference >> 16), offset, block: None }
    }
}

impl<R: ReadAt> Cursor<'_, R> {
    /// Offset in the image of the metadata block that holds the next byte, and the next byte's offset in its plain
    /// form.
    pub(in crate::squashfs) fn position(&self) -> (u64, usize) {
        match &self.block {
            Some(block) if self.offset == block.plain.len() => (block.next, 0),
            _ => (self.at, self.offset),
        }
    }

    /// The same as a reference.
    pub(in crate::squashfs) fn reference(&self) -> u64 {
        let (at, offset) = self.position();
        at.wrapping_sub(self.region.start) << 16 | wide(offset)
    }

    /// Fills `buf`.
    pub(in crate::squashfs) fn read(&mut self, mut buf: &mut [u8]) -> Result<(), Error> {
        while !buf.is_empty() {
            (self.at, self.offset) = self.position();
            if self.offset == 0 {
                self.block = None;
            }
            let block = match &self.block {
                Some(block) => block,
                None => self.block.insert(self.inner.meta_block(self.at, self.region)?),
            };
            let here = block.plain.get(self.offset..).filter(|rest| !rest.is_empty()).ok_or_else(|| {
                let reference = self.at.wrapping_sub(self.region.start) << 16 | wide(self.offset);
                Error::Corrupt {
                    at: self.at,
                    kind: Corruption::Reference { reference, table: self.region.table },
                }
            })?;
            let (now, later) = buf.split_at_mut(buf.len().min(here.len()));
            now.copy_from_slice(&here[..now.len()]);
            self.offset += now.len();
            buf = later;
        }
        Ok(())
    }

    /// Reads one structure.
    pub(in crate::squashfs) fn raw<T: FromBytes + IntoBytes>(&mut self) -> Result<T, Error> {
        let mut raw = T::new_zeroed();
        self.read(raw.as_mut_bytes())?;
        Ok(raw)
    }

    /// Reads `length` bytes, which the caller has limited.
    pub(in crate::squashfs) fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        self.read(&mut bytes)?;
        Ok(bytes)
    }
}
