//! selfsame-apt

pub mod fetch;
pub mod mirrors;
