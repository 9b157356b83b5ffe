//! How far a comparison is, for who waits for it.

use std::fmt;
use std::sync::Arc;

/// How far a comparison got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes of the files themselves, at the same place in both, were compared.
    Outside {
        /// How many more.
        more: u64,
        /// How many there are in all.
        of: u64,
    },
    /// Bytes of files inside were compared. How many there are is not known before.
    Inside {
        /// How many more.
        more: u64,
    },
}

type Tell = dyn Fn(Step) + Send + Sync;

/// Is told of each step, from any thread.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Tell>>);

impl Watch {
    /// Tells `who`.
    pub fn new(who: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(who)))
    }

    pub(super) fn tell(&self, step: Step) {
        if let Some(who) = &self.0 {
            who(step);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}
