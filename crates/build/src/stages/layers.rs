//! Results of stages on disk: one directory a stage and key, whole or not there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use selfsame_image::Digest;
use selfsame_store::Store;

use crate::event::Stage;
use crate::host::{self, IdShift};

/// A finished layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    dir: PathBuf,
}

/// A layer being made. Dropped without [`NewLayer::commit`], it is removed.
#[derive(Debug)]
pub(crate) struct NewLayer {
    dir: PathBuf,
    last: PathBuf,
}

/// Why a layer could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep a stage's result in {}", path.display())]
pub struct LayerError {
    path: PathBuf,
    source: io::Error,
}

impl Layer {
    /// The layer of `stage` with `key`, if it is there and was made since the machine started.
    ///
    /// Layers are not flushed to the disk, so one from before a power cut may have holes.
    pub(crate) fn find(store: &Store, stage: Stage, key: Digest) -> Option<Self> {
        let dir = place(store, stage, key);
        let made_in = std::fs::read(dir.join("boot-id")).ok()?;
        (made_in == boot_id().ok()?).then_some(Self { dir })
    }

    /// The directory that holds the layer's files.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// A small file kept beside the layer.
    pub(crate) fn note(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Waits until no other build works on the layer of `stage` and `key`. The turn lasts until the file is dropped, and
/// ends with the process, however that ends.
pub(crate) fn turn(store: &Store, stage: Stage, key: Digest) -> Result<File, LayerError> {
    let path = place(store, stage, key).with_extension("lock");
    let take = || {
        let file = File::options().create(true).append(true).open(&path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                // A signal that does not ask to stop.
                Err(Errno::INTR) if !host::interrupted() => {}
                taken => return Ok(taken.map(|()| file)?),
            }
        }
    };
    take().map_err(|source| LayerError { path: path.clone(), source })
}

impl NewLayer {
    /// An empty layer for `stage` and `key`; what a stopped build left there is removed.
    pub(crate) fn create(
        store: &Store,
        stage: Stage,
        key: Digest,
        shift: IdShift,
    ) -> Result<Self, LayerError> {
        let last = place(store, stage, key);
        let name = last.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let dir = last.with_file_name(format!("{name}.new"));
        let new = Self { dir, last };
        let make = || {
            remove_if_there(&new.dir)?;
            remove_if_there(&new.last)?;
            std::fs::create_dir_all(new.files())?;
            std::fs::create_dir_all(new.scratch())?;
            set_mode(&new.dir, 0o711)?;
            set_mode(&new.files(), 0o755)?;
            // The topmost layer's root is the root of the image.
            std::os::unix::fs::chown(new.files(), Some(shift.first()), Some(shift.first()))
        };
        make().map_err(|source| LayerError { path: new.dir.clone(), source })?;
        Ok(new)
    }

    /// The directory the stage writes into.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// A directory in the same file system for whatever is not part of the result.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    /// A small file kept beside the layer.
    pub(crate) fn note(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the layer the result of its stage.
    pub(crate) fn commit(self) -> Result<Layer, LayerError> {
        let finish = || {
            remove_if_there(&self.scratch())?;
            std::fs::write(self.dir.join("boot-id"), boot_id()?)?;
            std::fs::rename(&self.dir, &self.last)
        };
        finish().map_err(|source| LayerError { path: self.last.clone(), source })?;
        Ok(Layer { dir: self.last.clone() })
    }
}

impl Drop for NewLayer {
    fn drop(&mut self) {
        // After a commit there is nothing; after a failure the next build would remove it too.
        let _ = remove_if_there(&self.dir);
    }
}

fn place(store: &Store, stage: Stage, key: Digest) -> PathBuf {
    let key = key.to_string();
    store.root().join("work").join(format!("{}-{}", stage.name(), &key[..32]))
}

fn boot_id() -> io::Result<Vec<u8>> {
    std::fs::read("/proc/sys/kernel/random/boot_id")
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_err() { Ok(()) } else { host::remove_tree(path) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_builds_of_one_layer_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
        let first = turn(&store, Stage::Install, key).unwrap();
        turn(&store, Stage::Install, other).unwrap();
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| send.send(turn(&store, Stage::Install, key).is_ok()).unwrap());
            assert!(receive.recv_timeout(Duration::from_millis(100)).is_err(), "the second one waits");
            drop(first);
            assert!(receive.recv().unwrap());
        });
    }
}
