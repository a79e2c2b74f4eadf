//! Gives the shared library the name that programs ask the system for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    let link = |argument: &str| println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    // The number is `MOBILEBERT_ABI_VERSION`; the tests compare both.
    if target("OS") == "macos" {
        link("-install_name,@rpath/libmobilebert.0.dylib");
    } else if target("OS") == "android" {
        // Packages of Android hold only libraries whose names end with `.so`. Newer devices have pages of 16 KB.
        link("-soname,libmobilebert.so");
        link("-z,max-page-size=16384");
    } else if target("FAMILY") == "unix" && target("VENDOR") != "apple" {
        link("-soname,libmobilebert.so.0");
    }
}
