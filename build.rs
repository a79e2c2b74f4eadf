//! Says what is missing when a model is to be compiled in outside a checkout.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["qa", "sentiment", "ner", "embed"] {
        let wanted = std::env::var_os(format!("CARGO_FEATURE_EMBEDDED_{}", name.to_uppercase())).is_some();
        if wanted && !Path::new(&format!("models/{name}/model.safetensors")).is_file() {
            println!(
                "cargo::error=the feature `embedded-{name}` needs the folder `models/{name}`, which is in the repository \
                 but not in the registry's package: build from a checkout, or open a model folder by its path"
            );
        }
    }
}
