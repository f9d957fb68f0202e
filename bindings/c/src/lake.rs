//! Opening and closing a lake.

use std::ffi::c_char;

use runlake_engine::{Lake, LakeOptions};

use crate::{
    argument,
    status::{RunlakeStatus, guard},
};

/// An open lake: one directory that keeps the runs of any number of projects. May be used by any number of threads.
#[derive(Debug)]
pub struct RunlakeLake(pub(crate) Lake);

/// How a lake is opened. Fill it with zeros for the defaults: `RunlakeLakeOptions options = {0};`
#[repr(C)]
#[derive(Debug)]
pub struct RunlakeLakeOptions {
    /// Create the lake where there is none.
    pub create: bool,
    /// Return `RUNLAKE_DROPPED` for a row that could not be kept, instead of counting it.
    pub strict: bool,
    /// Milliseconds between two syncs in the background: the most that a power cut takes. 0 for the default, 1,000.
    pub sync_every_ms: u64,
    /// Bytes of log after which it is flushed to a segment. 0 for the default, 16 MiB.
    pub flush_after_bytes: u64,
}

/// Opens the lake at `path`. `options` may be null. Free `*lake` with `runlake_close`.
///
/// # Safety
/// `path` is a text, `options` null or valid, `lake` a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_open(
    path: *const c_char,
    options: *const RunlakeLakeOptions,
    lake: *mut *mut RunlakeLake,
) -> RunlakeStatus {
    guard(|| {
        let place = argument::place("lake", lake)?;
        // SAFETY: a text by the contract of this function.
        let path = unsafe { argument::text("path", path) }?;
        // SAFETY: null or valid by the contract of this function.
        let given = unsafe { options.as_ref() };
        let mut options = LakeOptions::default();
        if let Some(given) = given {
            options.create = given.create;
            options.strict = given.strict;
            if given.sync_every_ms > 0 {
                options.sync_every_ms = given.sync_every_ms;
            }
            if given.flush_after_bytes > 0 {
                options.flush_after_bytes = given.flush_after_bytes;
            }
        }
        let lake = Box::new(RunlakeLake(options.open(path)?));
        // SAFETY: a place for a pointer by the contract of this function.
        unsafe { place.write(Box::into_raw(lake)) };
        Ok(())
    })
}

/// Closes the lake. Its runs may still be used; its files are closed with the last of them. Null does nothing.
///
/// # Safety
/// `lake` is null or came from `runlake_open`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_close(lake: *mut RunlakeLake) {
    if !lake.is_null() {
        // SAFETY: it came from `Box::into_raw` in `runlake_open`, and nobody uses it again.
        let lake = unsafe { Box::from_raw(lake) };
        let _closed = guard(|| {
            drop(lake);
            Ok(())
        });
    }
}
