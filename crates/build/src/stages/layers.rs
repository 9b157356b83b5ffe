//! Results of stages on disk: one directory a stage and key, whole or not there.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use selfsame_image::{Digest, Tree, tree};
use selfsame_store::Store;

use crate::event::Stage;
use crate::host::{self, Host};

/// A finished layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    dir: PathBuf,
}

/// How layers of this process are owned. Those of another user of the same store are not taken for ours.
fn made_by(host: &Host) -> io::Result<Vec<u8>> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(format!("{}\n{:?}\nuser namespace: {}\n", boot.trim(), host.shift, host.user_namespace).into_bytes())
}

/// Name of the file with the captured tree, beside a layer: its digest, then its text.
const CAPTURED: &str = "captured";
/// Name of the file that says how a finished layer was made.
const MADE: &str = "made-by";

/// A layer being made. Dropped without [`NewLayer::commit`], it is removed.
#[derive(Debug)]
pub(crate) struct NewLayer {
    dir: PathBuf,
    last: PathBuf,
    made_by: Vec<u8>,
}

/// Why a layer could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep a stage's result in {}", path.display())]
pub struct LayerError {
    path: PathBuf,
    source: io::Error,
}

impl Layer {
    /// The layer of `stage` with `key`, if it is there and was made for the same ids since the machine started.
    ///
    /// Layers are not flushed to the disk, so one from before a power cut may have holes.
    pub(crate) fn find(store: &Store, stage: Stage, key: Digest, host: &Host) -> Option<Self> {
        let dir = place(store, stage, key, host);
        let same = std::fs::read(dir.join(MADE)).ok()? == made_by(host).ok()?;
        // Another user's range of ids looks like no owner at all.
        let ours = std::fs::symlink_metadata(dir.join("files")).ok()?.uid() == host.shift.first();
        (same && ours).then_some(Self { dir })
    }

    /// The directory that holds the layer's files.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// The tree that was captured of this layer and those below it, if it was kept and is whole.
    pub(crate) fn captured(&self) -> Option<Tree> {
        let text = std::fs::read(self.dir.join(CAPTURED)).ok()?;
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let (digest, text) = (&text[..end], &text[end + 1..]);
        (digest == Digest::of(text).to_string().as_bytes()).then(|| tree::text::parse(text).ok())?
    }

    /// Keeps the tree that was captured, for [`Layer::captured`].
    pub(crate) fn keep_captured(&self, tree: &Tree) -> Result<(), LayerError> {
        let text = tree::text::to_string(tree);
        let last = self.dir.join(CAPTURED);
        let new = self.dir.join(format!("{CAPTURED}.new"));
        let keep = || {
            std::fs::write(&new, format!("{}\n{text}", Digest::of(text.as_bytes())))?;
            std::fs::rename(&new, &last)
        };
        keep().map_err(|source| LayerError { path: last.clone(), source })
    }
}

/// Waits until no other build works on the layer of `stage` and `key`. The turn lasts until the file is dropped, and
/// ends with the process, however that ends.
///
/// `waits` is called once if there is something to wait for.
pub(crate) fn turn(
    store: &Store,
    stage: Stage,
    key: Digest,
    host: &Host,
    waits: impl FnOnce(),
) -> Result<File, LayerError> {
    let path = place(store, stage, key, host).with_extension("lock");
    let take = || {
        let file = File::options().create(true).append(true).open(&path)?;
        let mut waits = Some(waits);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                // A call that blocks would not notice that the user wants to stop.
                Err(Errno::WOULDBLOCK | Errno::INTR) if !host::interrupted() => {
                    if let Some(waits) = waits.take() {
                        waits();
                    }
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    take().map_err(|source| LayerError { path: path.clone(), source })
}

impl NewLayer {
    /// An empty layer for `stage` and `key`; what a stopped build left there is removed.
    pub(crate) fn create(store: &Store, stage: Stage, key: Digest, host: &Host) -> Result<Self, LayerError> {
        let last = place(store, stage, key, host);
        let name = last.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let dir = last.with_file_name(format!("{name}.new"));
        let new = Self {
            dir,
            last,
            made_by: made_by(host).map_err(|source| LayerError { path: "/proc".into(), source })?,
        };
        let shift = host.shift;
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

    /// Makes the layer the result of its stage.
    pub(crate) fn commit(self) -> Result<Layer, LayerError> {
        let finish = || {
            remove_if_there(&self.scratch())?;
            std::fs::write(self.dir.join(MADE), &self.made_by)?;
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

fn place(store: &Store, stage: Stage, key: Digest, host: &Host) -> PathBuf {
    let key = key.to_string();
    // Layers of root and of ordinary users have other owners and other marks: they lie side by side.
    let whose = host.shift.first();
    store.root().join("work").join(format!("{}-{}-{whose}", stage.name(), &key[..32]))
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
        let host = Host { shift: crate::host::IdShift::NONE, user_namespace: false };
        let turn = |key| turn(&store, Stage::Install, key, &host, || ());
        let first = turn(key).unwrap();
        turn(other).unwrap();
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| send.send(turn(key).is_ok()).unwrap());
            assert!(receive.recv_timeout(Duration::from_millis(100)).is_err(), "the second one waits");
            drop(first);
            assert!(receive.recv().unwrap());
        });
    }
}
