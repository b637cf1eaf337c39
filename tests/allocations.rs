//! How often the hot paths ask for memory, counted and bounded: an allocation is the dearest thing that user space does for a
//! line, and nobody sees one come back.
//!
//! Lives here: an allocator that counts what its own thread asks for, and the bounds. Not here: the session by the book
//! (`benches/micro/script.rs`), time (`make bench-micro`), instructions (`.ci/instructions`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)] // test helpers may
#![allow(unsafe_code)] // a global allocator cannot be written without: it passes everything on to the system's

#[path = "../benches/micro/script.rs"]
mod script;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ftpgate::observe::metrics::Metrics;
use ftpgate::protocol::command;
use ftpgate::session::effect::Effects;
use script::{Kernel, Talk, whole_session};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// How often this thread asked for memory. Of each thread its own: tests run beside each other.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // While a thread ends, its memory is not ours to count.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often `act` asks for memory when done once, after it has been done a few times: buffers that are kept have their size.
fn allocations(mut act: impl FnMut()) -> u64 {
    const TIMES: u64 = 100;
    (0..3).for_each(|_| act());
    let before = ASKED.get();
    (0..TIMES).for_each(|_| act());
    let asked = ASKED.get() - before;
    assert_eq!(asked % TIMES, 0, "{asked} allocations in {TIMES} times: not the same each time");
    asked / TIMES
}

fn logged_in() -> Talk {
    let mut talk = Talk::begin(Effects::new());
    talk.login();
    talk
}

fn assert_allocations(what: &str, most: u64, act: impl FnMut()) {
    let counted = allocations(act);
    assert!(
        counted <= most,
        "{what}: {counted} allocations, {most} were enough before. Do without, or raise the number here and say in the commit \
         what the memory is for"
    );
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8]))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn a_command_without_consequences_and_its_reply_allocate_nothing() {
    let mut talk = logged_in();
    assert_allocations("NOOP, 200", 0, || talk.noop());
}

#[test]
fn a_command_is_counted_without_allocating() {
    let metrics = Metrics::new(&["outbound"], &command::names());
    assert_allocations("Metrics::command", 0, || metrics.command("NOOP"));
}

#[test]
fn a_passive_transfer() {
    let mut talk = logged_in();
    assert_allocations("PASV, 227, RETR, 150, 226", 10, || talk.pasv());
    let mut talk = logged_in();
    assert_allocations("EPSV, 229, RETR, 150, 226", 10, || talk.epsv());
}

#[test]
fn a_whole_session() {
    let mut outbox = Some(Effects::new());
    assert_allocations("login, ten transfers, QUIT", 102, || {
        let (_, effects) = whole_session(outbox.take().unwrap_or_default());
        outbox = Some(effects);
    });
}

#[test]
fn the_netlink_transactions_of_a_pinhole() {
    let mut kernel = Kernel::new();
    assert_allocations("open and close one", 18, || {
        kernel.open_and_close();
    });
    let mut kernel = Kernel::new();
    assert_allocations("close fifty and open fifty", 173, || {
        kernel.batch();
    });
}
