//! From recipe and lock to an image: plan, sandbox, stages, record.

pub mod nearest;
pub mod recipe;
pub mod time;
