//! The file system of a sandbox.
//!
//! The outer child opens everything as detached mounts while it still has the rights of this machine; process 1
//! puts them in place. No path of this machine is looked up by a process of the sandbox, so nothing has to be
//! readable on the way to a directory, and no link in an image leads out.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};
use rustix::thread::UnshareFlags;

use super::wire::{During, Failure, Spec, SpecRoot, Step};
use crate::host::MountError;
use crate::host::overlay::Overlay;
use crate::host::sys;

/// Device nodes jobs see. All are the machine's own, and without effect on it.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links in `/dev`.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Files of `/proc` that tell about this machine or act on it. They read as empty.
const HIDDEN_FILES: [&str; 24] = [
    "bootconfig",
    "cmdline",
    "config.gz",
    "diskstats",
    "interrupts",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "mdstat",
    "modules",
    "partitions",
    "sched_debug",
    "slabinfo",
    "softirqs",
    "swaps",
    "sysrq-trigger",
    "timer_list",
    "vmallocinfo",
    "zoneinfo",
];
/// Directories of `/proc` likewise.
const HIDDEN_DIRS: [&str; 7] = ["acpi", "asound", "bus", "driver", "irq", "scsi", "tty"];

/// Detached mounts, made with the rights of the outer child.
pub(super) struct Prepared {
    root: OwnedFd,
    devices: Vec<(&'static str, OwnedFd)>,
    binds: Vec<(PathBuf, OwnedFd)>,
}

/// Opens all the job may see of this machine. The process must have one thread; it gets mounts of its own.
pub(super) fn prepare(spec: &Spec) -> Result<Prepared, Failure> {
    sys::unshare(UnshareFlags::NEWNS).during(Step::Unshare)?;
    let root = match &spec.root {
        SpecRoot::Dir(dir) => clone(CWD, Path::new(dir), MountAttrFlags::MOUNT_ATTR_NODEV)?,
        SpecRoot::Overlay { lowers, upper, work } => {
            let (upper, work) = (Path::new(upper), Path::new(work));
            let lowers = lowers.iter().map(Path::new).collect();
            let overlay = Overlay { lowers, upper: Some((upper, work)), user_namespace: spec.user_namespace };
            // Any directory would do to mount at, and the upper one is known to be there.
            overlay.mount(upper).map_err(overlay_failure)?;
            clone(CWD, upper, MountAttrFlags::MOUNT_ATTR_NODEV)?
        }
    };
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let devices = DEVICES
        .iter()
        .map(|name| Ok((*name, clone(CWD, &Path::new("/dev").join(name), quiet)?)))
        .collect::<Result<_, _>>()?;
    let still = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let binds = spec
        .binds
        .iter()
        .map(|(source, target)| Ok((PathBuf::from(target), clone(CWD, Path::new(source), still)?)))
        .collect::<Result<_, _>>()?;
    Ok(Prepared { root, devices, binds })
}

fn overlay_failure(error: MountError) -> Failure {
    let (step, source) = match error {
        MountError::Open { path, source } | MountError::Work { path, source } => (Step::Open(path), source),
        MountError::Mount { at, source, .. } => (Step::Overlay(at), source),
        MountError::Layers(_) => (Step::Read, Errno::TOOBIG.into()),
    };
    Err::<(), _>(source).during(step).expect_err("it is an error")
}

/// A detached mount of what is at `path`, without mounts below it, and with these flags in addition to those it has.
fn clone(dir: impl AsFd, path: &Path, flags: MountAttrFlags) -> Result<OwnedFd, Failure> {
    let tree = open_tree(dir, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .during(Step::Open(path.into()))?;
    sys::mount_setattr(&tree, flags.bits().into()).during(Step::Open(path.into()))?;
    Ok(tree)
}

/// A detached new file system.
fn new(kind: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let config = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match *value {
            "" => fsconfig_set_flag(&config, *key)?,
            value => fsconfig_set_string(&config, *key, value)?,
        }
    }
    fsconfig_create(&config)?;
    let flags = flags | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&config, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

fn attach(tree: &OwnedFd, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", to, "", flags)
}

/// Builds the file system and makes it this process's. To be called by process 1 of all new name spaces.
pub(super) fn enter(prepared: &Prepared, spec: &Spec) -> Result<(), Failure> {
    let at = |path: &str| Step::Mount(path.into());
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).during(at("/"))?;
    // The kernel gives out a new /proc only while the old one is in sight.
    let proc = new("proc", &[], MountAttrFlags::MOUNT_ATTR_NOEXEC).during(at("/proc"))?;
    let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&prepared.root, "", CWD, "/", from).during(at("/"))?;
    fchdir(&prepared.root).during(Step::Pivot)?;
    // Puts the old root on top of the new one, where it is taken away. See pivot_root(2).
    pivot_root(".", ".").during(Step::Pivot)?;
    unmount(".", UnmountFlags::DETACH).during(Step::Pivot)?;
    fchdir(&prepared.root).during(Step::Pivot)?;

