//! The first process of a machine: from what the kernel starts to a root in memory with all disks.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount, mount_move};

use super::super::disks::{OUTPUTS, PACKAGES, SWAP, TASK, TASK_FILE};
use super::super::initramfs::{INIT, MODULES};
use super::super::wire::Task;
use super::super::{GUEST_ARGUMENT, disks};
use crate::host::sys;

/// How long the kernel may take to find the disks.
const PATIENCE: Duration = Duration::from_secs(30);
/// The argument of the second start, in the root that the first one made.
pub(super) const SETTLED: &str = "settled";
/// The directory for the outputs.
const OUT: &str = "out";
/// Where the new root is put together.
const NEW: &str = "/new";
/// What the kernel shows of itself, by type and place.
const KERNEL: [(&str, &str); 3] = [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")];

/// Loads modules, finds disks, moves to a file system in memory, and starts this program again there.
pub(super) fn settle() -> io::Result<()> {
    for (kind, place) in KERNEL {
        fs::create_dir_all(place)?;
        attach(kind, place, kind, MountFlags::empty(), None)?;
    }
    load_modules()?;
    let swap = disk(SWAP)?;
    let swap = CString::new(swap.as_os_str().as_bytes())?;
    sys::swap_on(&swap)?;
    // The task says how large the root may get.
    let early = Path::new("/early");
    fs::create_dir(early)?;
    attach_disk(TASK, early)?;
    let task: Task = read_task(early)?;
    rustix::mount::unmount(early, rustix::mount::UnmountFlags::empty())?;
    fs::create_dir(NEW)?;
    let options = CString::new(format!("size={},nr_inodes=0,mode=0755", task.room))?;
    attach("tmpfs", NEW, "tmpfs", MountFlags::empty(), Some(&options))?;
    move_here(Path::new("/"), Path::new(NEW))?;
    for (_, place) in KERNEL {
        let to = format!("{NEW}{place}");
        fs::create_dir_all(&to)?;
        mount_move(place, &to)?;
    }
    std::env::set_current_dir(NEW)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")?;
    for name in ["tmp", "packages", "task", OUT] {
        fs::create_dir(format!("/{name}"))?;
    }
    attach_disk(PACKAGES, Path::new("/packages"))?;
    let program = Path::new("/").join(INIT);
    Err(Command::new(program).arg(GUEST_ARGUMENT).arg(SETTLED).env_clear().exec())
}

/// Makes the task visible that follows `builds` others. To be called in the mount name space of the builds: in that of the
/// kernel's own threads, which lasts, the kernel would go on to know what was on the disk at first.
pub(super) fn take_task(builds: u32) -> io::Result<Task> {
    let place = Path::new("/task");
    let until = Instant::now() + PATIENCE;
    loop {
        attach_disk(TASK, place)?;
        let task = read_task(place)?;
        if task.build == builds {
            return Ok(task);
        }
        // A sandbox may just be going, with a mount of its own.
        rustix::mount::unmount(place, rustix::mount::UnmountFlags::empty())?;
        if Instant::now() >= until {
            return Err(io::Error::other("the disk of the task still has an earlier one"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Removes what was made of the task. The kernel forgets what it knew of a disk when nobody has it mounted.
pub(super) fn leave_task() -> io::Result<()> {
    rustix::mount::unmount("/task", rustix::mount::UnmountFlags::empty())?;
    fs::remove_dir_all(format!("/{OUT}"))?;
    fs::create_dir(format!("/{OUT}"))
}

/// What to build.
fn read_task(dir: &Path) -> io::Result<Task> {
    Ok(serde_json::from_slice(&fs::read(dir.join(TASK_FILE))?)?)
}

/// The disk for the outputs.
pub(super) fn outputs() -> io::Result<File> {
    File::options().write(true).open(disk(OUTPUTS)?)
}

fn load_modules() -> io::Result<()> {
    let mut names: Vec<PathBuf> = match fs::read_dir(Path::new("/").join(MODULES)) {
        // A kernel with all of it built in.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?,
    };
    names.sort();
    for path in names {
        let mut bytes = Vec::new();
        File::open(&path)?.read_to_end(&mut bytes)?;
        let loaded = rustix::system::init_module(&bytes, c"");
        loaded.map_err(|error| about(&format!("module {}", path.display()), error.into()))?;
    }
    Ok(())
}

/// The device of the disk that QEMU names `serial`.
fn disk(serial: &str) -> io::Result<PathBuf> {
    let until = Instant::now() + PATIENCE;
    loop {
        for entry in fs::read_dir("/sys/block")? {
            let entry = entry?;
            let named = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
            let device = Path::new("/dev").join(entry.file_name());
            if named.trim() == serial && device.exists() {
                return Ok(device);
            }
        }
        if Instant::now() >= until {
            return Err(io::Error::other(format!("the disk {serial} does not appear")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn attach_disk(name: &str, place: &Path) -> io::Result<()> {
    let device = disk(name)?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    attach(&device, place, "squashfs", flags, None)
}

fn attach(
    what: impl AsRef<Path>,
    place: impl AsRef<Path>,
    kind: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> io::Result<()> {
    let place = place.as_ref();
    mount(what.as_ref(), place, kind, flags, options)
        .map_err(|error| about(&format!("{kind} at {}", place.display()), error.into()))
}

/// Moves all that the kernel unpacked from `from` to `to`, on another file system: memory has one copy of it at a time.
fn move_here(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let stays = ["/dev", "/proc", "/sys", NEW, "/modules", "/early", "/root"];
        if stays.iter().any(|one| path == Path::new(one)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            move_here(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// `error`, with what it is about.
fn about(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Where the recipe is.
pub(super) fn recipe() -> PathBuf {
    Path::new("/task").join(disks::RECIPE)
}
