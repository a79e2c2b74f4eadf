//! Says what is missing when `embedded-models` is asked for outside a checkout.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let wanted = std::env::var_os("CARGO_FEATURE_EMBEDDED_MODELS").is_some();
    if wanted && !Path::new("models/qa/model.safetensors").is_file() {
        println!(
            "cargo::error=the feature `embedded-models` needs the folder `models`, which is in the repository but not in \
             the registry's package: build from a checkout, or open a model folder by its path"
        );
    }
}
