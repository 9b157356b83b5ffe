//! Blobs: writing, reading, and refusing what is damaged.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use selfsame_image::ReadAt;
use selfsame_image::digest::{Digest, Hasher};
use selfsame_image::tree::{Content, Contents};

use crate::Store;
use crate::batch::Pending;
use crate::check::Fault;
use crate::error::{Item, StoreError};
use crate::fs::{self, Opened, Unfinished, failed, failed_writing};

/// Blobs up to this size are read once and handed out from memory, so that the bytes that were hashed are the bytes
/// that are used.
const SMALL: u64 = 1 << 20;

/// Bytes on their way into the store, hashed while they are written. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    unfinished: Unfinished,
    file: BufWriter<File>,
    hasher: Hasher,
    size: u64,
    announced: Option<u64>,
    batch: Option<Arc<Pending>>,
}

impl BlobWriter {
    pub(crate) fn new(
        store: &Store,
        batch: Option<Arc<Pending>>,
        announced: Option<u64>,
    ) -> Result<Self, StoreError> {
        let path = store.inner.sessions.path(announced)?;
        let file = fs::create_new(&path, announced)?;
        Ok(Self {
            store: store.clone(),
            unfinished: Unfinished::new(path),
            file: BufWriter::with_capacity(1 << 16, file),
            hasher: Hasher::new(),
            size: 0,
            announced,
            batch,
        })
    }

    /// Says that `size` bytes will come, so that an error about a full disk can say how much is missing.
    #[must_use]
    pub fn announce(mut self, size: u64) -> Self {
        self.announced = Some(size);
        self
    }

    /// Appends `bytes`. As `Write::write_all`, with the store's own error.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.hasher.update(bytes);
                self.size += bytes.len() as u64;
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Gives the bytes their name. When this returns they are in the store for good, whatever happens to the machine
    /// (a writer from [`crate::Batch`]: when the batch is committed).
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if they are not `expected`; nothing is kept then, nor after any other error.
    pub fn finish(mut self, expected: Option<Content>) -> Result<Content, StoreError> {
        if let Err(error) = self.file.flush() {
            return Err(self.failed(error));
        }
        let Self { store, unfinished, file, hasher, size, announced: _, batch } = self;
        let found = Content { size, digest: hasher.finish() };
        if let Some(expected) = expected
            && expected != found
        {
            return Err(StoreError::Mismatch { expected, found });
        }
        // Flushed above, so nothing is lost with the buffer.
        let (file, _) = file.into_parts();
        match batch {
            Some(pending) => {
                fs::freeze(&file, unfinished.path())?;
                pending.add(found, unfinished);
            }
            None => store.adopt(&file, unfinished, &found)?,
        }
        Ok(found)
    }

    fn failed(&self, error: io::Error) -> StoreError {
        let on_disk = self.size.saturating_sub(self.file.buffer().len() as u64);
        let needed = self.announced.map(|announced| announced.saturating_sub(on_disk));
        failed_writing("write", self.unfinished.path(), needed)(error)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Keeps `bytes` and returns their name. Keeping them again changes nothing, but mends a blob that is damaged.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let content = Content::of(bytes);
        if self.size(&content.digest) == Some(content.size)
            && self.read(&content.digest).is_ok_and(|kept| kept.is_some())
        {
            self.settle(&content)?;
            return Ok(content.digest);
        }
        let mut writer = BlobWriter::new(self, None, Some(content.size))?;
        writer.append(bytes)?;
        Ok(writer.finish(Some(content))?.digest)
    }

