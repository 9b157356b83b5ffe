//! Normalisers against the tests of strip-nondeterminism, and against the programs that read what they change.
#![allow(clippy::disallowed_methods, reason = "oracles work on files")]

mod pairs;
mod programs;

use std::sync::Arc;

use selfsame_image::Epoch;
use selfsame_image::normalise::{HANDLERS, Outcome, Rules, Times, normalise};

/// The time that strip-nondeterminism's tests set, 2015-02-05 18:09:31 UTC.
const EPOCH: u32 = 1_423_159_771;

/// What comes of a file. A second time nothing does.
fn run(name: &str, bytes: &[u8], all: bool) -> Option<Outcome> {
    let rules = Rules { times: Times { epoch: Epoch(EPOCH), all }, handlers: HANDLERS.iter().collect() };
    let known = |bytes: &[u8]| {
        normalise(name.as_bytes(), &Arc::new(bytes.to_vec()), &rules).map(|(_, outcome)| outcome)
    };
    let outcome = known(bytes);
    if let Some(Outcome::Changed { bytes, .. }) = &outcome {
        let again = known(bytes);
        assert!(again.as_ref().is_none_or(|again| *again == Outcome::Unchanged), "{name}: {again:?}");
    }
    outcome
}

/// The bytes of a file that changes.
#[track_caller]
fn changed(name: &str, bytes: &[u8]) -> Vec<u8> {
    match run(name, bytes, false) {
        Some(Outcome::Changed { bytes, .. }) => bytes,
        other => panic!("{name}: {other:?}"),
    }
}
