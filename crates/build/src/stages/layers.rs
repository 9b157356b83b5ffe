//! Results of stages on disk: one directory a stage and key, whole or not there.

use std::fs::{File, FileTimes};
use std::io::{self, Read as _};
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

/// Which layer is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) store: &'a Store,
    pub(crate) stage: Stage,
    /// Digest of everything the layer depends on.
    pub(crate) key: Digest,
    pub(crate) host: &'a Host,
    /// The very layer that it lies on, if it lies on one. Another with the same key may differ: programs of packages are
    /// not all deterministic, and what was made over one does not fit the other.
    pub(crate) on: Option<&'a Layer>,
}

/// A finished layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    dir: PathBuf,
    /// Drawn when it was made.
    id: String,
    /// As long as this is held, nobody makes the layer anew or removes it.
    _held: Option<Arc<File>>,
}

impl Place<'_> {
    /// How a layer is made here, but for its id: since when the machine runs, how it is owned, what it lies on. Those of
    /// another user of the same store are not taken for ours.
    fn made_by(&self) -> io::Result<String> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let Host { shift, user_namespace, .. } = self.host;
        let on = self.on.map_or("none", |layer| &layer.id);
        Ok(format!("{}\n{shift:?}\nuser namespace: {user_namespace}\non: {on}\nid: ", boot.trim()))
    }

    fn path(&self) -> PathBuf {
        let key = self.key.to_string();
        // Layers of root and of ordinary users have other owners and other marks: they lie side by side.
        let whose = self.host.shift.first();
        self.store.root().join("work").join(format!("{}-{}-{whose}", self.stage, &key[..32]))
    }

    /// The directory that holds the layer's files, if it is there.
    pub(crate) fn files(&self) -> PathBuf {
        self.path().join("files")
    }

    fn lock(&self) -> PathBuf {
        self.path().with_extension("lock")
    }
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
    made_by: String,
    id: String,
}

/// Why a layer could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep or remove a stage's result in {}", path.display())]
pub struct LayerError {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

impl Layer {
    /// The layer at `place`, if it is there and was made for the same ids since the machine started.
    ///
    /// Layers are not flushed to the disk, so one from before a power cut may have holes.
    pub(crate) fn find(place: &Place<'_>) -> Option<Self> {
        let dir = place.path();
        let text = std::fs::read_to_string(dir.join(MADE)).ok()?;
        let id = text.strip_prefix(&place.made_by().ok()?)?.to_owned();
        // Another user's range of ids looks like no owner at all.
        let ours = std::fs::symlink_metadata(dir.join("files")).ok()?.uid() == place.host.shift.first();
        ours.then_some(Self { dir, id, _held: None })
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

/// The layer at `place`, and whether it was there; if not, or if it is not `wanted`, `make` makes it. Another
/// build that makes the same layer is waited for, and its result used.
///
/// The layer stays as it is until its last copy is dropped or the process ends, however it ends. Stages are asked for
/// in one order by all builds, so that no two wait for each other.
pub(crate) fn obtain<E: From<LayerError>>(
    place: &Place<'_>,
    wanted: bool,
    waits: impl FnOnce(),
    make: impl FnOnce() -> Result<Layer, E>,
) -> Result<(Layer, bool), E> {
    let path = place.lock();
    let (mut waits, mut make) = (Some(waits), Some(make));
    loop {
        if wanted || make.is_none() {
            let held = lock(&path, FlockOperation::NonBlockingLockShared, &mut waits)?;
            if let Some(layer) = Layer::find(place) {
                layer.touch();
                return Ok((Layer { _held: Some(Arc::new(held)), ..layer }, make.is_some()));
            }
        }
        let _turn = lock(&path, FlockOperation::NonBlockingLockExclusive, &mut waits)?;
        // Whoever had the turn before may have made it.
        if wanted && Layer::find(place).is_some() {
            continue;
        }
        let Some(make) = make.take() else {
            return Err(LayerError { path, source: io::ErrorKind::NotFound.into() }.into());
        };
        make()?;
    }
}

/// Removes the layer at `place`, if it is there.
pub(crate) fn remove(place: &Place<'_>) -> Result<(), LayerError> {
    let last = place.path();
    let failed = |source| LayerError { path: last.clone(), source };
    discard(&last, &last.with_extension("new")).map_err(failed)?;
    match std::fs::remove_file(place.lock()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(source)),
        _ => Ok(()),
    }
}

/// Waits until no other build works on the layer at `place`. The turn lasts until the file is dropped, and
/// ends with the process, however that ends.
///
/// `waits` is called once if there is something to wait for.
pub(crate) fn turn(place: &Place<'_>, waits: impl FnOnce()) -> Result<File, LayerError> {
    lock(&place.lock(), FlockOperation::NonBlockingLockExclusive, &mut Some(waits))
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
    /// An empty layer for `place`; what a stopped build left there is removed.
    pub(crate) fn create(place: &Place<'_>) -> Result<Self, LayerError> {
        let last = place.path();
        let name = last.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let dir = last.with_file_name(format!("{name}.new"));
        let new = Self {
            dir,
            last,
            made_by: place.made_by().map_err(|source| LayerError { path: "/proc".into(), source })?,
            id: random()?,
        };
        let shift = place.host.shift;
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
            std::fs::write(self.dir.join(MADE), format!("{}{}", self.made_by, self.id))?;
            std::fs::rename(&self.dir, &self.last)
        };
        finish().map_err(|source| LayerError { path: self.last.clone(), source })?;
        Ok(Layer { dir: self.last.clone(), id: self.id.clone(), _held: None })
    }
}

impl Drop for NewLayer {
    fn drop(&mut self) {
        // After a commit there is nothing; after a failure the next build would remove it too.
        let _ = remove_if_there(&self.dir);
    }
}

/// Where random bytes come from.
const RANDOM: &str = "/dev/urandom";

/// 128 random bits, in hexadecimal.
pub(crate) fn random() -> Result<String, LayerError> {
    let mut bytes = [0; 16];
    let read = File::open(RANDOM).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|source| LayerError { path: RANDOM.into(), source })?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
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
        let turn = |key| {
            let place = Place { store: &store, stage: Stage::Install, key, host: &host, on: None };
            turn(&place, || ())
        };
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
        let key = Digest::of(b"key");
        let at = &Place { store: &store, stage: Stage::Install, key, host: &host, on: None };
        let make = || NewLayer::create(at)?.commit();
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

    #[test]
    fn what_lies_on_a_layer_that_was_made_again_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        if rustix::process::geteuid().as_raw() != 0 {
            return;
        }
        let host = Host { shift: crate::host::IdShift::NONE, user_namespace: false };
        let key = Digest::of(b"key");
        let get = |stage, on: Option<&Layer>, wanted| {
            let place = Place { store: &store, stage, key, host: &host, on };
            obtain::<LayerError>(&place, wanted, || (), || NewLayer::create(&place)?.commit()).unwrap()
        };
        let (lower, _) = get(Stage::Bootstrap, None, true);
        let found = |lower: &Layer| get(Stage::Install, Some(lower), true).1;
        assert_eq!((found(&lower), found(&lower)), (false, true));
        drop(lower);
        let (lower, kept) = get(Stage::Bootstrap, None, false);
        assert_eq!((kept, found(&lower), found(&lower)), (false, false, true));
    }
}
