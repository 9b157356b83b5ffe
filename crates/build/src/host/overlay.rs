//! Overlays: directory layers merged by the kernel.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use super::Host;

/// Why an overlay could not be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// A directory could not be opened.
    #[error("cannot open the directory {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// More layers than a page of mount options names.
    #[error("an overlay of {0} layers is more than the kernel takes")]
    Layers(usize),
    /// The kernel refused the mount.
    #[error("cannot mount an overlay of {layers} layers at {}", at.display())]
    Mount {
        /// The mount point.
        at: PathBuf,
        /// Number of layers, the upper included.
        layers: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// What an earlier overlay left in the work directory could not be removed.
    #[error("cannot clean the work directory {}", path.display())]
    Work {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Layers and how they are merged.
#[derive(Clone, Debug)]
pub(crate) struct Overlay<'a> {
    /// Read-only layers, the topmost first.
    pub lowers: Vec<&'a Path>,
    /// The layer that takes changes and the work directory beside it.
    pub upper: Option<(&'a Path, &'a Path)>,
    /// True in a user namespace.
    pub user_namespace: bool,
}

impl Overlay<'_> {
    /// Mounts at `at`, which may be one of the layers: they are opened before.
    ///
    /// The options are set in full, so that neither the kernel's build nor its module parameters choose. `index` and
    /// `redirect_dir` write marks that tie layers to this machine, and are not available to all users. `volatile`
    /// leaves out the sync of the whole file system at the end; whoever keeps the upper layer syncs it.
    pub(crate) fn mount(&self, at: &Path) -> Result<(), MountError> {
        let open = |path: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|error| MountError::Open { path: path.into(), source: error.into() })
        };
        let layers = self.lowers.len() + usize::from(self.upper.is_some());
        let lowers = self.lowers.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
        // Paths through /proc need no escaping, and hundreds of them fit the page that mount(2) takes.
        let name = |fd: &dyn AsRawFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
        let list = lowers.iter().map(|fd| name(fd)).collect::<Vec<_>>().join(":");
        let mut options = format!("lowerdir={list},redirect_dir=nofollow,index=off,metacopy=off,xino=off");
        let mut held = Vec::new();
        if let Some((upper, work)) = self.upper {
            clean_work(work)?;
            let (upper, work) = (open(upper)?, open(work)?);
            options += &format!(",upperdir={},workdir={},volatile", name(&upper), name(&work));
            held.extend([upper, work]);
        }
        if self.user_namespace {
            options += ",userxattr";
        }
        if options.len() >= 4096 {
            return Err(MountError::Layers(layers));
        }
        let options = std::ffi::CString::new(options).expect("options are numbers and names");
        mount("overlay", at, "overlay", MountFlags::NODEV, Some(options.as_c_str()))
            .map_err(|error| MountError::Mount { at: at.into(), layers, source: error.into() })
    }
}

/// Removes what an overlay left in its work directory. After `volatile` it would refuse the directory.
pub(crate) fn clean_work(work: &Path) -> Result<(), MountError> {
    match super::remove_tree(&work.join("work")) {
        Err(error) => Err(MountError::Work { path: work.into(), source: error }),
        Ok(()) => Ok(()),
    }
}

/// Layers mounted at a directory of this process, until dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    work: Option<PathBuf>,
}

impl Mounted {
    /// Where the merged tree is.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A descriptor left open keeps a detached mount alive just as long as it is needed.
        let _ = unmount(&self.at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        if let Some(work) = &self.work {
            let _ = clean_work(work);
        }
    }
}

/// Mounts the merged view of layers at the directory `at`. Only this process and its children see it.
///
/// `lowers` are read-only, the topmost first. `upper` is the layer that takes changes, with an empty directory on
/// the same file system that the kernel works in; without it the view is read-only.
///
/// # Errors
/// As [`MountError`] says. At most about 240 layers are possible.
pub fn overlay_mount(
    host: &Host,
    lowers: &[&Path],
    upper: Option<(&Path, &Path)>,
    at: &Path,
) -> Result<Mounted, MountError> {
    match (lowers, upper) {
        // The kernel merges nothing less than two.
        ([only], None) => mount_bind(*only, at).map_err(|error| MountError::Mount {
            at: at.into(),
            layers: 1,
            source: error.into(),
        })?,
        _ => Overlay { lowers: lowers.to_vec(), upper, user_namespace: host.user_namespace }.mount(at)?,
    }
    Ok(Mounted { at: at.into(), work: upper.map(|(_, work)| work.into()) })
}
