//! The native library of a product that brings a backend of its own. It has all functions of `mobilebert.h` and
//! those below the Kotlin interface, and two more. `bindings/c/tests/product.c` and
//! `bindings/mobile/jvm-tests/product/Product.kt` are programs that use it.

#![allow(unsafe_code, reason = "exported names")]

use std::sync::OnceLock;

use mobilebert_bindings::register_backend;
// The functions of a crate that is linked are exported.
use mobilebert_c as _;
use mobilebert_example_backend::Timed;
use mobilebert_mobile as _;

/// The backend, which notes the time of each pass.
static TIMED: OnceLock<Timed> = OnceLock::new();

/// Makes the backend "timed" known. Returns false if it is known already.
#[unsafe(no_mangle)]
pub extern "C" fn example_register_backends() -> bool {
    register_backend("timed", TIMED.get_or_init(Timed::native).clone()).is_ok()
}

/// Returns the number of passes that models with the backend "timed" have made.
#[unsafe(no_mangle)]
pub extern "C" fn example_passes() -> usize {
    TIMED.get().map_or(0, |timed| timed.passes().len())
}
