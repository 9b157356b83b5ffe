//! The stages of a build. `execute` runs them in order; each file is one stage or one thing they share.

pub(crate) mod assemble;
pub(crate) mod bootstrap;
pub(crate) mod collect;
pub(crate) mod customise;
pub(crate) mod debs;
pub(crate) mod finalise;
mod frame;
pub(crate) mod initramfs;
pub(crate) mod install;
pub(crate) mod job;
pub(crate) mod layers;
mod menu;
pub(crate) mod pack;
pub(crate) mod script;
pub(crate) mod settings;
mod sweep;
pub(crate) mod unpack;
pub(crate) mod warm;

pub use finalise::{Done, EMPTIED, REMOVED};
pub use job::JobError;
pub use layers::LayerError;
pub use sweep::{Unused, Why, sweep};
pub use unpack::UnpackError;
