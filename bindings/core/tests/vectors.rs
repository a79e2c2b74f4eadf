//! The files of vectors are what the engine computes, and all of them are known.

#[path = "../examples/vectors/cases.rs"]
mod cases;
#[path = "../examples/vectors/run.rs"]
mod run;

use std::path::Path;

#[test]
fn files_are_what_the_engine_computes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let mut known = Vec::new();
    for file in cases::files() {
        let path = folder.join(format!("{}.json", file.name));
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let new = run::written(&file);
        let difference = || run::first_difference(&old, &new);
        assert!(
            old == new,
            "{} {}\nif the engine is right: cargo run -p mobilebert-bindings --example vectors",
            path.display(),
            difference()
        );
        known.push(format!("{}.json", file.name));
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".json") || known.contains(&name), "nobody writes {name}");
    }
}
