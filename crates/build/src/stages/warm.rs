//! Compressing beforehand: while maintainer scripts keep one processor busy, the others compress the files that are
//! known from the packages, so that packing finds most blocks in the cache.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use selfsame_image::io::ReadAt;
use selfsame_image::squashfs;
use selfsame_image::tree::{Content, Contents, Layered, Memory};

use super::debs::PlainDebs;
use super::finalise::finalise;
use crate::execute::Builder;
use crate::lock::Package;

/// How much less than anything else this work counts for the scheduler.
const NICE: i32 = 19;

/// Compresses what `debs` hold of `packages` until it is done or `stop` is set.
///
/// Nothing depends on it but time, so what goes wrong here is left to whoever does the same work later.
pub(crate) fn run(builder: &Builder<'_>, debs: &PlainDebs, packages: &[&Package], stop: &AtomicBool) {
    be_nice();
    let Ok((mut tree, contents)) = debs.tree(packages) else { return };
    let mut memory = Memory::new();
    finalise(&mut tree, &mut memory, &builder.recipe.exclude, builder.epoch());
    let contents = Stoppable { inner: Layered(memory, contents), stop };
    let blocks = builder.blocks();
    let options = squashfs::Options { cache: Some(&blocks), ..builder.squashfs() };
    let jobs = NonZero::new(builder.jobs.get() - 1).unwrap_or(NonZero::<usize>::MIN);
    let _ = squashfs::warm(&tree, &contents, &options, jobs);
}

/// Lets everything else go first. Threads started from here on inherit it.
pub(crate) fn be_nice() {
    // Of the calling thread only, on Linux. What cannot be lowered stays.
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// Contents that cannot be had any more once `stop` is set.
struct Stoppable<'a, C> {
    inner: C,
    stop: &'a AtomicBool,
}

impl<C: Contents> Contents for Stoppable<'_, C> {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        if self.stop.load(Ordering::Relaxed) || crate::host::interrupted() {
            return Err(io::Error::other("stopped"));
        }
        self.inner.open(content)
    }
}
