//! Reads thousands of damaged files: bytes that are flipped, cut off, repeated, exchanged with those of
//! another file or replaced by extreme numbers. Each is read or refused, without a panic, in little time,
//! stack and memory.
//!
//! The damage follows from the number of the case, so that a failure can be repeated. Two variables choose
//! the cases: `MUTATIONS` is how many there are for each reader, and `MUTATIONS_FROM` the number of the
//! first.
//!
//! ```sh
//! MUTATIONS=20000 cargo test --release -p mobilebert-tools --test mutations -- --nocapture
//! MUTATIONS=1 MUTATIONS_FROM=317 cargo test -p mobilebert-tools --test mutations onnx
//! ```
#![allow(clippy::expect_used, clippy::panic, unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mobilebert::quant::Bits;
use mobilebert::{EngineOptions, ModelFiles, QuestionAnswering, Tokenizer, TokenizerFiles};
use mobilebert_tools::writer::{self, Int8Options};

#[path = "../../../fuzz/entry_points.rs"]
mod entry_points;
#[path = "support/limited.rs"]
mod limited;

/// The cases for each reader, unless `MUTATIONS` says otherwise.
const CASES: u64 = 200;

/// The most memory that reading a file may take: this, and some times the length of the file.
const MEMORY: usize = 16 << 20;
const MEMORY_FOR_EACH_BYTE: usize = 100;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}; expected a number")),
        Err(_) => default,
    }
}

/// Random numbers from SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`, and 0 if `n` is 0.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn choose<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Numbers at which sizes and offsets change their meaning, as files in binary and in text have them.
const EXTREMES: [&[u8]; 16] = [
    &[0],
    &[0xff],
    &[0x80],
    &[0; 4],
    &[0xff; 4],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    b"-1",
    b"18446744073709551615",
    b"9223372036854775808",
    b"1e308",
    b"[[[[[[[[[[[[[[[[",
    b"null",
    b"\"\\u0000\"",
];

/// Damages a file in one to four places. `other` is a second file of its kind. Half of the places are in the
/// first 256 bytes, where most formats have their header.
fn mutate(file: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=random.below(4) {
        let near = if random.below(2) == 0 { 256 } else { usize::MAX };
        let at = random.below((bytes.len() + 1).min(near));
        let end = (at + 1 + random.below(64)).min(bytes.len());
        match random.below(8) {
            0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.next() as u8),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let repeated = bytes[at..end].repeat(1 + random.below(8));
                bytes.splice(at..at, repeated);
            }
            6 => {
                let from = random.below(other.len());
                let part = &other[from..(from + 1 + random.below(256)).min(other.len())];
                let replaced = if random.below(2) == 0 { end } else { at };
                bytes.splice(at..replaced, part.iter().copied());
            }
            _ => {
                let extreme = random.choose(&EXTREMES);
                let replaced = (at + extreme.len()).min(bytes.len());
                bytes.splice(at..replaced, extreme.iter().copied());
            }
        }
    }
    bytes
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(name: &str) -> PathBuf {
    root().join("tests/golden/checkpoints").join(name)
}

/// Returns the files of a fuzz target's corpus, and more files of the kind.
fn files(target: &str, more: &[PathBuf]) -> Vec<Vec<u8>> {
    let corpus = fs::read_dir(root().join("fuzz/corpus").join(target)).expect("a corpus");
    let mut paths: Vec<PathBuf> = corpus.map(|entry| entry.expect("a file").path()).collect();
    // The order of a folder differs between machines.
    paths.sort();
    paths.extend_from_slice(more);
    paths.iter().map(|path| fs::read(path).expect("a file")).filter(|file| file.len() > 8).collect()
}

/// Damages the files in turn and reads each.
fn check(reader: &'static str, files: &[Vec<u8>], read: fn(&[u8])) {
    check_with(reader, files, |_, bytes| {
        move || {
            read(&bytes);
            bytes.len()
        }
    });
}

