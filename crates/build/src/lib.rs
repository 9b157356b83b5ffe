//! From recipe and lock to an image: plan, sandbox, stages, record.

pub mod blocks;
pub mod check;
pub mod event;
pub mod execute;
pub mod fetch;
pub mod forecast;
pub mod host;
pub mod inputs;
pub mod local;
pub mod lock;
pub mod nearest;
pub mod output;
pub mod plan;
pub mod pull;
pub mod recipe;
pub mod record;
pub mod resolve;
pub mod room;
pub mod sandbox;
pub mod snapshots;
pub mod stages;
pub mod tag;
pub mod time;
pub mod vm;
