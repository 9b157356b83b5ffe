//! Whether independent people rebuilt an image: their signed results, and the policy that says how many must have.
//!
//! [`Rebuild`] is what one rebuilder found, [`dsse::seal`] signs it, [`Tally`] counts what several say of one image by the
//! rules of a [`Policy`]. Bytes in, bytes out: no file, clock or network is touched, and nothing that is read is trusted.
//! Every input has a limit of size, and no input makes this crate panic.
#![forbid(unsafe_code)]

pub mod dsse;
mod json;
mod key;
mod link;
mod policy;
mod rebuild;
mod signed;
mod tally;

pub use json::Malformed;
pub use key::{BadKey, KeyId, PublicKey, SecretKey};
pub use policy::{OnBad, Operator, Policy, PolicyError, Wanted};
pub use rebuild::{Output, PREDICATE_TYPE, Rebuild, Verdict};
pub use signed::MAX_SIGNATURES;
pub use tally::{Decision, MAX_RESULTS, Outcome, Reason, Refusal, Tally, Vote};

/// The longest result that is read, in bytes: 1 MiB. One of a release has a few hundred bytes for each file.
pub const MAX_RESULT: usize = 1 << 20;
