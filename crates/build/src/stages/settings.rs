//! Settings: host name, locale, time zone. A stage of its own, because a locale takes seconds to make and an overlay
//! changes often.

use crate::event::Stage;
use crate::execute::{BuildError, Builder};
use crate::sandbox::Root;

use super::layers::{Layer, NewLayer};
use super::script;

/// Applies the recipe's settings over `lowers`, the topmost first.
pub(crate) fn run(builder: &Builder<'_>, lowers: &[Layer], new: NewLayer) -> Result<Layer, BuildError> {
    let stage = Stage::Settings;
    let root = Root::Overlay {
        lowers: lowers.iter().map(Layer::files).collect(),
        upper: new.files(),
        work: builder.overlay_work(stage, &new)?,
    };
    let job = builder.job(stage, &new)?;
    builder.runner().script(stage, root, &job, &script::settings(&builder.recipe.system))?;
    Ok(new.commit()?)
}
