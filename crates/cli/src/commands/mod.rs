//! One file for each subcommand: `Args`, what clap reads, and `run`, what is done.

use crate::interrupt::Interrupt;
use crate::settings::Settings;
use crate::ui::Ui;

pub mod boot;
pub mod build;
pub mod init;
pub mod inspect;
pub mod lock;
pub mod recipe_dir;
pub mod store;

/// What every command gets.
pub struct Context {
    /// The environment.
    pub settings: Settings,
    /// The user.
    pub ui: Ui,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}
