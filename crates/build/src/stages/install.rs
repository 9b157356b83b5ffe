//! Install: all other packages, in apt's own order, by the image's own dpkg.

use crate::event::{Event, Stage};
use crate::lock::Step;
use crate::sandbox::Root;

use super::debs::PlainDebs;
use super::layers::{Layer, NewLayer};
use super::script;
use crate::execute::{BuildError, Builder};

/// Installs the packages of the lock's steps over `base`.
pub(crate) fn run(
    builder: &Builder<'_>,
    debs: &PlainDebs,
    base: &Layer,
    new: NewLayer,
) -> Result<Layer, BuildError> {
    let stage = Stage::Install;
    let steps = builder.lock.install.steps().unwrap_or_default();
    let amount = steps.iter().map(|step| match step {
        Step::Unpack(names) | Step::Configure(names) => names.len() as u64,
    });
    builder.observer.on(Event::Total { stage, amount: amount.sum() });
    let unpacked = steps.iter().filter_map(|step| match step {
        Step::Unpack(names) => Some(names.as_slice()),
        Step::Configure(_) => None,
    });
    let job = builder.job_with_debs(stage, &new, debs, unpacked.flatten().copied())?;
    let root = Root::Overlay {
        lowers: vec![base.files()],
        upper: new.files(),
        work: builder.overlay_work(stage, &new)?,
    };
    builder.runner().script(stage, root, &job, &script::install(&steps))?;
    Ok(new.commit()?)
}
