//! The program as its users meet it.

use selfsame_testkit::TestEnvironment;

mod attacks;
mod bad_input;
mod boot;
mod build;
mod collect;
mod containment;
mod crash;
mod evidence;
mod failures;
mod hard_tag;
mod hardship;
mod help;
mod init;
mod inspect;
mod powercut;
mod remote;
mod rot;
mod scene;
mod serve;
mod shell;
mod snapshot;
mod stages;
mod store;
mod tag;

/// A fresh hostile world around the program.
fn world() -> TestEnvironment {
    TestEnvironment::new(env!("CARGO_BIN_EXE_selfsame"))
}

#[track_caller]
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in:\n{message}");
    }
}
