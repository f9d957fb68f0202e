//! Runs one input of a fuzz target.

use std::{cell::RefCell, panic, sync::Once};

thread_local! {
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `target` and says of a panic what it was. libFuzzer would take every panic for a finding, but the engine catches
/// those of the Parquet decoder and makes errors of them.
pub fn run(target: fn(&[u8]), input: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|panic| SAID.set(panic.to_string())));
    });
    if let Err(panic) = panic::catch_unwind(|| target(input)) {
        eprintln!("{}", SAID.take());
        // libFuzzer aborts, and keeps the input.
        panic::resume_unwind(panic);
    }
}
