//! qcow2 disk images, to be read: where everything is, for comparing.
//!
//! Source of the layout: `docs/interop/qcow2.txt` of QEMU.

mod extents;
mod guest;
mod layout;
mod read;

pub use extents::extents;
pub use read::{Corruption, Qcow2Error};
