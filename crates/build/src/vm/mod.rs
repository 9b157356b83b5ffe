//! Building in a throw-away virtual machine: the same stages, behind a border that a kernel exploit does not cross, on a
//! clock and a processor that are what they pretend to be.
//!
//! There is no base system. The machine starts a kernel that the lock pins, with this very program as its first process,
//! and has four disks and nothing else: the locked packages and the recipe (read-only), memory on disk (a swap area), and
//! one for the outputs. It has no network device. It talks over a serial line, one JSON document a line
//! (`wire`). What it makes is its word, as that of any builder; where files go, and how large they are, is not.
//!
//! ```text
//! host                                        machine
//! mod.rs      disks, QEMU, events, outputs    guest/boot.rs   process 1: modules, disks, a root in memory
//! kernel.rs   kernel and modules of a .deb    guest/mod.rs    the build, its outputs, power off
//! kept/       machines that stay for more
//! initramfs.rs  this program and modules
//! ```
#![deny(unsafe_code)]

mod disks;
mod error;
mod guest;
mod initramfs;
mod kept;
mod kernel;
mod launch;
mod machine;
mod qemu;
mod wire;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use selfsame_image::Digest;

use crate::event::{Event, Stage};
use crate::execute::{BuildError, Builder, Built, Request, StageReport};
use crate::fetch;
use crate::local;
use crate::output::{self, OutputError};
use crate::room;

pub use disks::sweep;
pub use error::{MachineError, Refusal};
pub use guest::guest_main;
pub use kept::{Keep, KeepError, State, keeper_main, list, stop};
pub use launch::launch_main;
pub use machine::{Accel, Identity, Machine, Needs};

/// The first argument with which the program must call [`guest_main`]: as the first process of a machine.
pub const GUEST_ARGUMENT: &str = "__machine";
/// The first argument with which the program must call [`launch_main`], before it does anything else.
pub const LAUNCH_ARGUMENT: &str = "__launch";
/// The first argument with which the program must call [`keeper_main`], before it does anything else.
pub const KEEPER_ARGUMENT: &str = "__keep";

/// How many times the room that a build is guessed to take it may take in a machine. What it does not take is on no disk.
const SPARE: u64 = 4;
/// How long a machine may take until its first process runs, if there is something else to try, and if not.
const SHORT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(600);

/// Builds as [`crate::execute::build`], in a new machine that is gone afterwards.
pub(crate) fn build(request: &Request<'_>, machine: &Machine<'_>) -> Result<Built, BuildError> {
    // What is wrong with recipe and lock is told before a machine is started for it.
    let builder = Builder::new(request)?;
    let room = room::cold(&builder)?.saturating_mul(SPARE);
    let program = initramfs::Program::of(request.program).map_err(MachineError::Program)?;
    builder.stage(Stage::Fetch, request.lock.digest(), || {
        local::bring(&builder.local, request.lock, |_| true, request.store)?;
        fetch::packages(request.lock, |_| true, request.store, request.source, request.observer)?;
        Ok(((), false))
    })?;
    let kernel = kernel::of(request.store, request.lock)?;
    let boot = initramfs::Boot::new(&program, kernel);
    let setup = machine.setup(&boot);
    let identity = Machine::identity(request.lock, setup);
    let mut said = qemu::Said::default();
    let again = machine.keep.map(|keep| kept::find(request.store, &keep)).transpose();
    let (disks, answered) = match again.map_err(MachineError::from)?.flatten() {
        Some(kept) => again_in(kept, request, machine, setup, &identity, &mut said)?,
        None => {
            let scratch = request.store.scratch()?;
            let disks = disks::Disks::make(request, &scratch, &boot, machine, room)?;
            (machine.begins)(&identity, &machine.needs(room / SPARE));
            let answered = run(request, machine, &disks, (setup, &identity), &mut said);
            (disks, answered)
        }
    };
    // Whatever failed, the console may be all there is to see.
    let keep_log = || std::fs::write(machine.log, said.bytes());
    let (answer, kept) = match answered {
        Ok((answer, kept)) => (Ok(answer), kept),
        Err(error) => (Err(error), None),
    };
    let done = match answer {
        Ok(wire::Answer::Built(done)) => done,
        Ok(wire::Answer::Failed { package: true, .. }) => {
            disks.forget_packages();
            return Err(MachineError::Packages.into());
        }
        Ok(wire::Answer::Failed { refusal, .. }) => {
            kept.into_iter().for_each(qemu::Qemu::leave);
            let _ = keep_log();
            return Err(MachineError::Refused(refusal).into());
        }
        Err(BuildError::Interrupted) => return Err(BuildError::Interrupted),
        Err(error) => {
            let _ = keep_log();
            return Err(error);
        }
    };
    let built = collect(request, &disks, done);
    // Not before: the next build writes its outputs to the same disk.
    kept.into_iter().for_each(qemu::Qemu::leave);
    Ok(Built { builder: Some(identity), ..built? })
}

