//! What a store promises, tried from the outside.

mod cache;
mod contract;
mod crash;
mod damage;
mod processes;
mod space;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use selfsame_store::{Depth, Store};

/// Names the store's directory to a test that runs itself again as a child process.
const CHILD: &str = "SELFSAME_STORE_TEST_CHILD";

/// The directory, if this process is such a child.
fn child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// A command that runs `test` of this binary as a child on `dir`, behind the words of `wrapper`.
fn as_child(test: &str, dir: &Path, wrapper: &[&str]) -> Command {
    let exe = std::env::current_exe().unwrap().into_os_string();
    let own = [exe, "--exact".into(), test.into(), "--nocapture".into(), "--test-threads=1".into()];
    let mut words = wrapper.iter().map(OsString::from).chain(own);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).env(CHILD, dir);
    command
}

fn assert_clean(store: &Store) {
    assert_eq!(store.check(Depth::Bytes).unwrap(), []);
}
