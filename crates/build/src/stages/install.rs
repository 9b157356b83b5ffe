//! Install: all other packages, group by group, in apt's own order, by the image's own dpkg.

use crate::event::Stage;
use crate::lock::Group;
use crate::sandbox::Root;

use super::debs::PlainDebs;
use super::layers::{Layer, NewLayer};
use super::script;
use crate::execute::{BuildError, Builder};

/// Installs the packages of `group` over `lowers`, the topmost first.
pub(crate) fn run(
    builder: &Builder<'_>,
    debs: &PlainDebs,
    group: &Group,
    lowers: &[Layer],
    new: NewLayer,
) -> Result<Layer, BuildError> {
    let stage = Stage::Install;
    let job = builder.job_with_debs(stage, &new, debs, group.names())?;
    let root = Root::Overlay {
        lowers: lowers.iter().map(Layer::files).collect(),
        upper: new.files(),
        work: builder.overlay_work(stage, &new)?,
    };
    let steps = group.parsed().unwrap_or_default();
    builder.runner().script(stage, root, &job, &script::install(&steps))?;
    Ok(new.commit()?)
}