    let place = |name: &str, mode| directory(prepared.root.as_fd(), OsStr::new(name), mode);
    attach(&proc, place("proc", 0o755)?.as_fd()).during(at("/proc"))?;
    // From Linux 6.14 on each sandbox has a limit of its own, for all its users together. Before, the setting is the
    // machine's and writing is refused; what remains is the limit for each user. The kernel keeps 300 numbers back.
    let _ = std::fs::write("/proc/sys/kernel/pid_max", spec.processes.saturating_add(300).to_string());
    if let Some(number) = spec.world.last_process {
        let path = "/proc/sys/kernel/ns_last_pid";
        std::fs::write(path, number.to_string()).during(Step::Make(path.into()))?;
    }
    let nothing = new("tmpfs", &[("size", "4k"), ("mode", "555")], MountAttrFlags::MOUNT_ATTR_RDONLY);
    attach(&nothing.during(at("/sys"))?, place("sys", 0o755)?.as_fd()).during(at("/sys"))?;
    let size = spec.scratch.to_string();
    let scratch = |path: &str, to: BorrowedFd<'_>, mode: &str| {
        let tmpfs = new("tmpfs", &[("size", &size), ("mode", mode)], MountAttrFlags::empty());
        let tmpfs = tmpfs.during(at(path))?;
        attach(&tmpfs, to).during(at(path))?;
        Ok(tmpfs)
    };
    scratch("/tmp", place("tmp", 0o1777)?.as_fd(), "1777")?;
    let run = scratch("/run", place("run", 0o755)?.as_fd(), "755")?;
    directory(run.as_fd(), OsStr::new("lock"), 0o1777)?;
    // What other files of /proc say lies there too, and can be long where there are many processors.
    let size = if spec.files.is_empty() { "64k" } else { "16m" };
    let dev = new("tmpfs", &[("size", size), ("mode", "755")], MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let dev = dev.during(at("/dev"))?;
    attach(&dev, place("dev", 0o755)?.as_fd()).during(at("/dev"))?;
    hide(&proc, &dev)?;
    tell(&proc, &dev, &spec.files)?;
    devices(&dev, &prepared.devices)?;
    scratch("/dev/shm", directory(dev.as_fd(), OsStr::new("shm"), 0o1777)?.as_fd(), "1777")?;
    for (target, tree) in &prepared.binds {
        bind(prepared.root.as_fd(), target, tree)?;
    }
    Ok(())
}

/// Opens the directory `name`, made with `mode` if it is missing. A link there is an error.
fn directory(parent: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<OwnedFd, Failure> {
    let step = || Step::Make(Path::new("/").join(name));
    match mkdirat(parent, name, Mode::from_raw_mode(mode & 0o755)) {
        // The mode is set afterwards: the umask is 022.
        Ok(()) if mode & !0o755 != 0 => {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())
                .during(step())?;
        }
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).during(step()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).during(step())
}

fn file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Failure> {
    let step = || Step::Make(Path::new("/").join(name));
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(parent, name, create, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).during(step()),
    }
    openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).during(step())
}

