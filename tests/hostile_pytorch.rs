//! Tests PyTorch files that are truncated, damaged or written by another program.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use mobilebert::ErrorKind;
use mobilebert::format::{Bytes, Checkpoint};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const FORMS: [&str; 2] = ["mobilebert-bin", "mobilebert-bin-legacy"];

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints");
    fs::read(folder.join(name).join("pytorch_model.bin")).expect("the golden")
}

fn open(file: Vec<u8>) -> Result<Checkpoint, mobilebert::Error> {
    let mut checkpoint = Checkpoint::default();
    checkpoint.add_pytorch("test.bin", Bytes::Owned(file)).map(|()| checkpoint)
}

fn error(file: Vec<u8>) -> String {
    let error = open(file).expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::Format { .. }), "{error}");
    error.to_string()
}

/// Returns the golden archive with its members edited, stored as another ZIP writer stores them.
fn rewritten(options: SimpleFileOptions, edit: impl Fn(&str, Vec<u8>) -> Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(golden("mobilebert-bin"))).expect("an archive");
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).expect("a member");
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).expect("its bytes");
        for (name, bytes) in edit(&member.name().expect("a name"), bytes) {
            writer.start_file(name, options).expect("a member");
            writer.write_all(&bytes).expect("its bytes");
        }
    }
    writer.finish().expect("an archive").into_inner()
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

#[test]
fn truncated_anywhere() {
    for form in FORMS {
        let whole = golden(form);
        for length in (0..whole.len()).step_by(53).chain(whole.len() - 100..whole.len()) {
            error(whole[..length].to_vec());
        }
    }
}

#[test]
fn any_byte_may_be_wrong() {
    for form in FORMS {
        let whole = golden(form);
        let size: usize = open(whole.clone()).expect("a model").entries().map(|(_, e)| e.byte_len()).sum();
        for position in (0..whole.len()).step_by(7) {
            let mut broken = whole.clone();
            broken[position] ^= 1 << (position % 8);
            if let Ok(checkpoint) = open(broken) {
                let read: usize = checkpoint.entries().map(|(_, entry)| entry.byte_len()).sum();
                assert!(read <= 2 * size, "byte {position} of {form}: {read} bytes");
            }
        }
    }
}

#[test]
fn archives_of_other_writers_are_read() {
    let expected = open(golden("mobilebert-bin")).expect("a model");
    for options in [stored(), stored().large_file(true), stored().with_alignment(64)] {
        let checkpoint =
            open(rewritten(options, |name, bytes| vec![(name.to_owned(), bytes)])).expect("a model");
        for (name, entry) in expected.entries() {
            assert_eq!(checkpoint.entry(name).map(|e| &e.shape), Some(&entry.shape), "{name}");
            assert_eq!(checkpoint.bytes(name), expected.bytes(name), "{name}");
        }
    }
}

#[test]
fn archives_without_a_part_say_which() {
    let without = |part: &'static str| {
        error(rewritten(stored(), |name, bytes| {
            let keep = !name.ends_with(part);
            keep.then(|| (name.to_owned(), bytes)).into_iter().collect()
        }))
    };
    assert!(without("/data.pkl").contains("the member NAME/data.pkl"));
    assert!(without("/data/0").contains("no storage \"0\""), "{}", without("/data/0"));
}

#[test]
fn archives_that_contradict_themselves_are_refused() {
    let changed = |part: &'static str, change: fn(Vec<u8>) -> Vec<u8>| {
        error(rewritten(stored(), |name, bytes| {
            let bytes = if name.ends_with(part) { change(bytes) } else { bytes };
            vec![(name.to_owned(), bytes)]
        }))
    };
    assert!(changed("/byteorder", |_| b"big".to_vec()).contains("byte order \"little\"; found \"big\""));
    assert!(changed("/data/0", |bytes| bytes[1..].to_vec()).contains("bytes declared for storage \"0\""));
    assert!(changed("/data.pkl", |bytes| bytes[..bytes.len() / 2].to_vec()).contains("the end"));

    let file = golden("mobilebert-bin");
    let directory = file.windows(4).position(|w| w == b"PK\x01\x02").expect("the central directory");
    let patched = |offset: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[directory + offset..directory + offset + bytes.len()].copy_from_slice(bytes);
        error(file)
    };
    assert!(patched(8, &[1, 0]).contains("members that are stored"));
    assert!(patched(10, &[8, 0]).contains("compression method 8"));
    assert!(patched(20, &[0xfe, 0xff, 0xff, 0xff]).contains("one size"));
    assert!(patched(20, &[0xfe, 0xff, 0xff, 0xff].repeat(2)).contains("bytes before the end"));
    assert!(patched(42, &[0xfe, 0xff, 0xff, 0xff]).contains("local header of a member"));
    assert!(patched(28, &[0xff, 0xff]).contains("found"));
}

#[test]
fn safetensors_in_the_place_of_a_pickle_say_so() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/mobilebert-f32");
    let message = error(fs::read(folder.join("model.safetensors")).expect("the golden"));
    assert!(message.contains("a PyTorch file"), "{message}");
}
