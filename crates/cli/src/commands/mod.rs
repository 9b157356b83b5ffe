//! One file for each subcommand: `Args`, what clap reads, and `run`, what is done.

use selfsame_build::host::{self, Host};

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::settings::Settings;
use crate::ui::Ui;

pub mod boot;
pub mod build;
pub mod check;
pub mod diff;
pub mod explain;
mod forms;
mod gc;
mod given;
pub mod init;
pub mod inspect;
pub mod lock;
pub mod normalise;
mod place;
mod plan;
pub mod recipe_dir;
mod remote;
pub mod report;
pub mod reproduce;
mod shell;
pub mod snapshot;
pub mod store;
mod store_check;
mod store_key;
mod store_pull;
mod store_push;
pub mod verify;
pub mod vm;

/// This very program, which becomes the first process of each sandbox.
pub const PROGRAM: &str = "/proc/self/exe";

/// What every command gets.
pub struct Context {
    /// The environment.
    pub settings: Settings,
    /// The user.
    pub ui: Ui,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}

impl Context {
    /// Gets the power to build. To be called while the process has one thread: before any progress is shown.
    ///
    /// Modes of files must not depend on the user's umask from here on: the sandbox's root is another user.
    pub fn host(&self) -> Result<Host, Failure> {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        Ok(host::enter()?)
    }
}
