//! Results of stages on disk: one directory a stage and key, whole or not there.

use std::fs::{File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
    /// As long as this is held, nobody makes the layer anew or removes it.
    _held: Option<Arc<File>>,
}

/// How layers of this process are owned. Those of another user of the same store are not taken for ours.
fn made_by(host: &Host) -> io::Result<Vec<u8>> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(format!("{}\n{:?}\nuser namespace: {}\n", boot.trim(), host.shift, host.user_namespace).into_bytes())
}

/// Name of the file with the captured tree, beside a layer: its digest, then its text.
const CAPTURED: &str = "captured";
/// Name of the file that says how a finished layer was made. Its time is that of the last use.
pub(super) const MADE: &str = "made-by";

/// A layer whose time of last use is older than this gets a new one when it is used.
const TOUCHED_AFTER: Duration = Duration::from_secs(3600);

/// A layer being made. Dropped without [`NewLayer::commit`], it is removed.
#[derive(Debug)]
pub(crate) struct NewLayer {
    dir: PathBuf,
    last: PathBuf,
    made_by: Vec<u8>,
}

/// Why a layer could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep or remove a stage's result in {}", path.display())]
pub struct LayerError {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
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
        (same && ours).then_some(Self { dir, _held: None })
    }

    /// Marks the layer as used now. The mark only says what to remove first, so that it may fail.
    fn touch(&self) {
        let old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > TOUCHED_AFTER);
        let Ok(file) = File::open(self.dir.join(MADE)) else { return };
        if file.metadata().and_then(|found| found.modified()).is_ok_and(old) {
            let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
        }
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

    /// Keeps the tree that was captured, for [`Layer::captured`]. Without it the next build captures again, so that this
    /// may fail.
    pub(crate) fn keep_captured(&self, tree: &Tree) {
        let text = tree::text::to_string(tree);
        // Another build may do the same at the same moment.
        let new = self.dir.join(format!("{CAPTURED}.{}.new", std::process::id()));
        let text = format!("{}\n{text}", Digest::of(text.as_bytes()));
        if std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, self.dir.join(CAPTURED))).is_err() {
            let _ = std::fs::remove_file(&new);
        }
    }
}

/// The layer of `stage` and `key`, and whether it was there; if not, or if it is not `wanted`, `make` makes it. Another
/// build that makes the same layer is waited for, and its result used.
///
/// The layer stays as it is until its last copy is dropped or the process ends, however it ends. Stages are asked for
/// in one order by all builds, so that no two wait for each other.
pub(crate) fn obtain<E: From<LayerError>>(
    (store, stage, key, host): (&Store, Stage, Digest, &Host),
    wanted: bool,
    waits: impl FnOnce(),
    make: impl FnOnce() -> Result<Layer, E>,
) -> Result<(Layer, bool), E> {
    let path = place(store, stage, key, host).with_extension("lock");
    let (mut waits, mut make) = (Some(waits), Some(make));
    loop {
        if wanted || make.is_none() {
            let held = lock(&path, FlockOperation::NonBlockingLockShared, &mut waits)?;
            if let Some(layer) = Layer::find(store, stage, key, host) {
                layer.touch();
                return Ok((Layer { _held: Some(Arc::new(held)), ..layer }, make.is_some()));
            }
        }
        let _turn = lock(&path, FlockOperation::NonBlockingLockExclusive, &mut waits)?;
        // Whoever had the turn before may have made it.
        if wanted && Layer::find(store, stage, key, host).is_some() {
            continue;
        }
        let Some(make) = make.take() else {
            return Err(LayerError { path, source: io::ErrorKind::NotFound.into() }.into());
        };
        make()?;
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
    lock(&path, FlockOperation::NonBlockingLockExclusive, &mut Some(waits))
}

/// Opens and locks the file at `path`, which is made if it is missing. `waits` is called if that does not happen at once.
fn lock(
    path: &Path,
    operation: FlockOperation,
    waits: &mut Option<impl FnOnce()>,
) -> Result<File, LayerError> {
    let mut take = || loop {
        let file = File::options().create(true).append(true).open(path)?;
        match flock(&file, operation) {
            // Whoever tidies up removes lock files that nobody holds; a lock on such a file keeps nobody out.
            Ok(()) if is_at(&file, path)? => return Ok(file),
            Ok(()) => {}
            // A call that blocks would not notice that the user wants to stop.
            Err(Errno::WOULDBLOCK | Errno::INTR) if !host::interrupted() => {
                if let Some(waits) = waits.take() {
                    waits();
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Err(error) => return Err(error.into()),
        }
    };
    take().map_err(|source| LayerError { path: path.to_owned(), source })
}

/// Whether the open `file` is the one at `path`.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
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
            discard(&new.last, &new.dir)?;
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
        Ok(Layer { dir: self.last.clone(), _held: None })
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

/// Removes the layer `last` and what may be left at `new`. The name goes first: half a layer must not look like one.
pub(super) fn discard(last: &Path, new: &Path) -> io::Result<()> {
    remove_if_there(new)?;
    match std::fs::rename(last, new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => remove_if_there(new),
    }
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

    #[test]
    fn a_layer_in_use_is_shared_and_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        // The ids of whoever runs the test.
        if rustix::process::geteuid().as_raw() != 0 {
            return;
        }
        let host = Host { shift: crate::host::IdShift::NONE, user_namespace: false };
        let at = (&store, Stage::Install, Digest::of(b"key"), &host);
        let make = || NewLayer::create(&store, at.1, at.2, &host)?.commit();
        let (first, found) = obtain::<LayerError>(at, true, || (), make).unwrap();
        assert!(!found && first.files().is_dir());
        let unused = || panic!("it is there");
        let (second, found) = obtain::<LayerError>(at, true, || panic!("it is free"), unused).unwrap();
        assert!(found);
        std::fs::write(first.files().join("old"), "").unwrap();
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let anew = obtain::<LayerError>(at, false, || (), make).unwrap();
                send.send((anew.0.files().join("old").exists(), anew.1)).unwrap();
            });
            drop(first);
            assert!(receive.recv_timeout(Duration::from_millis(100)).is_err(), "the second one holds it");
            drop(second);
            assert_eq!(receive.recv().unwrap(), (false, false));
        });
    }
}
