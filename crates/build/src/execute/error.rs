//! Why an image could not be built.

use std::io;
use std::path::PathBuf;

use selfsame_apt::fetch::FetchError;
use selfsame_store::StoreError;

use crate::event::Stage;
use crate::host::MountError;
use crate::local::LocalError;
use crate::output::OutputError;
use crate::recipe::FilesError;
use crate::stages::{self, JobError, LayerError};
use crate::vm::MachineError;

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The lock answers another recipe.
    #[error("the lock is stale: {}", changes.join("; "))]
    Stale {
        /// What differs, one phrase each.
        changes: Vec<String>,
    },
    /// The lock does not fit together.
    #[error("the lock names {0}, which it does not pin")]
    Lock(String),
    /// Files of the recipe could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A package could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A package of the recipe could not be had.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stage's result could not be kept.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A program in the sandbox failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Layers could not be merged.
    #[error("stage {stage}: layers cannot be merged")]
    Overlay {
        /// The stage.
        stage: Stage,
        /// Why not.
        source: MountError,
    },
    /// A directory for a stage could not be made.
    #[error("stage {stage}: cannot prepare {}", path.display())]
    Prepare {
        /// The stage.
        stage: Stage,
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process removed the result of a stage meanwhile.
    #[error("stage {stage}: its result was removed from the store while the build ran; run it again")]
    Gone {
        /// The stage.
        stage: Stage,
    },
    /// A build shall stop after a stage that it does not have.
    #[error("the recipe has no output that boots, so there is no stage {0} to stop after")]
    NoStage(Stage),
    /// A bootable image without a kernel.
    #[error("no kernel is installed: add the package linux-image-amd64")]
    NoKernel,
    /// A bootable image without a way to make an initramfs.
    #[error("no mkinitramfs is installed: add the package live-boot or initramfs-tools")]
    NoGenerator,
    /// A package could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] stages::UnpackError),
    /// The generated initramfs could not be read or packed.
    #[error("stage initramfs: cannot read or write the initramfs")]
    Initramfs {
        /// What the system said.
        source: io::Error,
    },
    /// The generated initramfs is not one.
    #[error("stage initramfs: what mkinitramfs wrote is no initramfs")]
    Repack(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The finished file system could not be captured.
    #[error("stage finalise: cannot capture the file system")]
    Capture(#[from] crate::host::CaptureError),
    /// An image could not be written.
    #[error("stage {stage}: cannot write the image")]
    Write {
        /// The stage.
        stage: Stage,
        /// What the writer said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file needed for booting is not in the packages.
    #[error("stage assemble: {0} is in no package of the lock")]
    BootFile(String),
    /// The disk of the store is full.
    #[error("the disk of the store {} is full: about {missing} more bytes are needed, {free} are free", store.display())]
    Room {
        /// Where the store is.
        store: PathBuf,
        /// Bytes that are missing, estimated from the sizes of the packages and from what is built already.
        missing: u64,
        /// Bytes that are free now that what was unfinished is removed.
        free: u64,
        /// What failed.
        source: Box<BuildError>,
    },
    /// The outputs could not be put in place.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The virtual machine failed, or the build inside it.
    #[error(transparent)]
    Machine(Box<MachineError>),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl BuildError {
    /// The stage in which a program of the image failed, if that is what happened.
    pub fn failed_program(&self) -> Option<Stage> {
        match self {
            Self::Job(error @ (JobError::Failed { .. } | JobError::Network { .. })) => Some(error.stage()),
            Self::Machine(error) => match &**error {
                MachineError::Refused(refusal) => refusal.stage,
                _ => None,
            },
            _ => None,
        }
    }
}
