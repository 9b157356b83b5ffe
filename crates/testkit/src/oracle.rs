//! Reference programs: an independent opinion about what a writer wrote.

use std::io::ErrorKind;
use std::process::{Command, Output};

/// Runs a reference program. A missing one skips the check (`None`) on a laptop and fails it where the environment
/// variable `CI` is set, where a skip could not be told from a pass.
///
/// # Panics
/// If the program cannot be started for any other reason.
pub fn oracle(command: &mut Command) -> Option<Output> {
    command.env("LC_ALL", "C").env("TZ", "UTC");
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound && std::env::var_os("CI").is_none() => None,
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// Runs a reference program that has to succeed, and returns its standard output as text.
///
/// # Panics
/// If the program cannot be started or reports failure; both its streams are in the message.
pub fn oracle_text(command: &mut Command) -> Option<String> {
    let output = oracle(command)?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}\n{err}",
        output.status
    );
    Some(out.into_owned())
}