/// What a machine answered, and the machine if it is kept: nobody else builds in it before it is left.
type Answered = (wire::Answer, Option<qemu::Qemu>);

/// Runs the machine with the first of what can run it that starts.
fn run(
    request: &Request<'_>,
    machine: &Machine<'_>,
    disks: &disks::Disks,
    (setup, identity): (Digest, &Identity),
    said: &mut qemu::Said,
) -> Result<Answered, BuildError> {
    let mut last = None;
    for (at, accel) in machine.accel.iter().enumerate() {
        let arguments = machine.arguments(disks, *accel);
        let mut qemu = match &machine.keep {
            None => qemu::Qemu::start(request.program, &arguments)?,
            Some(keep) => {
                let new = kept::New {
                    arguments,
                    accel: *accel,
                    builder: identity.to_string(),
                    setup,
                    room: disks.room(),
                    packages: disks.packages(request.lock),
                    disks: [disks.task(), disks.outputs()],
                };
                let kept = kept::start(request.store, keep, request.program, new);
                qemu::Qemu::kept(kept.map_err(MachineError::from)?)
            }
        };
        *said = qemu.said();
        if qemu.starts(if at + 1 < machine.accel.len() { SHORT } else { LONG })? {
            // The machine has them open: now nothing is left of it on the disk, even if this process is killed.
            disks.unlink();
            (machine.ready)(*accel);
            return answer(request, qemu);
        }
        last = Some(qemu.ended_early());
    }
    // It may be the disk that outlives machines: the next one gets a new one.
    disks.forget_packages();
    Err(last.unwrap_or(MachineError::NoAccel).into())
}

/// Builds in a machine that is kept.
fn again_in(
    mut kept: kept::Kept,
    request: &Request<'_>,
    machine: &Machine<'_>,
    setup: Digest,
    identity: &Identity,
    said: &mut qemu::Said,
) -> Result<(disks::Disks, Result<Answered, BuildError>), BuildError> {
    if let Some(keep) = &machine.keep {
        kept.claim(keep, setup).map_err(MachineError::from)?;
    }
    let [task, outputs] = &kept.disks;
    let again = |file: &File| file.try_clone().map_err(|error| MachineError::from(KeepError::from(error)));
    let disks = disks::Disks::again(request, machine, [again(task)?, again(outputs)?], &kept.state)?;
    (machine.begins)(identity, &machine.needs(kept.state.room / SPARE));
    let accel = machine.accel.iter().find(|accel| accel.name() == kept.state.accel);
    let qemu = qemu::Qemu::kept(kept.begin().map_err(MachineError::from)?);
    *said = qemu.said();
    (machine.ready)(accel.copied().unwrap_or(Accel::Tcg));
    Ok((disks, answer(request, qemu)))
}

