//! The program as its users meet it.

use std::process::{Command, Stdio};

use selfsame_testkit::TestEnvironment;

mod attacks;
mod bad_input;
mod boot;
mod build;
mod check;
mod collect;
mod containment;
mod crash;
mod diff;
mod diff_cases;
mod diff_pages;
mod diff_programs;
mod evidence;
mod explain;
mod failures;
mod faults;
mod fixtures;
mod hard_tag;
mod hardship;
mod help;
mod init;
mod inspect;
mod kept;
mod machine;
mod normalise;
mod powercut;
mod recorded;
mod remote;
mod report;
mod reproduce;
mod rot;
mod scene;
mod serve;
mod shell;
mod snapshot;
mod stages;
mod store;
mod tag;
mod tolerate;
mod verify;

/// A fresh hostile world around the program.
fn world() -> TestEnvironment {
    TestEnvironment::new(env!("CARGO_BIN_EXE_selfsame"))
}

/// The program in `world`, behind the words of a wrapper. There is no shell in front of it as there is in other tests, so
/// that a signal is for the program, and what a wrapper needs of this machine's environment is there.
fn program(world: &TestEnvironment, wrapper: &[&str], words: &[&str]) -> Command {
    let all = [wrapper, &[env!("CARGO_BIN_EXE_selfsame")], words].concat();
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).current_dir(world.root()).env("HOME", world.root().join("home"));
    command.stdin(Stdio::null());
    command
}

/// A pipe that nobody writes to: who opens it waits for ever.
fn pipe(world: &TestEnvironment, name: &str) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let path = world.root().join(name);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[track_caller]
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in:\n{message}");
    }
}
