//! Compressing beforehand: while maintainer scripts keep one processor busy, the others compress the files that are
//! known from the packages, so that packing finds most blocks in the cache.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use selfsame_image::io::ReadAt;
use selfsame_image::tree::{Content, Contents, Layered, Memory};
use selfsame_image::{Tree, squashfs};

use super::debs::{DebContents, PlainDebs};
use super::finalise::finalise;
use super::unpack::UnpackError;
use crate::execute::Builder;
use crate::lock::Package;

/// How much less work counts for the scheduler than other work: the least that it is nice, as setpriority(2) has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nice {
    /// It gets what nobody else wants: it may be in vain.
    Idle = 19,
    /// It gets a third of the share of others: it must be done, on a machine that is always busy too.
    Later = 5,
}

/// Compresses what `debs` hold of `packages` until it is done or `stop` is set.
///
/// Nothing depends on it but time, so what goes wrong here is left to whoever does the same work later.
pub(crate) fn run(builder: &Builder<'_>, debs: &PlainDebs, packages: &[&Package], stop: &AtomicBool) {
    be_nice(Nice::Idle);
    let Ok((tree, contents)) = promised(builder, debs, packages) else { return };
    let blocks = builder.blocks();
    blocks
        .prefetch(&tree, &builder.squashfs(), &|| stop.load(Ordering::Relaxed) || crate::host::interrupted());
    let contents = Stoppable { inner: contents, stop };
    let options = squashfs::Options { cache: Some(&blocks), ..builder.squashfs() };
    let jobs = NonZero::new(builder.jobs.get() - 1).unwrap_or(NonZero::<usize>::MIN);
    let _ = squashfs::warm(&tree, &contents, &options, jobs);
}

/// The tree that `packages` promise, as it would be packed.
pub(crate) fn promised(
    builder: &Builder<'_>,
    debs: &PlainDebs,
    packages: &[&Package],
) -> Result<(Tree, Layered<Memory, DebContents>), UnpackError> {
    let (mut tree, contents) = debs.tree(packages)?;
    let mut memory = Memory::new();
    finalise(&mut tree, &mut memory, &builder.recipe.exclude, builder.epoch());
    Ok((tree, Layered(memory, contents)))
}

/// Makes the calling thread at least as nice as `level`. Threads started from here on inherit it.
pub(crate) fn be_nice(level: Nice) {
    // Of the calling thread only, on Linux. Who was asked to be nicer stays so, and what cannot be lowered stays.
    let now = rustix::process::getpriority_process(None).unwrap_or_default();
    let _ = rustix::process::setpriority_process(None, now.max(level as i32));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_less_nice() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        std::thread::spawn(move || {
            be_nice(Nice::Later);
            assert_eq!(niceness(), before.max(5));
            be_nice(Nice::Idle);
            be_nice(Nice::Later);
            assert_eq!(niceness(), 19);
        })
        .join()
        .unwrap();
        assert_eq!(niceness(), before);
    }
}
