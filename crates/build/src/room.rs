//! How much room a build takes, for when there is too little.

use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::execute::{BuildError, Builder, Request};
use crate::lock::Package;
use crate::recipe::Output;
use crate::sandbox::Status;
use crate::stages::JobError;

/// What a byte of a package takes in the store while a build runs, in tenths: unpacked, to be installed.
/// These and the next ones are measured with `examples/tiny` and `examples/live`, and rounded up.
const PLAIN: u64 = 40;
/// As a part of a layer.
const LAYER: u64 = 40;
/// As compressed blocks, and again as a part of a compressed image.
const COMPRESSED: u64 = 13;
/// As a part of a plain image.
const TAR: u64 = 50;
/// The least that is said to be missing: something did not fit, whatever the guess says.
const LEAST: u64 = 64 << 20;

/// What is missing to build what `request` says, and what is free in its store now: bytes, the first one a guess that goes
/// by the lengths of the packages and by what is done already.
pub(crate) fn missing(request: &Request<'_>) -> (u64, u64) {
    let needed = Builder::new(request).and_then(|builder| still_needed(&builder, request.out)).unwrap_or(0);
    let free = rustix::fs::statvfs(request.store.root())
        .map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    (needed.saturating_sub(free).max(LEAST), free)
}

/// What the rest of a build takes at its height.
fn still_needed(builder: &Builder<'_>, out: &Path) -> Result<u64, BuildError> {
    let length = |packages: &[&Package]| packages.iter().map(|package| package.file.size).sum::<u64>();
    let (all, to_unpack) = (builder.installed()?, builder.to_unpack()?.concat());
    let lacks = |package: &&Package| builder.store.size(&package.file.sha256).is_none();
    let to_fetch: Vec<&Package> = builder.lock.packages.iter().filter(lacks).collect();
    let image: u64 = builder.plan.outputs.iter().map(|(output, _)| in_image(*output)).sum();
    // An output is copied to where it is wanted, which may be the same disk.
    let copies = if same_disk(builder.store.root(), out) { 2 } else { 1 };
    let tenths = length(&to_unpack) * (PLAIN + LAYER) + length(&all) * (COMPRESSED + copies * image);
    Ok(length(&to_fetch) + tenths / 10)
}

/// What a build takes at its height that finds nothing but itself, and keeps what it makes in a file system of its own.
pub(crate) fn cold(builder: &Builder<'_>) -> Result<u64, BuildError> {
    let length = |packages: &[&Package]| packages.iter().map(|package| package.file.size).sum::<u64>();
    let all: Vec<&Package> = builder.lock.packages.iter().collect();
    let image: u64 = builder.plan.outputs.iter().map(|(output, _)| in_image(*output)).sum();
    let tenths = length(&builder.installed()?) * (PLAIN + LAYER + COMPRESSED + image);
    Ok(LEAST + length(&all) + tenths / 10)
}

/// What a byte of a package takes in an output, in tenths.
fn in_image(output: Output) -> u64 {
    match output {
        Output::Squashfs | Output::Iso => COMPRESSED,
        Output::Tar => TAR,
    }
}

fn same_disk(store: &Path, out: &Path) -> bool {
    let disk = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    // A directory that is not there yet will be made in the first one above it that is.
    disk(store) == out.ancestors().find_map(disk)
}

/// Whether `error` comes of a disk of the store without room. Outputs may lie on another one.
pub(crate) fn is_cause(error: &BuildError, request: &Request<'_>) -> bool {
    match error {
        BuildError::Output(_) => same_disk(request.store.root(), request.out) && disk_is_full(error),
        BuildError::Job(JobError::Failed { status: Status::Disk, .. }) => true,
        error => disk_is_full(error),
    }
}

/// Whether `error` comes from a disk, or a quota of it, that has no room left.
pub fn disk_is_full(error: &(dyn Error + 'static)) -> bool {
    let full =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(full) {
            return true;
        }
        cause = error.source();
    }
    false
}
