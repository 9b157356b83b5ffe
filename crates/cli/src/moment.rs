//! The moment of an image: from the environment, else the recipe, else the commit the recipe is at.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use selfsame_build::event::{Event, Observer, Warning};
use selfsame_build::recipe::Recipe;
use selfsame_image::Epoch;

use crate::failure::Failure;
use crate::settings::Settings;

/// Decides the epoch, and refuses one that lies in the future.
pub fn of(recipe: &Recipe, settings: &Settings, observer: &dyn Observer) -> Result<Epoch, Failure> {
    let now = SystemTime::now();
    if let Some(epoch) = settings.source_date_epoch(now)? {
        return Ok(epoch);
    }
    let epoch = match recipe.epoch {
        Some(epoch) => epoch,
        None => of_commit(&recipe.dir, observer)?,
    };
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if u64::from(epoch.0) > seconds {
        return Err(Failure::input(format!(
            "the image would be dated {}, which lies in the future",
            epoch.civil()
        ))
        .hint("an image cannot be dated after its build: set this machine's clock, or an earlier epoch"));
    }
    Ok(epoch)
}

/// The committer's time of the commit that `dir` is at. Git's own program is asked: it alone knows all its formats.
fn of_commit(dir: &Path, observer: &dyn Observer) -> Result<Epoch, Failure> {
    let unknown = |why: &str| {
        Failure::input(format!("the image has no date: {why}"))
            .hint("set `epoch` in the recipe's [image], or the environment variable SOURCE_DATE_EPOCH")
    };
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(dir).args(arguments).stdin(Stdio::null()).output();
        output.ok().filter(|output| output.status.success())
    };
    let time = git(&["log", "-1", "--format=%ct"])
        .ok_or_else(|| unknown("the recipe sets no epoch, and git finds no commit it belongs to"))?;
    let text = String::from_utf8_lossy(&time.stdout);
    let epoch = text.trim().parse().map(Epoch).map_err(|_| unknown("the commit's time is not understood"))?;
    if git(&["status", "--porcelain", "--", "."]).is_some_and(|status| !status.stdout.is_empty()) {
        observer.on(Event::Warning { warning: Warning::Uncommitted });
    }
    Ok(epoch)
}
