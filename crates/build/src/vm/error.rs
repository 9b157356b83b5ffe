//! Why nothing could be built in a machine.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::Stage;
use crate::execute::BuildError;

use super::kept::KeepError;

/// How a build failed inside, in words: what the program would have told, had it run outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The exit status that tells of it.
    pub status: u8,
    /// The stage whose program failed, if that is what happened.
    pub stage: Option<Stage>,
    /// What went wrong.
    pub message: String,
    /// Why, the nearest reason first.
    pub causes: Vec<String>,
    /// What can be done about it.
    pub hints: Vec<String>,
}

/// Why nothing could be built in a machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The lock has no kernel.
    #[error("the lock pins no kernel that a virtual machine could start")]
    NoKernel,
    /// The lock has several kernels.
    #[error("the lock pins several kernels: {}", .0.join(", "))]
    Kernels(Vec<String>),
    /// The package of the kernel lacks something.
    #[error("the package {package} has no {part}")]
    Part {
        /// Name of the package.
        package: String,
        /// What is missing.
        part: String,
    },
    /// This program, or a library it needs, could not be read.
    #[error("cannot read this program, which is to be the machine's first process")]
    Program(#[source] io::Error),
    /// A disk could not be written or read.
    #[error("cannot prepare {}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A disk could not be made of the packages or the recipe.
    #[error("cannot make the disk {name}")]
    Image {
        /// Which.
        name: &'static str,
        /// What the writer said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing to run it with was given.
    #[error("nothing is given that could run the machine's processors")]
    NoAccel,
    /// QEMU is not there.
    #[error("{0} is not installed")]
    NoQemu(&'static str),
    /// QEMU could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Its name.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// QEMU ended before the build did.
    #[error("the virtual machine ended before the build did{}", words(.said))]
    Ended {
        /// What QEMU said.
        said: String,
    },
    /// What came over the line is no message.
    #[error("the virtual machine says what this program does not understand: {0:?}")]
    Nonsense(String),
    /// A package on the disk of packages was not what it should be.
    #[error("the disk with the packages was damaged, and is removed")]
    Packages,
    /// Other files than those of the recipe.
    #[error("the virtual machine gives other files than the recipe has outputs")]
    Files,
    /// A machine that is kept cannot be used.
    #[error(transparent)]
    Kept(#[from] KeepError),
    /// The build failed inside.
    #[error(transparent)]
    Refused(Refusal),
}

fn words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; QEMU says: {said}") }
}

impl From<MachineError> for BuildError {
    fn from(error: MachineError) -> Self {
        Self::Machine(Box::new(error))
    }
}
