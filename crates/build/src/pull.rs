//! Pull: what a build of a recipe would take from a remote comes into the store, and nothing is built.

use selfsame_apt::fetch::Progress;
use selfsame_apt::remote::Pull;
use selfsame_image::tree::Content;

use crate::blocks;
use crate::event::{Event, Stage};
use crate::execute::{BuildError, Builder, Request};
use crate::host;
use crate::lock::{Lock, Role};
use crate::stages::debs::PlainDebs;
use crate::stages::warm;

/// The packages of `lock` that a build in the sandbox takes, each with its name and version.
pub fn packages(lock: &Lock) -> Vec<(String, Content)> {
    let named = |package: &crate::lock::Package| {
        (format!("{} {}", package.name, package.version), package.file.into())
    };
    lock.packages.iter().filter(|package| package.role != Role::Builder).map(named).collect()
}

/// Brings the packages of the lock into the store that `remote` has, and, if all are there, the compressed blocks of the
/// files in them. `request.source` is not asked.
///
/// # Errors
/// As [`crate::execute::build`]; what the remote does not have is none.
pub fn pull(request: &Request<'_>, remote: &Pull<'_>) -> Result<(), BuildError> {
    let result = run(&Request { remote: Some(remote), ..*request }, remote);
    if host::interrupted() { Err(BuildError::Interrupted) } else { result }
}

fn run(request: &Request<'_>, remote: &Pull<'_>) -> Result<(), BuildError> {
    let builder = Builder::new(request)?;
    let mut missing = packages(request.lock);
    // Bytes are looked at: a damaged blob is put aside by the store, and is missing then.
    missing.retain(|(_, content)| !matches!(request.store.open_verified(&content.digest), Ok(Some(_))));
    let stage = Stage::Fetch;
    builder.stage(stage, request.lock.digest(), || {
        let amount = missing.iter().map(|(_, content)| content.size).sum();
        builder.observer.on(Event::Total { stage, amount });
        remote.blobs(request.store, &missing, &Relay(request))?;
        Ok(((), false))
    })?;
    let there = |content: &Content| request.store.size(&content.digest) == Some(content.size);
    if !builder.packs_squashfs() || !missing.iter().all(|(_, content)| there(content)) {
        return Ok(());
    }
    let packages = builder.installed()?;
    let debs = builder.stage(Stage::Unpack, builder.plan.install(), || {
        builder.observer.on(Event::Total { stage: Stage::Unpack, amount: packages.len() as u64 });
        Ok((PlainDebs::new(&builder)?.and(&builder, &packages)?, false))
    })?;
    let (tree, _) = warm::promised(&builder, &debs, &packages)?;
    builder.blocks().prefetch(&tree, &builder.squashfs(), &host::interrupted);
    // A cache that cannot be tidied up is only larger.
    let _ = builder.store.cache_trim(blocks::LIMIT, None);
    Ok(())
}

/// Passes on how much came.
struct Relay<'a>(&'a Request<'a>);

impl Progress for Relay<'_> {
    fn advanced(&self, bytes: u64) {
        self.0.observer.on(Event::Advanced { stage: Stage::Fetch, amount: bytes });
    }

    fn stop(&self) -> bool {
        host::interrupted()
    }
}
