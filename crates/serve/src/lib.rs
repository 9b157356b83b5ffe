//! Snapshots over HTTP, as stock apt asks for them: `/<archive>/<serial>/dists/...` and `.../pool/...`.
//!
//! [`Catalogue`] knows what is at a path; [`run`] answers requests for it. Nothing can be written: there are `GET` and
//! `HEAD`, and a path is a key in a table that was made from signed files, never a name in the file system. The only crate
//! with async code: thousands of clients that wait cost nothing but their sockets.
#![forbid(unsafe_code)]

mod answer;
mod body;
mod catalogue;
mod range;
mod server;
mod site;
mod state;

pub use catalogue::{Catalogue, Upstream};
pub use range::{Part, part};
pub use server::{Access, Limits, Log, run};
pub use site::{Found, Look, Served, Site};
pub use state::{Offer, TagPart};
