//! The messages of gRPC are those that the interface file says.
//!
//! `WRITE=1 cargo test -p mobilebert-serve --features testing --test messages` writes them.

use std::path::{Path, PathBuf};

/// Returns the generated sources.
fn generated() -> String {
    let files = protox::compile(["inference.proto"], [crate_path("proto")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .build_server(false)
        .out_dir(folder.path())
        .emit_rerun_if_changed(false)
        .disable_comments(["."])
        .compile_fds(files)
        .unwrap();
    std::fs::read_to_string(folder.path().join("inference.rs")).unwrap()
}

fn crate_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_messages_are_those_of_the_interface_file() {
    let (path, generated) = (crate_path("src/messages/inference.rs"), generated());
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    assert!(
        committed == generated,
        "{} is not what proto/inference.proto says; WRITE=1 writes it",
        path.display()
    );
}
