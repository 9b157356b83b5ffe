//! The files a machine is started with.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use selfsame_image::codec::Codec;
use selfsame_image::tree::{Contents, Kind, Layered, Leaf, Memory, Meta};
use selfsame_image::{Digest, Epoch, Tree, squashfs};
use selfsame_store::{Scratch, Store};

use crate::execute::Request;
use crate::host::IdShift;
use crate::lock::{self, Lock, Role};
use crate::recipe::{self, Keys, Recipe, Tracked, read_tracked};

use super::error::MachineError;
use super::initramfs::Boot;
use super::kept::{KeepError, State};
use super::machine::Machine;
use super::wire::Task;

/// The locked packages, each under the digest of its bytes.
pub(super) const PACKAGES: &str = "packages";
/// Recipe, lock and [`Task`].
pub(super) const TASK: &str = "task";
/// What does not fit into memory.
pub(super) const SWAP: &str = "swap";
/// The outputs, one after the other.
pub(super) const OUTPUTS: &str = "outputs";
/// The disks, and whether they are read-only.
pub(super) const DISKS: [(&str, bool); 4] = [(PACKAGES, true), (TASK, true), (SWAP, false), (OUTPUTS, false)];
/// What is no disk: the kernel and its initramfs.
pub(super) const KERNEL: &str = "kernel";
pub(super) const INITRAMFS: &str = "initramfs";
/// Where the task is on its disk.
pub(super) const TASK_FILE: &str = "task.json";
/// Where packages are on that disk which that of the packages lacks.
pub(super) const MORE: &str = "packages";
/// Where the recipe is on that disk.
pub(super) const RECIPE: &str = "recipe";

/// The directory of the store in which disks with packages lie.
const KEPT: &str = "machine-packages";
/// Everything on the read-only disks is that old: nothing of it counts.
const EPOCH: Epoch = Epoch(0);
/// How long the disk of the task is in a machine that is kept, in bytes: a later recipe, and packages that are new in its
/// lock, must fit.
const TASKS: u64 = 8 << 30;
/// Bytes of a page of memory.
const PAGE: u64 = 4096;

/// The files a machine is started with. All but the packages are gone when the scratch directory is.
#[derive(Debug)]
pub(super) struct Disks {
    dir: PathBuf,
    /// The one that outlives the machine.
    packages: PathBuf,
    task: File,
    outputs: File,
    room: u64,
}

impl Disks {
    /// Makes all of them. The machine may fill `room` bytes.
    pub(super) fn make(
        request: &Request<'_>,
        scratch: &Scratch,
        boot: &Boot,
        machine: &Machine<'_>,
        room: u64,
    ) -> Result<Self, MachineError> {
        let dir = scratch.path();
        // What a recipe holds may be nobody else's business.
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(dir, private)
            .map_err(|source| MachineError::Disk { path: dir.to_owned(), source })?;
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(|source| MachineError::Disk { path, source })
        };
        write(KERNEL, &boot.kernel)?;
        write(INITRAMFS, &boot.initramfs)?;
        let packages = packages(request.store, request.lock, dir)?;
        let task = create(&dir.join(TASK))?;
        let told = told(request, machine, room, 0);
        self::task(request.recipe, request.lock, &told, (&[], request.store), &task)?;
        if machine.keep.is_some() {
            let longest = task.metadata().map(|meta| meta.len().max(TASKS));
            let longer = longest.and_then(|length| task.set_len(length));
            longer.map_err(|source| MachineError::Disk { path: dir.join(TASK), source })?;
        }
        swap(&dir.join(SWAP), room)?;
        let path = dir.join(OUTPUTS);
        let outputs = create(&path)?;
        outputs.set_len(room.next_multiple_of(PAGE)).map_err(|source| MachineError::Disk { path, source })?;
        Ok(Self { dir: dir.to_owned(), packages, task, outputs, room })
    }

    /// Writes recipe and lock anew on the disk of a machine that is kept, which waits.
    pub(super) fn again(
        request: &Request<'_>,
        machine: &Machine<'_>,
        [task, outputs]: [File; 2],
        kept: &State,
    ) -> Result<Self, MachineError> {
        let more = |digest: &Digest| kept.packages.binary_search(&digest.to_string()).is_err();
        let more: Vec<Digest> = names(request.lock).into_iter().filter(more).collect();
        let failed = |source| MachineError::Disk { path: PathBuf::from(TASK), source };
        (&task).seek(SeekFrom::Start(0)).map_err(failed)?;
        let told = told(request, machine, kept.room, kept.builds);
        self::task(request.recipe, request.lock, &told, (&more, request.store), &task)?;
        let size = (&task).stream_position().map_err(failed)?;
        if size > kept.task {
            let full = KeepError::Full { name: kept.name.clone(), size, room: kept.task };
            return Err(full.into());
        }
        Ok(Self { dir: PathBuf::new(), packages: kept.disk.clone(), task, outputs, room: kept.room })
    }

    /// Where the file `name` is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// How many bytes the outputs may take.
    pub(super) fn room(&self) -> u64 {
        self.room
    }

    /// Where the packages are kept, and those of `lock`, which they are, in the order of their digests.
    pub(super) fn packages(&self, lock: &Lock) -> (PathBuf, Vec<String>) {
        (self.packages.clone(), names(lock).iter().map(Digest::to_string).collect())
    }

    /// The disk of the task.
    pub(super) fn task(&self) -> &File {
        &self.task
    }

    /// The disk with the outputs.
    pub(super) fn outputs(&self) -> &File {
        &self.outputs
    }

    /// Removes the names of all that is of this machine alone, and can be long.
    pub(super) fn unlink(&self) {
        for name in [PACKAGES, TASK, SWAP, OUTPUTS, KERNEL, INITRAMFS] {
            let _ = fs::remove_file(self.path(name));
        }
    }

    /// Removes the packages, to be written again by the next build.
    pub(super) fn forget_packages(&self) {
        let _ = fs::remove_file(&self.packages);
    }
}

