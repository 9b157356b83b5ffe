//! A shell in the image as it is after a stage, over a layer that is thrown away.

use std::ffi::OsString;
use std::path::PathBuf;

use selfsame_image::Digest;

use super::{BuildError, Builder, Request, build};
use crate::event::Stage;
use crate::sandbox::{Exit, Root, SandboxError, Stream, Terminal};
use crate::stages::JobError;
use crate::stages::layers::{self, Layer, NewLayer};

/// Stages after which there is something to look at.
pub const AFTER: [Stage; 4] = [Stage::Bootstrap, Stage::Install, Stage::Settings, Stage::Customise];

/// The image's own login shell, the comfortable one if it is there.
const SHELL: &str = "[ -x /bin/bash ] && exec /bin/bash -l; exec /bin/sh -l";

/// With whom the shell speaks.
pub enum Console<'a> {
    /// With the user, whose kind of terminal has this name.
    Terminal(Terminal<'a>, OsString),
    /// With nobody: it runs these commands, and hands on each line they print, without its newline.
    Commands(Vec<u8>, &'a mut dyn FnMut(Stream, &[u8])),
}

/// Runs the stages of `request` up to `stage`, one of [`AFTER`], and then a shell in the sandbox, with the environment that
/// programs of packages have. `ready` is called in between. What the shell changes is gone when this returns.
///
/// # Errors
/// As [`build`]. That the shell failed is none: see [`Exit`].
pub fn shell(
    request: &Request<'_>,
    stage: Stage,
    ready: impl FnOnce(),
    console: Console<'_>,
) -> Result<Exit, BuildError> {
    build(&Request { until: Some(stage), ..*request })?;
    let result = run(request, stage, ready, console);
    if crate::host::interrupted() { Err(BuildError::Interrupted) } else { result }
}

fn run(
    request: &Request<'_>,
    stage: Stage,
    ready: impl FnOnce(),
    console: Console<'_>,
) -> Result<Exit, BuildError> {
    let builder = Builder::new(request)?;
    let mut held: Vec<Layer> = Vec::new();
    for (of, key) in builder.layer_keys().into_iter().filter(|(of, _)| *of <= stage) {
        let gone = || Err(BuildError::Gone { stage: of });
        let place = builder.place(of, key, held.last());
        let layer = layers::obtain(&place, true, || builder.waits(of), gone)?.0;
        held.push(layer);
    }
    // The topmost first.
    let lowers: Vec<PathBuf> = held.iter().rev().map(Layer::files).collect();
    // A name that no stage has and no other shell; whatever is left of it when this process is killed is swept as
    // that of a stopped build.
    let name = Digest::of(layers::random().map_err(BuildError::from)?.as_bytes());
    let new = NewLayer::create(&builder.place(stage, name, None))?;
    let root = Root::Overlay { lowers, upper: new.files(), work: builder.overlay_work(stage, &new)? };
    let dir = builder.job(stage, &new)?;
    let argv = ["/bin/sh", "-c", SHELL].map(OsString::from).to_vec();
    let mut job = builder.runner().job(root, &dir, argv);
    let failed = |source: SandboxError| BuildError::Job(JobError::Sandbox { stage, source });
    ready();
    match console {
        Console::Terminal(terminal, kind) => {
            job.env.retain(|(name, _)| name != "TERM");
            job.env.push(("TERM".into(), kind));
            // Whoever sits there decides how long it takes.
            job.limits.time = std::time::Duration::MAX;
            builder.sandbox.run_on(&job, terminal).map_err(failed)
        }
        Console::Commands(commands, on_line) => {
            job.stdin = commands;
            builder.sandbox.run(&job, on_line).map_err(failed)
        }
    }
}