/// Does what [`check`] does, where `prepare` makes the function that reads the damaged form of the file with
/// that index, and returns the length of all that it reads.
fn check_with<F: FnOnce() -> usize + Send + 'static>(
    reader: &str,
    files: &[Vec<u8>],
    mut prepare: impl FnMut(usize, Vec<u8>) -> F,
) {
    let (cases, from) = (number("MUTATIONS", CASES), number("MUTATIONS_FROM", 0));
    let mut largest = (0, 0);
    for case in from..from + cases {
        let mut random = Random(case.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let (index, other) = (case as usize % files.len(), random.below(files.len()));
        let read = prepare(index, mutate(&files[index], &files[other], &mut random));
        let what = format!("{reader}, case {case}");
        let (length, held) = limited::run(&what, read);
        let bound = MEMORY + MEMORY_FOR_EACH_BYTE * length;
        assert!(
            held <= bound,
            "{what}: {held} bytes of memory for a file of {length}; expected at most {bound}"
        );
        largest = largest.max((held, case));
    }
    eprintln!("{reader}: at most {} bytes, in case {}", largest.0, largest.1);
}

#[test]
fn config() {
    let more = ["distilbert-f32", "electra-f32"].map(|name| golden(name).join("config.json"));
    check("config", &files("config", &more), entry_points::config);
}

#[test]
fn safetensors() {
    let more = ["bert-f32", "mobilebert-bf16"].map(|name| golden(name).join("model.safetensors"));
    check("safetensors", &files("safetensors", &more), entry_points::safetensors);
}

#[test]
fn pickle() {
    let more = ["mobilebert-bin", "mobilebert-bin-legacy"].map(|name| golden(name).join("pytorch_model.bin"));
    check("pickle", &files("pickle", &more), entry_points::pickle);
}

#[test]
fn tokenizer() {
    check("tokenizer", &files("tokenizer", &[]), entry_points::tokenizer);
}

#[test]
fn vocabulary() {
    let files = [golden("bert-f32").join("vocab.txt"), root().join("tests/golden/tokens/cased-vocab.txt")];
    let files = files.map(|path| fs::read(path).expect("a file"));
    check("vocabulary", &files, |bytes| {
        let files = TokenizerFiles::new("mutations").vocab("vocab.txt", bytes);
        let Ok(tokenizer) = Tokenizer::from_files(&files) else { return };
        let text = "Anna works in Paris, (c) naïve \u{0}";
        let encoding = tokenizer.encode(text).expect("an encoding");
        for i in 0..encoding.ids().len() {
            let _: &str = &text[encoding.span(i)];
        }
    });
}

#[test]
fn tensorbundle() {
    check("tensorbundle", &files("tensorbundle", &[]), entry_points::tensorbundle);
}

#[test]
fn onnx() {
    check("onnx", &files("onnx", &[]), entry_points::onnx);
}

#[test]
fn tflite() {
    check("tflite", &files("tflite", &[]), entry_points::tflite);
}

#[test]
fn int4() {
    check("int4", &files("int4", &[]), entry_points::int4);
}

/// Damages one file of a model folder, and opens the folder and asks it something.
fn folders(bits: Bits) {
    let target = tempfile::tempdir().expect("a folder");
    let source = ModelFiles::Folder(golden("mobilebert-f32"));
    let model = target.path().join("model");
    writer::to_int8_with(&source, &model, &Int8Options::new().bits(bits)).expect("a model");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&model).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a file")).collect();
    let whole: usize = files.iter().map(Vec::len).sum();
    let ask = move |model: &Path| {
        let qa = QuestionAnswering::open_with(model, EngineOptions::new().on_caller(), Default::default())?;
        qa.answers("who ?", "anna works in paris")
    };
    ask(&model).expect("answers of the model as it was written");
    let answered = Arc::new(AtomicU64::new(0));
    let mut last = None;
    check_with(&format!("a folder of {bits:?}"), &files, |index, bytes| {
        if let Some(last) = last.replace(index) {
            fs::write(&paths[last], &files[last]).expect("a file");
        }
        fs::write(&paths[index], &bytes).expect("a file");
        let (model, answered) = (model.clone(), Arc::clone(&answered));
        move || {
            answered.fetch_add(u64::from(ask(&model).is_ok()), Ordering::Relaxed);
            whole + bytes.len()
        }
    });
    let (answered, cases) = (answered.load(Ordering::Relaxed), number("MUTATIONS", CASES));
    eprintln!("{answered} of {cases} folders answered");
    assert!(cases < CASES || (answered > 0 && answered < cases), "{answered} of {cases} folders answered");
}

#[test]
fn int8_folders() {
    folders(Bits::Eight);
}

#[test]
fn int4_folders() {
    folders(Bits::Four);
}
