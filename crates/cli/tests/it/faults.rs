//! Runs of the program in each of which one system call fails.

use std::fs;

use selfsame_testkit::{TestEnvironment, number};

use crate::program;

/// How many calls of each kind are made to fail. `FAULTS=300` for all of them.
const FAULTS: usize = 6;

/// A command, and what must be true whichever of its calls fails.
pub(crate) struct Sweep<'a> {
    pub(crate) world: &'a TestEnvironment,
    pub(crate) words: &'a [&'a str],
    /// Makes everything as it was before the command.
    pub(crate) fresh: &'a dyn Fn(),
    /// Looks at what is left when a call failed.
    pub(crate) left: &'a dyn Fn(&str),
    /// Looks at what there is when the command ran again.
    pub(crate) done: &'a dyn Fn(&str),
}

impl Sweep<'_> {
    /// Makes each of these calls fail with its error.
    pub(crate) fn run(&self, faults: &[(&str, &str)]) {
        let mut failed = 0;
        for (call, error) in faults {
            let calls = self.count(call);
            let most = calls.min(number("FAULTS", FAULTS));
            // Spread over the run, and each of them where all are wanted.
            for fault in 0..most {
                let fault = format!("inject={call}:error={error}:when={}", fault * calls / most + 1);
                failed += usize::from(self.fails(&fault));
            }
        }
        // Otherwise nothing was made to fail.
        assert!(failed > FAULTS, "{:?}: {failed}", self.words);
    }

    /// How often the command makes this call.
    fn count(&self, call: &str) -> usize {
        (self.fresh)();
        let wrapper = ["strace", "-f", "-qq", "-e", &format!("trace={call}"), "-o", "calls"];
        assert!(program(self.world, &wrapper, self.words).output().unwrap().status.success());
        fs::read_to_string(self.world.root().join("calls")).unwrap().lines().count()
    }

    /// Runs the command with a call that fails and once more without; whether the first run failed.
    fn fails(&self, fault: &str) -> bool {
        (self.fresh)();
        let wrapper = ["strace", "-f", "-qq", "-e", fault, "-o", "/dev/null"];
        let ran = program(self.world, &wrapper, self.words).output().unwrap();
        let (said, when) = (String::from_utf8_lossy(&ran.stderr), format!("{:?}, {fault}", self.words));
        assert!(!said.contains("panicked") && ran.status.code() != Some(70), "{when}: {said}");
        // What can be done without may fail; everything else is told.
        // (The line that begins with "error: " may be the one that could not be written.)
        let told = said.contains("error: ") || said.contains("cause: ");
        assert!(ran.status.success() || told, "{when}: {said}");
        (self.left)(&when);
        let again = program(self.world, &[], self.words).output().unwrap();
        assert!(again.status.success(), "{when}: {}", String::from_utf8_lossy(&again.stderr));
        (self.done)(&when);
        !ran.status.success()
    }
}