    /// A writer for a blob of any size.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        BlobWriter::new(self, None, None)
    }

    /// Whether there is a blob of this name. Its bytes are not looked at.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    /// Length of the blob in bytes as the file system has it; `None` if there is no such blob.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let found = std::fs::symlink_metadata(self.path(digest)).ok()?;
        found.is_file().then(|| found.size())
    }

    /// Removes a blob, if it is there. Whoever has it open keeps its bytes; records that name it name nothing then. A power
    /// cut may undo it until [`Store::sync`].
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        std::fs::remove_file(&path).or_else(fs::missing_is_fine).map_err(failed("remove", &path))
    }

    /// The file of a blob, without a look at its bytes: for whoever hashes them anyway. `None` if there is none.
    pub fn open_unverified(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let path = self.path(digest);
        match fs::open_regular(&path)? {
            Opened::File(file) => Ok(Some(file)),
            Opened::Missing => Ok(None),
            Opened::NotAFile => Err(self.damaged_blob(digest, Fault::NotAFile, None)),
        }
    }

    /// The file of a blob, from its first byte, after all its bytes have been hashed. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if they are not the bytes that were stored; the file has then been moved away.
    pub fn open_verified(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let Some(mut file) = self.open_unverified(digest)? else {
            return Ok(None);
        };
        let path = self.path(digest);
        let (hasher, _) = fs::hash(&mut file).map_err(failed("read", &path))?;
        self.accept(digest, hasher.finish(), &file)?;
        file.rewind().map_err(failed("read", &path))?;
        Ok(Some(file))
    }

    /// The bytes of a blob, hashed. `None` if there is none.
    ///
    /// # Errors
    /// As [`Store::open_verified`].
    pub fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(mut file) = self.open_unverified(digest)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read", &self.path(digest)))?;
        self.accept(digest, Digest::of(&bytes), &file)?;
        Ok(Some(bytes))
    }

    /// Moves a whole, unsynced file to the name of its content.
    pub(crate) fn adopt(
        &self,
        file: &File,
        unfinished: Unfinished,
        content: &Content,
    ) -> Result<(), StoreError> {
        // Over one that is there already, too: nobody looked at its bytes, and these are known to be right.
        fs::freeze(file, unfinished.path())?;
        file.sync_all().map_err(failed_writing("sync", unfinished.path(), Some(content.size)))?;
        unfinished.place(&self.path(&content.digest))?;
        self.settle(content)
    }

    /// Makes the name of a blob durable. The bytes behind a name always are.
    fn settle(&self, content: &Content) -> Result<(), StoreError> {
        self.path(&content.digest).parent().map_or(Ok(()), fs::sync_dir)
    }

    fn accept(&self, digest: &Digest, found: Digest, file: &File) -> Result<(), StoreError> {
        if found == *digest {
            return Ok(());
        }
        Err(self.damaged_blob(digest, Fault::Digest { found }, Some(file)))
    }

    pub(crate) fn damaged_blob(&self, digest: &Digest, fault: Fault, seen: Option<&File>) -> StoreError {
        let moved_to = self.move_aside(&self.path(digest), &format!("blob-{digest}"), seen);
        StoreError::Damaged { item: Item::Blob(*digest), fault, moved_to }
    }
}

impl Contents for Store {
    /// The verified bytes of `content`. Small blobs are handed out from memory.
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, format!("no blob {} in the store", content.digest));
        let size = self.size(&content.digest).ok_or_else(missing)?;
        if size > SMALL {
            let file = self.open_verified(&content.digest)?.ok_or_else(missing)?;
            same_size(content, file.metadata()?.len())?;
            return Ok(Arc::new(file));
        }
        let bytes = self.read(&content.digest)?.ok_or_else(missing)?;
        same_size(content, bytes.len() as u64)?;
        Ok(Arc::new(bytes))
    }
}

/// The digest was right already, so a wrong size is a wrong question.
fn same_size(expected: &Content, size: u64) -> Result<(), StoreError> {
    let found = Content { size, digest: expected.digest };
    if found == *expected { Ok(()) } else { Err(StoreError::Mismatch { expected: *expected, found }) }
}

/// The digest that a path below `blobs/` promises.
pub(crate) fn digest_of_names(dir: &str, file: &str) -> Option<Digest> {
    let digest = format!("{dir}{file}").parse::<Digest>().ok()?;
    (Path::new(&fs::fan_out(&digest)) == Path::new(dir).join(file)).then_some(digest)
}
