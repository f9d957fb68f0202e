//! Arguments as C passes them.

use std::{ffi::CStr, ptr::NonNull};

use runlake_engine::Error;
use serde_json::Value;

/// An argument that cannot be used.
pub(crate) fn invalid(what: &'static str, detail: impl Into<String>) -> Error {
    Error::Invalid { what, detail: detail.into() }
}

/// What a pointer points to.
///
/// # Safety
/// `pointer` is null, or points to a `T` that lives, and that nobody changes, for `'a`.
pub(crate) unsafe fn the<'a, T>(what: &'static str, pointer: *const T) -> Result<&'a T, Error> {
    // SAFETY: by the contract of this function.
    unsafe { pointer.as_ref() }.ok_or_else(|| invalid(what, "is null"))
}

/// A place for a result.
pub(crate) fn place<T>(what: &'static str, pointer: *mut T) -> Result<NonNull<T>, Error> {
    NonNull::new(pointer).ok_or_else(|| invalid(what, "is null"))
}

/// A text that must be there.
///
/// # Safety
/// `pointer` is null, or points to a text that ends with a zero byte and that nobody changes for `'a`.
pub(crate) unsafe fn text<'a>(
    what: &'static str,
    pointer: *const std::ffi::c_char,
) -> Result<&'a str, Error> {
    // SAFETY: by the contract of this function.
    unsafe { maybe_text(what, pointer) }?.ok_or_else(|| invalid(what, "is null"))
}

/// A text that may be null.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn maybe_text<'a>(
    what: &'static str,
    pointer: *const std::ffi::c_char,
) -> Result<Option<&'a str>, Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and a text by the contract of this function.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|error| invalid(what, format!("is not UTF-8: {error}")))
}

/// An array; null is an empty one where its length is 0.
///
/// # Safety
/// `pointer` points to `count` values of `T` that nobody changes for `'a`, or `count` is 0.
pub(crate) unsafe fn array<'a, T>(
    what: &'static str,
    pointer: *const T,
    count: usize,
) -> Result<&'a [T], Error> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(invalid(what, format!("is null, with a length of {count}")));
    }
    if count > isize::MAX.unsigned_abs() / size_of::<T>().max(1) {
        return Err(invalid(what, format!("a length of {count} fits no memory")));
    }
    // SAFETY: not null, of a possible length, and valid by the contract of this function.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// A value in JSON.
pub(crate) fn json(what: &'static str, text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| invalid(what, format!("is not JSON: {error}")))
}