/// What the machine answers in the end.
fn answer(request: &Request<'_>, mut qemu: qemu::Qemu) -> Result<Answered, BuildError> {
    match listen(request, &mut qemu)? {
        // With a damaged disk nobody wants it.
        Some(answer @ wire::Answer::Failed { package: true, .. }) => Ok((answer, None)),
        Some(answer) => Ok((answer, qemu.is_kept().then_some(qemu))),
        None => Err(qemu.ended_early().into()),
    }
}

/// Passes on what the machine tells, until it has told how the build ended; `None` if it ended before. What it does then does
/// not matter any more: the outputs are on their disk.
fn listen(request: &Request<'_>, qemu: &mut qemu::Qemu) -> Result<Option<wire::Answer>, BuildError> {
    while let Some(message) = qemu.hear()? {
        match message {
            // It has begun once.
            wire::Message::Ready => {}
            // It was fetched here already.
            wire::Message::Event(
                Event::StageStarted { stage: Stage::Fetch, .. }
                | Event::StageFinished { stage: Stage::Fetch, .. },
            ) => {}
            wire::Message::Event(event) => request.observer.on(event),
            wire::Message::Answer(told) => return Ok(Some(told)),
        }
    }
    Ok(None)
}

/// Brings the outputs from their disk to where they shall be.
fn collect(request: &Request<'_>, disks: &disks::Disks, done: wire::Done) -> Result<Built, BuildError> {
    let (mut files, mut ours, mut end) = (Vec::new(), Vec::new(), 0);
    let fits = |file: &wire::Made, end: u64| {
        file.at >= end && file.at.checked_add(file.content.size).is_some_and(|end| end <= disks.room())
    };
    for file in &done.files {
        // Bytes that are there once are read once.
        if !fits(file, end) {
            return Err(MachineError::Files.into());
        }
        end = file.at + file.content.size;
    }
    let told = |stage: &wire::StageTold| [stage.start, stage.seconds];
    let times = done.stages.iter().flat_map(told).chain(done.beforehand.iter().flat_map(|(a, b)| [*a, *b]));
    let mut times = times;
    if !done.files.iter().map(|file| &file.name).eq(&request.recipe.file_names())
        || times.any(|seconds| !(0.0..1e7).contains(&seconds))
    {
        return Err(MachineError::Files.into());
    }
    for file in done.files {
        let content = file.content.into();
        if !request.store.contains(&file.content.sha256) {
            ours.push(file.content.sha256);
        }
        bring(request, disks, &file)?;
        files.push(output::File { name: file.name, content });
    }
    let lost = || OutputError::Gone { dir: request.out.to_owned() };
    let outputs = output::publish(request.store, &files, request.out, true)?.ok_or_else(lost)?;
    // What is remembered as an output is that of a build in the sandbox.
    for digest in &ours {
        request.store.remove(digest)?;
    }
    let stage = |told: wire::StageTold| StageReport {
        name: told.stage.name(),
        key: told.key,
        cached: told.cached,
        start: told.start,
        seconds: told.seconds,
    };
    Ok(Built {
        outputs,
        not_made: Vec::new(),
        stages: done.stages.into_iter().map(stage).collect(),
        compressed: done.compressed,
        beforehand: done.beforehand,
        builder: None,
    })
}

/// Brings one output into the store.
fn bring(request: &Request<'_>, disks: &disks::Disks, file: &wire::Made) -> Result<(), BuildError> {
    let read =
        |source: io::Error| MachineError::Disk { path: PathBuf::from("the disk of the outputs"), source };
    let mut disk = disks.outputs();
    disk.seek(SeekFrom::Start(file.at)).map_err(read)?;
    let mut body = disk.take(file.content.size);
    let mut writer = request.store.writer()?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match body.read(&mut buffer).map_err(read)? {
            0 => break,
            length => writer.append(&buffer[..length])?,
        }
    }
    writer.finish(Some(file.content.into()))?;
    Ok(())
}

/// The name of what has these digests, short enough to be told.
fn short(digest: Digest) -> String {
    digest.to_string()[..12].to_owned()
}
