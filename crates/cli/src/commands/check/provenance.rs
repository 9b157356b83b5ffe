//! What a check was of: who reads its report elsewhere has nothing else to go by.

use std::time::SystemTime;

use selfsame_build::execute::Request;
use selfsame_image::Epoch;
use serde::Serialize;

use crate::moment;

/// What was checked, when and by which program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Provenance {
    /// Name in the recipe.
    recipe: String,
    /// The commit that all of the recipe is of, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    /// The moment of the images.
    epoch: String,
    /// SHA-256 of the lock.
    lock: String,
    /// Version of this program.
    program: &'static str,
    /// When the check began.
    started: String,
}

impl Provenance {
    /// That of a check that began at `started`.
    pub(super) fn of(request: &Request<'_>, started: SystemTime) -> Self {
        let seconds = started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            recipe: request.recipe.name.clone(),
            commit: moment::witness(request.recipe).ok(),
            epoch: request.epoch.civil().to_string(),
            lock: request.lock.digest().to_string(),
            program: env!("CARGO_PKG_VERSION"),
            started: Epoch(seconds.try_into().unwrap_or(u32::MAX)).civil().to_string(),
        }
    }
}
