//! Reference programs: independent judges of the bytes we write.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs a reference program and returns what it said, whatever its exit status.
///
/// A missing program skips the check (`None`) on a laptop and panics when the environment variable `CI` is set, where
/// a skip could not be told from a pass. `scripts/oracles.sh` installs all of them. It speaks English and UTC.
///
/// # Panics
/// If the program cannot be run for another reason.
#[must_use]
#[track_caller]
pub fn oracle(command: &mut Command) -> Option<Output> {
    command.env("LC_ALL", "C").env("TZ", "UTC");
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skip(format_args!("{:?} is not installed", command.get_program()));
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// Like [`oracle`], for a program that must succeed; returns its standard output.
///
/// # Panics
/// If the program fails; its standard error is shown.
#[must_use]
#[track_caller]
pub fn oracle_text(command: &mut Command) -> Option<String> {
    let output = oracle(command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}{complaint}", output.status);
    Some(text)
}

/// Whether a check may be left out because its program, file or privilege is missing: not when `CI` is set.
pub fn may_skip() -> bool {
    env::var_os("CI").is_none()
}

/// Says why a check is left out.
///
/// # Panics
/// If it may not be, as [`may_skip`] has it.
#[track_caller]
pub fn skip(why: impl Display) {
    assert!(may_skip(), "{why}");
    eprintln!("skipped: {why}");
}

/// Whether `strace` can look at programs here. Where it cannot, the check is left out as with [`oracle`].
///
/// # Panics
/// If it cannot, and nothing may be left out.
#[must_use]
#[track_caller]
pub fn traces() -> bool {
    let Some(probe) = oracle(Command::new("strace").args(["-o", "/dev/null", "true"])) else { return false };
    if !probe.status.success() {
        skip("this machine forbids tracing");
    }
    probe.status.success()
}

/// Where `program` is on the path; `None` if nowhere.
pub fn which(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let program = program.as_ref();
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether the tests run as root, so that kernel mounts can be tried.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // The owner of /proc/self is the effective user of this process, proc(5).
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oracle_answers_and_a_missing_one_is_never_a_silent_pass() {
        assert_eq!(oracle_text(Command::new("echo").arg("yes")).unwrap(), "yes\n");
        assert!(which("sh").is_some());
        assert_eq!(which("no-such-program"), None);
        let missing = std::panic::catch_unwind(|| oracle(&mut Command::new("no-such-program")));
        assert_eq!(missing.is_ok(), may_skip(), "skips exactly where skipping is allowed");
    }

    #[test]
    fn a_failing_program_is_reported_with_its_words() {
        let failing = || oracle_text(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"]));
        let payload = std::panic::catch_unwind(failing).unwrap_err();
        assert!(payload.downcast_ref::<String>().unwrap().contains("no such luck"));
    }
}
