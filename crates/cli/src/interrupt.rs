//! Ctrl-C and polite termination, as a flag that long work looks at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::{Failure, Kind};

/// Whether the process was asked to stop. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP raise the flag the first time and end the process the second time,
    /// in case that the first was not enough.
    pub fn install() -> io::Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let status = i32::from(Kind::Interrupted.exit_status());
            // In this order: the second signal finds the flag that the first one raised.
            flag::register_conditional_shutdown(signal, status, Arc::clone(&raised))?;
            flag::register(signal, Arc::clone(&raised))?;
        }
        Ok(Self(raised))
    }

    /// Whether the process was asked to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails with [`Kind::Interrupted`] if the process was asked to stop.
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_raised() { Err(Failure::interrupted()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_flag_is_a_failure_of_its_own_kind() {
        let interrupt = Interrupt::default();
        interrupt.check().unwrap();
        interrupt.0.store(true, Ordering::Relaxed);
        assert_eq!(interrupt.check().unwrap_err().kind(), Kind::Interrupted);
    }
}
