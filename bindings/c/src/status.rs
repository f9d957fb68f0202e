//! What a call returns, and the message of the last error.

use std::{
    cell::RefCell,
    ffi::{CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
};

use runlake_engine::Error;

/// What a call returns: 0, or what the caller can do about it. Numbers never change their meaning; later versions may
/// add some.
#[expect(clippy::enum_variant_names, reason = "in C a variant stands without its type")]
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunlakeStatus {
    /// Done.
    RunlakeOk = 0,
    /// No lake stands at the path. Name another, or create it.
    RunlakeNoLake = 1,
    /// The operating system refused something. Fix the cause and try again.
    RunlakeIo = 2,
    /// A file holds bytes that this version never writes. Run `runlake verify`.
    RunlakeCorrupt = 3,
    /// The lake was written by a later version. Upgrade.
    RunlakeUnsupported = 4,
    /// An argument cannot be used. Change the call.
    RunlakeInvalid = 5,
    /// A name matches nothing, or several things.
    RunlakeUnknown = 6,
    /// Files of a snapshot are gone. Take a new one.
    RunlakeExpired = 7,
    /// A row was not kept, and the lake is strict.
    RunlakeDropped = 8,
    /// A defect in this library. Please report it with the message.
    RunlakeInternal = 99,
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

/// The message of the last call of this thread that did not return `RUNLAKE_OK`, in UTF-8; empty where there was none.
/// Valid until the next call of this thread fails.
#[unsafe(no_mangle)]
pub extern "C" fn runlake_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Runs the inside of a call: keeps the message of an error, and turns a panic into a status.
pub(crate) fn guard(call: impl FnOnce() -> Result<(), Error>) -> RunlakeStatus {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => RunlakeStatus::RunlakeOk,
        Ok(Err(error)) => {
            say(&error.to_string());
            status(&error)
        }
        Err(panic) => {
            let detail = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            say(&format!("a defect in runlake: {}", detail.unwrap_or("no message")));
            RunlakeStatus::RunlakeInternal
        }
    }
}

fn say(message: &str) {
    let text = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
    // A thread that is ending has no place for the message any more.
    let _kept = LAST.try_with(|last| *last.borrow_mut() = text);
}

fn status(error: &Error) -> RunlakeStatus {
    match error {
        Error::NoLake { .. } => RunlakeStatus::RunlakeNoLake,
        Error::Io { .. } => RunlakeStatus::RunlakeIo,
        Error::Corrupt { .. } => RunlakeStatus::RunlakeCorrupt,
        Error::Unsupported { .. } => RunlakeStatus::RunlakeUnsupported,
        Error::Invalid { .. } => RunlakeStatus::RunlakeInvalid,
        Error::Unknown { .. } => RunlakeStatus::RunlakeUnknown,
        Error::SnapshotExpired { .. } => RunlakeStatus::RunlakeExpired,
        Error::Dropped { .. } => RunlakeStatus::RunlakeDropped,
        // `Error` may grow; an error without a status of its own is a defect that the message tells of.
        _ => RunlakeStatus::RunlakeInternal,
    }
}
