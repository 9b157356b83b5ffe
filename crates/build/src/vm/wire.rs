//! What the machine is told, as a file on its disk, and what it tells, line by line.

use selfsame_image::Digest;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Stage};
use crate::lock::{Blob, hex};
use crate::sandbox::World;

use super::error::Refusal;

/// What is said into a machine that is kept, when its disks hold something new to build.
pub(super) const AGAIN: &str = "again";

/// What to build, beside the recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    /// The moment of the image, in seconds since 1970.
    pub(super) epoch: u32,
    /// How many threads work at a time.
    pub(super) jobs: u32,
    /// How many bytes the file system in memory may take.
    pub(super) room: u64,
    /// Whether files have the other range of ids while the image is made.
    pub(super) other_ids: bool,
    /// How many builds ended in the machine before this one.
    pub(super) build: u32,
    /// Whether it waits for something else to build when it has answered.
    pub(super) keep: bool,
    /// What programs see of the machine, as far as it is not what it is.
    pub(super) world: World,
}

/// What the machine tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// It has found its disks.
    Ready,
    /// Something happened in the build.
    Event(Event),
    /// The build ended; nothing follows.
    Answer(Answer),
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Well.
    Built(Done),
    /// Not well.
    Failed {
        /// Why.
        refusal: Refusal,
        /// Whether a package on the disk was not what the lock says.
        package: bool,
    },
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// The files, in their order.
    pub(super) files: Vec<Made>,
    /// As [`crate::execute::Built::stages`].
    pub(super) stages: Vec<StageTold>,
    /// As [`crate::execute::Built::compressed`].
    pub(super) compressed: u64,
    /// As [`crate::execute::Built::beforehand`].
    pub(super) beforehand: Option<(f64, f64)>,
}

/// A file on the disk of the outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Its name.
    pub(super) name: String,
    /// Its first byte on the disk.
    pub(super) at: u64,
    /// Its length and SHA-256.
    pub(super) content: Blob,
}

/// How a stage went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StageTold {
    pub(super) stage: Stage,
    #[serde(with = "hex")]
    pub(super) key: Digest,
    pub(super) cached: bool,
    pub(super) start: f64,
    pub(super) seconds: f64,
}
