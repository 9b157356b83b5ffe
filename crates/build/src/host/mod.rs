//! What builds need of the machine they run on: privilege over a range of ids, mounts, and directory trees that
//! become [`Tree`](selfsame_image::Tree)s and back.
#![deny(unsafe_code)]

mod capture;
mod enter;
mod extract;
mod merge;
pub(crate) mod overlay;
mod populate;
mod remove;
pub(crate) mod subid;
pub(crate) mod sys;
mod xattr;

pub(crate) use capture::open_below;
pub use capture::{CaptureError, CaptureLimits, CaptureReason, DirContents, attributes, capture};
pub use enter::{Host, HostError, Problem, enter, interrupted};
pub use extract::{EntryKind, ExtractError, ExtractReason, Extractor, Placed};
pub use merge::capture_upper;
pub use overlay::{MountError, Mounted, overlay_mount};
pub use populate::{Directories, PopulateError, populate};
pub use remove::remove_tree;
pub use xattr::AttributeError;

/// How many user and group ids a build has: 0 to 65535.
pub const IDS: u32 = 65_536;

/// The distance between the ids inside an image and those its files have on this machine while it is built.
///
/// Only real root shifts: a build must not own files as the machine's own users. An unprivileged user already is in
/// a user namespace of its own, where the shift is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdShift(u32);

impl IdShift {
    /// The ids are the same inside and outside.
    pub const NONE: Self = Self(0);

    /// The range used by real root: 1610612736 to 1610678271. It is above what
    /// `useradd` gives out (up to 600100000) and at the far end of what systemd keeps for containers (524288 to
    /// 1879048191).
    pub const ROOT: Self = Self(0x6000_0000);

    /// Another range of those who can have more than one: for root the one behind [`IdShift::ROOT`] or that, else the same.
    #[must_use]
    pub fn other(self) -> Self {
        const NEXT: IdShift = IdShift(IdShift::ROOT.0 + IDS);
        match self {
            Self::NONE => Self::NONE,
            Self::ROOT => NEXT,
            _ => Self::ROOT,
        }
    }

    /// The first id outside.
    pub fn first(self) -> u32 {
        self.0
    }

    /// The id outside that stands for `id` inside; `None` unless `id` is below [`IDS`].
    pub fn outside(self, id: u32) -> Option<u32> {
        if id < IDS { self.0.checked_add(id) } else { None }
    }

    /// The id inside that `id` outside stands for; `None` if it is none of ours.
    pub fn inside(self, id: u32) -> Option<u32> {
        id.checked_sub(self.0).filter(|id| *id < IDS)
    }
}

/// Writes everything that is not yet on disk of the file system `path` is on: once, after a sandbox has filled a layer
/// that is to be kept.
///
/// # Errors
/// If `path` cannot be opened or the disk fails.
pub fn sync_file_system(path: &std::path::Path) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(std::fs::File::open(path)?)?)
}
