//! The C library of Runlake. What each function promises stands in `include/runlake.h`, which is made from this crate:
//! a test compares the two.
//!
//! Nothing here keeps state of its own but the message of the last error of each thread. No call lets a panic out, and
//! no call but `runlake_close` and `runlake_free` takes ownership of what it is given.
#![expect(unsafe_code, reason = "callers in C pass pointers")]

mod argument;
mod lake;
mod run;
mod status;

pub use lake::*;
pub use run::*;
pub use status::*;

/// The version of the library, such as "0.1.0". Never freed.
#[unsafe(no_mangle)]
pub extern "C" fn runlake_version() -> *const std::ffi::c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
