//! The program that libFuzzer is linked to, once for each target: which one it runs is its name.
#![no_main]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

fuzz_target!(|bytes: &[u8]| {
    // libFuzzer's own hook ends the program at each panic, also at those that a reader guards against (`apt::openpgp`).
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| LAST.with_borrow_mut(|last| *last = info.to_string())));
    });
    let target = selfsame_fuzz::find(env!("CARGO_BIN_NAME")).expect("each program is a target");
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        LAST.with_borrow(|last| eprintln!("{}: {last}", target.name));
        std::process::abort();
    }
});
