//! Helpers for tests: they may panic, and nothing of them is in the program.

pub mod archive;
