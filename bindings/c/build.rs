//! Gives the shared library the name that programs ask the system for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    // The number is `MOBILEBERT_ABI_VERSION`; the tests compare both.
    if target("OS") == "macos" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libmobilebert.0.dylib");
    } else if target("FAMILY") == "unix" && target("VENDOR") != "apple" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmobilebert.so.0");
    }
}
