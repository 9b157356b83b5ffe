//! Starting QEMU so that it ends with the process that wants it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::host::sys;

/// What a program does when its first argument is [`LAUNCH_ARGUMENT`](super::LAUNCH_ARGUMENT): it becomes the program that
/// follows the number of its parent, and is killed when that parent is gone.
pub fn launch_main() -> ! {
    let mut words = std::env::args_os().skip(2);
    let parent = words.next().and_then(|word| word.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let ready = sys::close_inherited(3).is_ok()
        && set_parent_process_death_signal(Some(Signal::KILL)).is_ok()
        // It may have died before the kernel was asked.
        && getppid() == parent;
    if let (true, Some(program)) = (ready, words.next()) {
        let error = Command::new(&program).args(words).exec();
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        std::process::exit(if missing { i32::from(NOT_FOUND) } else { i32::from(NOT_STARTED) });
    }
    std::process::exit(i32::from(NOT_STARTED))
}

/// Exit status if the program is not there, as shells have it.
pub(super) const NOT_FOUND: u8 = 127;
/// Exit status if it cannot be started for another reason.
const NOT_STARTED: u8 = 126;
