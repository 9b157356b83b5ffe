//! selfsame-build

pub mod host;
pub mod sandbox;