fn devices(dev: &OwnedFd, nodes: &[(&str, OwnedFd)]) -> Result<(), Failure> {
    let at = |name: &str| Path::new("/dev").join(name);
    for (name, node) in nodes {
        let place = file(dev.as_fd(), OsStr::new(name))?;
        attach(node, place.as_fd()).during(Step::Mount(at(name)))?;
    }
    for (name, target) in DEVICE_LINKS {
        symlinkat(target, dev, name).during(Step::Make(at(name)))?;
    }
    let options = [("newinstance", ""), ("ptmxmode", "666"), ("mode", "620"), ("gid", "5")];
    let pts = new("devpts", &options, MountAttrFlags::MOUNT_ATTR_NOEXEC).during(Step::Mount(at("pts")))?;
    attach(&pts, directory(dev.as_fd(), OsStr::new("pts"), 0o755)?.as_fd()).during(Step::Mount(at("pts")))
}

/// Takes away what `/proc` tells about this machine, and all ways to change the kernel's settings.
fn hide(proc: &OwnedFd, dev: &OwnedFd) -> Result<(), Failure> {
    let still = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let at = |name: &str| Path::new("/proc").join(name);
    let open = |name: &str| {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(proc, name, flags, Mode::empty(), ResolveFlags::BENEATH)
    };
    if let Ok(place) = open("sys") {
        let same = clone(proc, Path::new("sys"), still)?;
        attach(&same, place.as_fd()).during(Step::Mount(at("sys")))?;
    }
    // One empty file serves for all. It lives on without a name.
    let name = OsStr::new("empty");
    drop(file(dev.as_fd(), name)?);
    for hidden in HIDDEN_FILES {
        if let Ok(place) = open(hidden) {
            let blank = clone(dev, Path::new(name), still)?;
            attach(&blank, place.as_fd()).during(Step::Mount(at(hidden)))?;
        }
    }
    rustix::fs::unlinkat(dev, name, rustix::fs::AtFlags::empty()).during(Step::Make("/dev/empty".into()))?;
    let empty = || new("tmpfs", &[("size", "4k"), ("mode", "555")], still);
    for name in HIDDEN_DIRS {
        if let Ok(place) = open(name) {
            let empty = empty().during(Step::Mount(at(name)))?;
            attach(&empty, place.as_fd()).during(Step::Mount(at(name)))?;
        }
    }
    Ok(())
}

/// Shows other texts instead of files of `/proc`.
fn tell(proc: &OwnedFd, dev: &OwnedFd, files: &[(String, String)]) -> Result<(), Failure> {
    let still = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    for (path, text) in files {
        let step = || Step::Mount(Path::new("/proc").join(path));
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = openat2(proc, path, flags, Mode::empty(), ResolveFlags::BENEATH).during(step())?;
        let name = OsStr::new("told");
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let new = openat(dev, name, create, Mode::from_raw_mode(0o444)).during(step())?;
        std::io::Write::write_all(&mut std::fs::File::from(new), text.as_bytes()).during(step())?;
        let told = clone(dev, Path::new(name), still)?;
        attach(&told, place.as_fd()).during(step())?;
        // It lives on without a name.
        rustix::fs::unlinkat(dev, name, rustix::fs::AtFlags::empty()).during(step())?;
    }
    Ok(())
}

/// Puts a mount at `target`, making the way to it.
fn bind(root: BorrowedFd<'_>, target: &Path, tree: &OwnedFd) -> Result<(), Failure> {
    let names: Vec<_> = target
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let Some((last, parents)) = names.split_last() else {
        return Err(Errno::INVAL).during(Step::Read);
    };
    let mut at = rustix::io::fcntl_dupfd_cloexec(root, 3).during(Step::Pivot)?;
    for name in parents {
        at = directory(at.as_fd(), name, 0o755)?;
    }
    let is_dir = rustix::fs::FileType::from_raw_mode(
        rustix::fs::fstat(tree).during(Step::Mount(target.into()))?.st_mode,
    ) == rustix::fs::FileType::Directory;
    let place = if is_dir { directory(at.as_fd(), last, 0o755)? } else { file(at.as_fd(), last)? };
    attach(tree, place.as_fd()).during(Step::Mount(target.into()))
}
