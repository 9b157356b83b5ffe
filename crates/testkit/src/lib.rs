//! Helpers for tests: reference programs, hermetic runs of the program, virtual machines, leak checks, chance, power cuts.
//!
//! A development dependency only; it may panic, read the environment and start programs, which no other library may.
#![forbid(unsafe_code)]

pub mod apt;
pub mod archive;
pub mod chance;
pub mod environment;
pub mod leaks;
pub mod oracle;
pub mod powercut;
pub mod readme;
pub mod service;
pub mod vm;

pub use apt::Apt;
pub use chance::{Numbers, number};
pub use environment::{Run, TestEnvironment, scratch};
pub use oracle::{is_root, may_skip, oracle, oracle_text, skip, traces, which};
pub use service::Service;
pub use tempfile;
pub use vm::Vm;
