//! Running a package's own programs where they can do no harm and learn nothing of this machine.
//!
//! Four processes take part. The caller of [`Sandbox::run`] starts the *outer* child, which leaves all name spaces;
//! its child is process 1 of the new ones and builds the file system; and that one's child becomes the job. What each
//! guarantees is written in `docs/sandbox.md`.
#![deny(unsafe_code)]

mod child;
mod confine;
mod filter;
mod init;
mod lines;
mod memory;
mod mounts;
mod network;
mod pretend;
mod run;
mod terminal;
mod wire;
mod world;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use child::child_main;
pub use network::{Attempt, Intent};
pub use terminal::Terminal;
pub use wire::Step;
pub use world::{DirectoryOrder, World};

use crate::host::Host;

/// The first argument with which the program must call [`child_main`] before it does anything else.
pub const CHILD_ARGUMENT: &str = "__sandbox";

/// Starts jobs.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The program to execute with [`CHILD_ARGUMENT`]: usually `/proc/self/exe`.
    pub program: PathBuf,
    /// The power over ids and mounts this process has.
    pub host: Host,
    /// What programs see of the machine.
    pub world: World,
}

/// What the job sees as `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A directory, which the job changes in place.
    Dir(PathBuf),
    /// Layers; the job's changes go to `upper`.
    Overlay {
        /// Read-only layers, the topmost first; at least one.
        lowers: Vec<PathBuf>,
        /// The layer that takes the changes. Synced to disk by whoever keeps it, not by the sandbox.
        upper: PathBuf,
        /// An empty directory on the file system of `upper`.
        work: PathBuf,
    },
}

/// A file or directory of this machine the job may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The file or directory; only what is readable for everybody can be read in the sandbox.
    pub source: PathBuf,
    /// Absolute path for the job. Missing parts are made, on the file system that is there.
    pub target: PathBuf,
}

/// What a job may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time until it is ended.
    pub time: Duration,
    /// Bytes of output until it is ended.
    pub output: u64,
    /// Processes and threads at a time, per user of the image; in all, from Linux 6.14 on.
    pub processes: u32,
    /// Bytes of address space of each process; `None` is without limit.
    pub address_space: Option<u64>,
    /// Size of the largest file in bytes; `None` is without limit.
    pub file_size: Option<u64>,
    /// Bytes of memory each of `/tmp`, `/run` and `/dev/shm` may take.
    pub scratch: u64,
    /// The job is ended when the file system of [`Root`] has fewer bytes free; `None` is 256 MiB, or a 32nd of a disk on
    /// which that is less.
    pub keep_free: Option<u64>,
    /// The job is ended when the machine has fewer bytes of memory free, swap included; `None` is 256 MiB, or a 32nd of a
    /// memory of which that is less.
    pub keep_memory: Option<u64>,
}

impl Default for Limits {
    /// Two hours, 256 MiB of output, 4096 processes, 4 GiB of scratch space, some of the disk and of the memory kept free.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(2 * 60 * 60),
            output: 256 << 20,
            processes: 4096,
            address_space: None,
            file_size: None,
            scratch: 4 << 30,
            keep_free: None,
            keep_memory: None,
        }
    }
}

impl Limits {
    /// How many bytes of `disk` are kept free.
    fn kept_free(&self, disk: &rustix::fs::StatVfs) -> u64 {
        let part = disk.f_blocks.saturating_mul(disk.f_frsize) / 32;
        self.keep_free.unwrap_or(part.min(256 << 20))
    }
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What it sees as `/`.
    pub root: Root,
    /// The program and its arguments. A program without slash is looked for in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Absolute path of the directory it starts in.
    pub cwd: PathBuf,
    /// Its standard input.
    pub stdin: Vec<u8>,
    /// Files and directories of this machine it may read.
    pub binds: Vec<Bind>,
    /// What it may use up.
    pub limits: Limits,
}

impl Job {
    /// A job that runs `argv` in `root` from `/`, with no environment and no input.
    pub fn new(root: Root, argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            root,
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: "/".into(),
            stdin: Vec::new(),
            binds: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Where a line of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this exit status.
    Exited(u8),
    /// By this signal.
    Signalled(u8),
    /// It was ended after [`Limits::time`].
    Time,
    /// It was ended after [`Limits::output`].
    Output,
    /// It was ended because of [`Limits::keep_free`].
    Disk,
    /// It was ended because of [`Limits::keep_memory`], or failed when the kernel had to kill a process for memory.
    Memory,
    /// It was ended because the user asked for it.
    Interrupted,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub status: Status,
    /// What it tried to reach over a network, without success. At most [`Exit::MOST_ATTEMPTS`] different ones.
    pub network_attempts: Vec<Attempt>,
    /// Names of processes that were still there when the job had ended. They were killed.
    pub leftovers: Vec<String>,
    /// The last lines of output, at most [`Exit::TAIL`], each cut at 1000 bytes. What is not UTF-8 is replaced.
    pub tail: Vec<String>,
    /// Bytes of output.
    pub output_bytes: u64,
}

impl Exit {
    /// How many lines [`Exit::tail`] has at most.
    pub const TAIL: usize = 40;
    /// How many entries [`Exit::network_attempts`] has at most.
    pub const MOST_ATTEMPTS: usize = 64;

    /// True if the job ended with exit status 0.
    pub fn success(&self) -> bool {
        self.status == Status::Exited(0)
    }
}

/// Why a job could not be run, or its end not be learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The job makes no sense.
    #[error("a job needs {0}")]
    Job(&'static str),
    /// The outer child could not be started.
    #[error("cannot start {}", program.display())]
    Spawn {
        /// [`Sandbox::program`].
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The new user namespace could not be given its ids.
    #[error("cannot write {file} of the sandbox")]
    Map {
        /// `uid_map` or `gid_map`.
        file: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A step of setting up failed inside.
    #[error("cannot {step} in the sandbox")]
    Setup {
        /// The step.
        step: Step,
        /// What the kernel said.
        source: io::Error,
    },
    /// The processes of the sandbox went away without a word: killed from outside, or out of memory.
    #[error("the sandbox ended without reporting how")]
    Lost {
        /// The last lines of output, as in [`Exit::tail`].
        tail: Vec<String>,
    },
    /// Talking to the processes of the sandbox failed.
    #[error("cannot talk to the sandbox")]
    Talk(#[source] io::Error),
}
