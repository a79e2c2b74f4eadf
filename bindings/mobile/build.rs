//! Asks the linker for segments that devices with pages of 16 KB can load.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if matches!(env::var("CARGO_CFG_TARGET_OS").as_deref(), Ok("android" | "linux")) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,max-page-size=16384");
    }
}
