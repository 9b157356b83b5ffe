//! The contents of files.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Image, Inner, narrow};
use crate::digest::Hasher;
use crate::io::ReadAt;
use crate::squashfs::error::{Corruption, Error};
use crate::squashfs::layout::{DATA_RAW, Fragment, wide};
use crate::tree::{Content, Contents};

/// Most blocks of one file: 64 GiB at 4 KiB, 2 TiB at 128 KiB. Bounds the memory for their sizes to 64 MiB.
const MAX_BLOCKS: u64 = 1 << 24;
/// A start is remembered for each this many blocks.
const STRIDE: usize = 64;

/// A regular file of an image. [`Image::file`] gives its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRef {
    pub(in crate::squashfs) size: u64,
    pub(in crate::squashfs) start: u64,
    pub(in crate::squashfs) sparse: u64,
    /// Number of the fragment that holds the end, and where in it.
    pub(in crate::squashfs) fragment: Option<(u32, u32)>,
    /// Blocks outside the fragment.
    pub(in crate::squashfs) blocks: u64,
    /// Reference into the inode table: where the size words begin.
    pub(in crate::squashfs) list: u64,
}

impl FileRef {
    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// The bytes of a file, to be read anywhere ([`ReadAt`]) or from front to back (with [`crate::io::Cursor`]).
///
/// Holds one plain block beside 4 bytes for each block of the file.
#[derive(Debug)]
pub struct File<R> {
    inner: Arc<Inner<R>>,
    size: u64,
    /// Size words of the blocks.
    words: Vec<u32>,
    /// Where each [`STRIDE`]-th block begins.
    starts: Vec<u64>,
    fragment: Option<(u32, u32)>,
    last: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
}

impl<R: ReadAt> Inner<R> {
    /// The size words of a file.
    pub(in crate::squashfs) fn words(&self, file: &FileRef) -> Result<Vec<u32>, Error> {
        let mut cursor = self.cursor(self.inode_region(), file.list);
        let (at, _) = cursor.position();
        if file.blocks > MAX_BLOCKS {
            return Err(Error::Unsupported { at, feature: "files of more than 2^24 blocks" });
        }
        // The list grows as it is read: what the inode announces may not be there.
        let mut words = Vec::new();
        for _ in 0..file.blocks {
            let mut word = [0; 4];
            cursor.read(&mut word)?;
            let word = u32::from_le_bytes(word);
            let stored = word & !DATA_RAW;
            if word != 0 && (stored == 0 || stored > self.head.block_size.get()) {
                return Err(Error::Corrupt { at: cursor.position().0, kind: Corruption::SizeWord { word } });
            }
            words.push(word);
        }
        Ok(words)
    }

    /// The plain bytes of the data block at `at`.
    pub(in crate::squashfs) fn data_block(&self, at: u64, word: u32) -> Result<Vec<u8>, Error> {
        let mut stored = vec![0; narrow(word & !DATA_RAW).min(self.block_size())];
        self.read(at, &mut stored)?;
        if word & DATA_RAW != 0 { Ok(stored) } else { self.decompress(at, &stored, self.block_size()) }
    }

    /// The entry of the fragment table for the fragment `index`.
    pub(in crate::squashfs) fn fragment_entry(&self, index: u32) -> Result<Fragment, Error> {
        let (list, count) = (self.head.fragment_table.get(), u64::from(self.head.fragment_count.get()));
        let entry: Fragment = self.entry("fragment", list, u64::from(index), count)?;
        let word = entry.size.get();
        let stored = word & !DATA_RAW;
        if stored == 0 || stored > self.head.block_size.get() {
            return Err(Error::Corrupt { at: list, kind: Corruption::SizeWord { word } });
        }
        Ok(entry)
    }

