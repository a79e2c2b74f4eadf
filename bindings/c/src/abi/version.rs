//! Which library this is.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::{CStr, c_char};

/// The version of the binary interface that this header describes. A program that was compiled with this
/// header works with this or any later library that returns the same number from `mobilebert_abi_version`.
/// The number is also part of the shared library's name.
pub const MOBILEBERT_ABI_VERSION: u32 = 0;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// Returns the version of the library's binary interface, to be compared with `MOBILEBERT_ABI_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_abi_version() -> u32 {
    MOBILEBERT_ABI_VERSION
}

/// Returns the version of the library, such as "0.1.0". The string is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_version() -> *const c_char {
    VERSION.as_ptr()
}
