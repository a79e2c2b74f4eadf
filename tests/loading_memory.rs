//! Tests how much memory is needed while a model is loaded.

#![cfg(target_os = "linux")]

use std::path::Path;

use mobilebert::{Engine, EngineOptions};

/// Returns a number of `/proc/self/status` in KiB.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// The weights are packed into memory of their own. The memory of the file is given back on the way, so that
/// both are never needed at once.
#[test]
fn the_file_and_the_packed_weights_are_not_in_memory_at_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/qa");
    let file = std::fs::metadata(folder.join("model.safetensors")).unwrap().len() as usize / 1024;
    let before = status("VmRSS");
    let engine = Engine::open(&*folder, EngineOptions::new().threads(2)).unwrap();
    let (peak, after) = (status("VmHWM"), status("VmRSS"));
    // The embedding table and the packed weights together have the size of the file.
    assert!(after - before > file * 9 / 10, "{before} KiB became {after}");
    assert!(peak < after + file / 2, "{peak} KiB at once, and {after} in the end, with a file of {file}");
    drop(engine);
}