    fn fragment(&self, index: u32) -> Result<Arc<Vec<u8>>, Error> {
        self.fragments.get(u64::from(index), || {
            let entry = self.fragment_entry(index)?;
            self.data_block(entry.start.get(), entry.size.get())
        })
    }
}

impl<R: ReadAt> Image<R> {
    /// Opens a file of this image.
    ///
    /// # Errors
    /// If the list of its blocks cannot be read or points outside the image. A file of another image gives an error
    /// or unspecified bytes.
    pub fn file(&self, file: &FileRef) -> Result<File<R>, Error> {
        let inner = &self.inner;
        let words = inner.words(file)?;
        let (mut starts, mut at) = (Vec::new(), file.start);
        for (index, word) in words.iter().enumerate() {
            if index % STRIDE == 0 {
                starts.push(at);
            }
            at = at.saturating_add(u64::from(word & !DATA_RAW));
        }
        let have = inner.head.bytes_used.get();
        if at > have && at != file.start {
            return Err(Error::Corrupt { at: file.start, kind: Corruption::Truncated { need: at, have } });
        }
        Ok(File {
            inner: Arc::clone(inner),
            size: file.size,
            words,
            starts,
            fragment: file.fragment,
            last: Mutex::new(None),
        })
    }
}

/// A plain block or fragment, and where in it the bytes of the file begin.
type Part = (Arc<Vec<u8>>, usize);

impl<R: ReadAt> File<R> {
    /// Reads everything in order: `each` gets the bytes block by block.
    ///
    /// # Errors
    /// If a block cannot be read or does not decompress to the length it must have.
    pub fn for_each_block(&self, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut zeros = Vec::new();
        let mut left = self.size;
        for index in 0.. {
            if left == 0 {
                break;
            }
            let length = left.min(wide(self.inner.block_size()));
            left -= length;
            let length = usize::try_from(length).expect("a block has at most 1 MiB");
            match self.block(index, length)? {
                Some((block, from)) => each(&block[from..from + length]),
                None => {
                    zeros.resize(length, 0);
                    each(&zeros);
                }
            }
        }
        Ok(())
    }

    /// The block `index`, which has `length` plain bytes, and where in it these begin; `None` if they are zeros.
    fn block(&self, index: usize, length: usize) -> Result<Option<Part>, Error> {
        let expected = wide(length);
        match (self.words.get(index), self.fragment) {
            (Some(0), _) => Ok(None),
            (Some(word), _) => {
                let before = &self.words[index / STRIDE * STRIDE..index];
                let before: u64 = before.iter().map(|word| u64::from(word & !DATA_RAW)).sum();
                let at = self.starts[index / STRIDE] + before;
                let block = self.inner.data_block(at, *word)?;
                let found = wide(block.len());
                if found != expected {
                    return Err(Error::Corrupt { at, kind: Corruption::BlockLength { found, expected } });
                }
                Ok(Some((Arc::new(block), 0)))
            }
            (None, Some((number, offset))) => {
                let block = self.inner.fragment(number)?;
                let from = narrow(offset);
                if from.checked_add(length).is_none_or(|end| end > block.len()) {
                    let at = self.inner.fragment_entry(number)?.start.get();
                    let found = wide(block.len().saturating_sub(from));
                    return Err(Error::Corrupt { at, kind: Corruption::BlockLength { found, expected } });
                }
                Ok(Some((block, from)))
            }
            // The words cover the file if there is no fragment.
            (None, None) => Ok(None),
        }
    }

    fn cached(&self, index: usize, length: usize) -> Result<Option<Part>, Error> {
        let lock = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, block)) = &*lock()
            && *held == index
        {
            return Ok(Some((Arc::clone(block), 0)));
        }
        let block = self.block(index, length)?;
        if let Some((block, _)) = block.as_ref().filter(|_| index < self.words.len()) {
            *lock() = Some((index, Arc::clone(block)));
        }
        Ok(block)
    }
}

impl<R: ReadAt + Send> ReadAt for File<R> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        if at.checked_add(wide(buf.len())).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let block_size = wide(self.inner.block_size());
        while !buf.is_empty() {
            let begin = at / block_size * block_size;
            let small = |n: u64| usize::try_from(n).expect("within a block, or the file has too many");
            let (index, skip) = (small(at / block_size), small(at - begin));
            let length = small((self.size - begin).min(block_size));
            let (now, later) = buf.split_at_mut(buf.len().min(length - skip));
            match self.cached(index, length).map_err(to_io)? {
                Some((block, from)) => now.copy_from_slice(&block[from + skip..][..now.len()]),
                None => now.fill(0),
            }
            at += wide(now.len());
            buf = later;
        }
        Ok(())
    }
}

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// The contents of an image by digest. [`Image::to_content_tree`] makes it.
#[derive(Debug)]
pub struct Files<R> {
    pub(super) image: Image<R>,
    pub(super) files: BTreeMap<Content, FileRef>,
}

impl<R: ReadAt + Send + 'static> Contents for Files<R> {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        let Some(file) = self.files.get(content) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no content {}", content.digest)));
        };
        Ok(Arc::new(self.image.file(file).map_err(to_io)?))
    }
}

impl<R: ReadAt> File<R> {
    /// Size and digest of the file.
    ///
    /// # Errors
    /// As [`File::for_each_block`].
    pub fn content(&self) -> Result<Content, Error> {
        let mut hasher = Hasher::new();
        self.for_each_block(|bytes| hasher.update(bytes))?;
        Ok(Content { size: self.size, digest: hasher.finish() })
    }
}