/// What is to be built.
fn told(request: &Request<'_>, machine: &Machine<'_>, room: u64, build: u32) -> Task {
    Task {
        epoch: request.epoch.0,
        jobs: u32::try_from(request.jobs.get()).unwrap_or(machine.processors.get()),
        room,
        other_ids: ![IdShift::NONE, IdShift::ROOT].contains(&request.host.shift),
        build,
        keep: machine.keep.is_some(),
        world: request.world.clone(),
    }
}

/// The packages that are needed in the machine, in the order of their digests, each once.
fn names(lock: &Lock) -> Vec<Digest> {
    // The kernel has been started when these are looked at.
    let wanted = lock.packages.iter().filter(|package| package.role != Role::Builder);
    let mut names: Vec<Digest> = wanted.map(|package| package.file.sha256).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Puts the packages of `lock` that are named into `tree`, below `place`.
fn add_packages(
    tree: &mut Tree,
    place: &str,
    lock: &Lock,
    names: &[Digest],
) -> Result<(), selfsame_image::tree::TreeError> {
    for package in &lock.packages {
        let leaf = Leaf { meta: Meta::root(0o444, 0), kind: Kind::File(package.file.into()) };
        let name = format!("{place}{}", package.file.sha256);
        if names.binary_search(&package.file.sha256).is_ok() && tree.get(name.as_bytes()).is_none() {
            tree.insert(name.as_bytes(), leaf)?;
        }
    }
    Ok(())
}

/// The disk with the packages of `lock`: kept in the store, because it is the same for each build of that lock. It has a second
/// name in `scratch`, so that nobody takes it away before the machine has it open.
fn packages(store: &Store, lock: &Lock, scratch: &Path) -> Result<PathBuf, MachineError> {
    let kept = store.work_dir(KEPT).map_err(|error| image(PACKAGES, error))?;
    let names = names(lock);
    let all: String = names.iter().map(|name| format!("{name}\n")).collect();
    let path = kept.join(format!("{}.squashfs", Digest::of(all.as_bytes())));
    let own = scratch.join(PACKAGES);
    if fs::hard_link(&path, &own).is_ok() {
        // What is used stays when the store is tidied up.
        let now = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
        let _ = File::open(&own).and_then(|file| file.set_times(now));
        return Ok(path);
    }
    let mut tree = Tree::new(Meta::root(0o755, 0));
    add_packages(&mut tree, "", lock, &names).map_err(|error| image(PACKAGES, error))?;
    squash(PACKAGES, &tree, store, &create(&own)?)?;
    let keep = || -> io::Result<()> {
        // Whole on the disk before others find it.
        File::open(&own)?.sync_all()?;
        match fs::hard_link(&own, &path) {
            // Another build was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.and_then(|()| File::open(&kept)?.sync_all()),
        }
    };
    keep().map_err(|source| MachineError::Disk { path: path.clone(), source })?;
    Ok(path)
}

/// Tells `found` of the disks with packages that no machine used since `since`, and removes them unless `keep`.
///
/// # Errors
/// If the directory cannot be read, or a disk not be removed.
pub fn sweep(
    store: &Store,
    since: std::time::SystemTime,
    keep: bool,
    found: &mut dyn FnMut(&Path),
) -> io::Result<()> {
    let dir = store.root().join("work").join(KEPT);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // Another process may have removed it by now.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.modified()? < since {
            found(&entry.path());
            if !keep {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// The disk with recipe, lock and task. Of the recipe it has what the build reads, as the build sees it; and it has these
/// packages, from that store.
fn task(
    recipe: &Recipe,
    lock: &Lock,
    task: &Task,
    (more, packages): (&[Digest], &dyn Contents),
    disk: &File,
) -> Result<(), MachineError> {
    let wrong =
        |error: Box<dyn std::error::Error + Send + Sync>| MachineError::Image { name: TASK, source: error };
    let mut tree = Tree::new(Meta::root(0o755, 0));
    let mut memory = Memory::new();
    let mut read: Vec<Tracked> = Vec::new();
    let text = serde_json::to_vec(task).map_err(|error| wrong(error.into()))?;
    let mut files = vec![(PathBuf::from(TASK_FILE), text)];
    let settings = fs::read(recipe.path(Path::new(recipe::FILE))).map_err(|error| wrong(error.into()))?;
    files.push((Path::new(RECIPE).join(recipe::FILE), settings));
    files.push((Path::new(RECIPE).join(lock::FILE), lock.to_string().into_bytes()));
    for (path, bytes) in files {
        directories(&mut tree, &path).map_err(wrong)?;
        let leaf = Leaf { meta: Meta::root(0o644, 0), kind: Kind::File(memory.add(bytes)) };
        tree.insert(bytes_of(&path), leaf).map_err(|error| wrong(error.into()))?;
    }
    for path in named(recipe) {
        let tracked = read_tracked(&recipe.dir, path, EPOCH).map_err(|error| wrong(error.into()))?;
        graft(&mut tree, &Path::new(RECIPE).join(path), &tracked, recipe.path(path).is_dir())
            .map_err(wrong)?;
        read.push(tracked);
    }
    if !more.is_empty() {
        tree.insert_dir(MORE.as_bytes(), Meta::root(0o755, 0)).map_err(|error| wrong(error.into()))?;
        add_packages(&mut tree, &format!("{MORE}/"), lock, more).map_err(|error| wrong(error.into()))?;
    }
    squash(TASK, &tree, &Layered(&memory, Layered(All(&read), packages)), disk)
}

/// The files and directories that a recipe names.
fn named(recipe: &Recipe) -> Vec<&Path> {
    let keys = recipe.archives.values().filter_map(|archive| match &archive.keys {
        Keys::File { file, .. } => Some(file.as_path()),
        Keys::Debian => None,
    });
    let local = recipe.local.values().map(|local| local.directory.as_path());
    let files = recipe.overlay.iter().chain(&recipe.hooks).chain(&recipe.squashfs.sort);
    let mut all: Vec<&Path> = files.map(PathBuf::as_path).chain(keys).chain(local).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Puts what was read of the recipe at `at` into `tree`: a directory as it is, a file under its name there.
fn graft(
    tree: &mut Tree,
    at: &Path,
    tracked: &Tracked,
    directory: bool,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use selfsame_image::tree::Item;
    directories(tree, at)?;
    if directory && tree.get(bytes_of(at)).is_none() {
        tree.insert_dir(bytes_of(at), Meta::root(0o755, 0))?;
    }
    tracked.tree.walk(|path, entry| {
        let mut to = bytes_of(at).to_vec();
        if directory && !path.is_empty() {
            to.push(b'/');
            to.extend_from_slice(path);
        }
        match entry.item {
            // The directory around a single file is none of the recipe's.
            Item::Dir(_) if !directory || path.is_empty() => {}
            // Two parts of a recipe may lie in one another.
            _ if tree.get(&to).is_some() => {}
            Item::Dir(_) => tree.insert_dir(&to, entry.meta.clone())?,
            Item::Leaf(_, kind) => {
                tree.insert(&to, Leaf { meta: entry.meta.clone(), kind: kind.clone() })?;
            }
        }
        Ok(())
    })
}

/// Makes the directories above `path`.
fn directories(tree: &mut Tree, path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
    above.reverse();
    for dir in above {
        if tree.get(bytes_of(dir)).is_none() {
            tree.insert_dir(bytes_of(dir), Meta::root(0o755, 0))?;
        }
    }
    Ok(())
}

fn bytes_of(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

/// The contents of several parts of a recipe.
struct All<'a>(&'a [Tracked]);

impl Contents for All<'_> {
    fn open(
        &self,
        content: &selfsame_image::tree::Content,
    ) -> io::Result<std::sync::Arc<dyn selfsame_image::ReadAt + Send>> {
        let mut found = self.0.iter().map(|tracked| tracked.open(content));
        found.find(Result::is_ok).unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }
}

/// Writes `tree` as a SquashFS whose blocks the kernel reads fast.
fn squash(name: &'static str, tree: &Tree, contents: &dyn Contents, file: &File) -> Result<(), MachineError> {
    let options = squashfs::Options {
        block_size: 1 << 20,
        codec: Codec::Lz4 { level: 2 },
        epoch: EPOCH,
        export_table: false,
        sort: None,
        cache: None,
        progress: None,
    };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let jobs = std::thread::available_parallelism().unwrap_or(std::num::NonZero::<usize>::MIN);
    squashfs::write(tree, contents, &options, jobs, &mut out).map_err(|error| image(name, error))?;
    out.flush().map_err(|source| MachineError::Disk { path: PathBuf::from(name), source })
}

/// A new file for a disk.
fn create(path: &Path) -> Result<File, MachineError> {
    let file = File::options().read(true).write(true).create_new(true).open(path);
    file.map_err(|source| MachineError::Disk { path: path.to_owned(), source })
}

fn image(name: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> MachineError {
    MachineError::Image { name, source: Box::new(error) }
}

/// Writes an empty swap area of `bytes`, of which nothing is on the disk yet. Its form is that of mkswap(8): version 1, the
/// number of the last page and of bad ones behind the boot block, and ten letters at the end of the first page.
fn swap(path: &Path, bytes: u64) -> Result<(), MachineError> {
    let pages = (bytes / PAGE).clamp(16, u32::MAX.into());
    let make = || -> io::Result<()> {
        let file = File::options().write(true).create_new(true).open(path)?;
        file.set_len(pages * PAGE)?;
        let last = u32::try_from(pages - 1).unwrap_or(u32::MAX);
        let header: Vec<u8> = [1, last, 0].into_iter().flat_map(u32::to_le_bytes).collect();
        file.write_all_at(&header, 1024)?;
        file.write_all_at(b"SWAPSPACE2", PAGE - 10)
    };
    make().map_err(|source| MachineError::Disk { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use selfsame_image::tree::merkle;
    use selfsame_testkit::oracle;

    use super::*;

    /// What the kernel and mkswap(8) call a swap area.
    #[test]
    fn a_swap_area_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("swap");
        swap(&path, 1 << 20).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
        let told = oracle(Command::new("/sbin/blkid").args(["-p", "-o", "value", "-s", "TYPE"]).arg(&path));
        if let Some(told) = told {
            assert_eq!(String::from_utf8_lossy(&told.stdout), "swap\n");
        }
    }

    #[test]
    fn a_recipe_in_the_machine_is_what_it_is_outside() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = dir.path().join("r");
        fs::create_dir_all(recipe.join("files/etc/deep")).unwrap();
        fs::create_dir_all(recipe.join("hooks")).unwrap();
        fs::write(recipe.join("files/etc/deep/motd"), "hello\n").unwrap();
        std::os::unix::fs::symlink("deep/motd", recipe.join("files/etc/link")).unwrap();
        fs::write(recipe.join("hooks/one"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(recipe.join("hooks/one"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(recipe.join("order"), "bin 5\n").unwrap();
        fs::write(recipe.join("not named"), "stays outside").unwrap();
        let text = "format = 1\n[image]\nname = \"x\"\noutputs = [\"squashfs\"]\n[squashfs]\nsort = \"order\"\n\
            [archives.debian]\nsuites = [\"bookworm\"]\nkeys = \"debian\"\n[files]\noverlay = \"files\"\n\
            [[hooks]]\nrun = \"hooks/one\"\n";
        fs::write(recipe.join(recipe::FILE), text).unwrap();
        let outside = recipe::load(&recipe).unwrap();
        let lock = crate::lock::sample();
        let told = Task {
            epoch: 7,
            jobs: 2,
            room: 3,
            other_ids: false,
            build: 0,
            keep: false,
            world: crate::sandbox::World::default(),
        };
        let disk = dir.path().join("disk");
        task(&outside, &lock, &told, (&[], &Memory::new()), &create(&disk).unwrap()).unwrap();
        let to = dir.path().join("inside");
        if oracle(Command::new("unsquashfs").arg("-q").arg("-n").arg("-d").arg(&to).arg(&disk)).is_none() {
            return;
        }
        let inside = recipe::load(&to.join(RECIPE)).unwrap();
        for path in named(&outside) {
            let [one, other] =
                [&outside, &inside].map(|recipe| read_tracked(&recipe.dir, path, EPOCH).unwrap());
            assert_eq!(merkle::digest(&one.tree), merkle::digest(&other.tree), "{}", path.display());
        }
        assert!(!to.join(RECIPE).join("not named").exists());
        let there: Task = serde_json::from_slice(&fs::read(to.join(TASK_FILE)).unwrap()).unwrap();
        assert_eq!(there, told);
        assert_eq!(fs::read_to_string(to.join(RECIPE).join(lock::FILE)).unwrap(), lock.to_string());
    }
}
