//! Gives the library the name of the C library, so that programs load it in the place of that one, and asks the
//! linker for segments that devices with pages of 16 KB can load, as the library for Android does.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS");
    if matches!(system.as_deref(), Ok("android" | "linux")) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,max-page-size=16384");
    }
    if system.as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmobilebert.so.0");
    }
}
