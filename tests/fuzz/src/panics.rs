//! Panics on the threads of a store, which would end only their thread.

use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Runs a case; panics if any thread has panicked meanwhile.
pub(crate) fn watch<R>(case: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            PANICKED.store(true, Ordering::Release);
            before(what);
        }));
    });
    let result = case();
    assert!(!PANICKED.load(Ordering::Acquire), "a thread has panicked");
    result
}
