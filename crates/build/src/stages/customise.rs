//! Customise: overlay, users and hooks of the recipe.

use crate::event::Stage;
use crate::execute::{BuildError, Builder};
use crate::host;
use crate::sandbox::Root;

use super::layers::{Layer, NewLayer};
use super::{script, unpack};

/// Applies what the recipe asks for over `lowers`, the topmost first.
pub(crate) fn run(builder: &Builder<'_>, lowers: &[Layer], new: NewLayer) -> Result<Layer, BuildError> {
    let stage = Stage::Customise;
    let lowers: Vec<_> = lowers.iter().map(Layer::files).collect();
    let root = || -> Result<Root, BuildError> {
        Ok(Root::Overlay {
            lowers: lowers.clone(),
            upper: new.files(),
            work: builder.overlay_work(stage, &new)?,
        })
    };
    let automatic: Vec<(String, String)> = builder
        .lock
        .install
        .automatic
        .iter()
        .filter_map(|name| builder.lock.image_package(name))
        .map(|package| {
            let native = &builder.lock.request.architecture;
            let architecture = if package.architecture == "all" { native } else { &package.architecture };
            (package.name.clone(), architecture.clone())
        })
        .collect();
    {
        let work = builder.overlay_work(stage, &new)?;
        let at = builder.scratch(stage, &new, "merged")?;
        let below: Vec<_> = lowers.iter().map(|path| path.as_path()).collect();
        let merged = host::overlay_mount(builder.host, &below, Some((&new.files(), &work)), &at)
            .map_err(|source| BuildError::Overlay { stage, source })?;
        let mut root = unpack::Root::open(merged.path(), builder.shift())?;
        root.file("var/lib/apt/extended_states", script::extended_states(&automatic).as_bytes(), 0o644)?;
        if let Some(overlay) = &builder.overlay {
            root.overlay(overlay)?;
        }
        root.finish()?;
    }
    let job = builder.job(stage, &new)?;
    if !builder.recipe.system.users.is_empty() {
        builder.runner().script(stage, root()?, &job, &script::users(&builder.recipe.system))?;
    }
    for (index, (path, bytes)) in builder.hooks.iter().enumerate() {
        let inside = format!("hooks/{index:02}");
        let name = path.display().to_string();
        job.write(&inside, bytes, 0o755).map_err(|source| super::job::JobError::Files {
            stage,
            path: path.clone(),
            source,
        })?;
        builder.runner().hook(stage, root()?, &job, &name, &format!("{}/{inside}", script::JOB))?;
    }
    Ok(new.commit()?)
}
