//! An allocator that counts, for each thread apart: targets run on one thread each, and do not start others.
//!
//! What libraries in C take (the decompressors) is not seen here; libFuzzer sees it.
#![allow(unsafe_code)] // An allocator cannot be written without. Each call is handed to the system's as it came.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;

/// What nobody gets at once: the program ends before the machine does.
const TOO_MUCH: isize = 2 << 30;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
    static NAME: Cell<&'static str> = const { Cell::new("") };
}

/// From now on what this thread takes is counted, for `name`.
pub(crate) fn begin(name: &'static str) {
    LIVE.set(0);
    MOST.set(0);
    NAME.set(name);
}

/// The most bytes that this thread held at once since then.
pub(crate) fn most() -> usize {
    usize::try_from(MOST.get()).unwrap_or(0)
}

pub(crate) struct Counting;

/// Whether `more` bytes may be taken.
fn take(more: usize) -> bool {
    let more = isize::try_from(more).unwrap_or(isize::MAX);
    // A thread that ends frees after its counters are gone.
    let live = LIVE.try_with(|live| {
        live.set(live.get().saturating_add(more));
        live.get()
    });
    let Ok(live) = live else { return true };
    let _ = MOST.try_with(|most| most.set(most.get().max(live)));
    if live > TOO_MUCH {
        // What follows is the end of the program, which does not say of whom.
        let name = NAME.try_with(Cell::get).unwrap_or_default();
        let _ = std::io::stderr().write_all(name.as_bytes());
        let _ = std::io::stderr().write_all(b" takes more than 2 GiB of memory\n");
    }
    live <= TOO_MUCH
}

fn give(less: usize) {
    let _ = LIVE.try_with(|live| live.set(live.get().saturating_sub_unsigned(less)));
}

// SAFETY: memory comes from the system's allocator and goes back to it, with the layout that was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match take(layout.size()) {
            // SAFETY: as the caller promises.
            true => unsafe { System.alloc(layout) },
            false => std::ptr::null_mut(),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match take(layout.size()) {
            // SAFETY: as the caller promises.
            true => unsafe { System.alloc_zeroed(layout) },
            false => std::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        give(layout.size());
        match take(size) {
            // SAFETY: as the caller promises.
            true => unsafe { System.realloc(pointer, layout, size) },
            false => std::ptr::null_mut(),
        }
    }
}
