//! Tests LiteRT files as TensorFlow's converter and TFLite Metadata write them, and damaged ones.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use mobilebert::{ErrorKind, ModelConfig};
use mobilebert_tools::convert::{self, ConvertOptions, ConvertReport};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const CLASSIFIER: &str = "convert/tflite-tf-bert-classifier";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// Returns a folder that holds only a model.
fn alone(model: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("model.tflite"), model).expect("a file");
    folder
}

fn convert(folder: &Path) -> mobilebert::Result<ConvertReport> {
    let source = folder.join("model.tflite");
    let options = ConvertOptions::new().verify(true);
    convert::convert(source.to_str().expect("a path"), &folder.join("converted"), &options, &|_, _| {})
}

/// Returns a model with files in an archive behind it, whose offsets count from the beginning of the file or
/// of the archive.
fn with_files(is_apart: bool, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut model = fs::read(golden(CLASSIFIER).join("model.tflite")).expect("a golden");
    let mut cursor = Cursor::new(if is_apart { Vec::new() } else { model.clone() });
    cursor.seek(SeekFrom::End(0)).expect("the end");
    let mut writer = ZipWriter::new(cursor);
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).expect("a member");
        writer.write_all(bytes).expect("its bytes");
    }
    let archive = writer.finish().expect("an archive").into_inner();
    if !is_apart {
        return archive;
    }
    model.extend(archive);
    model
}

/// Marks a member as compressed.
fn compressed(mut file: Vec<u8>, name: &str) -> Vec<u8> {
    const METHOD: usize = 10;
    const NAME: usize = 46;
    let header = |w: &[u8]| w.starts_with(b"PK\x01\x02") && w[NAME..].starts_with(name.as_bytes());
    let at = file.windows(NAME + name.len()).position(header).expect("the member");
    file[at + METHOD] = 8;
    file
}

fn vocabulary() -> Vec<u8> {
    fs::read(golden(CLASSIFIER).join("vocab.txt")).expect("a vocabulary")
}

fn labels(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("converted/config.json")).expect("a configuration");
    ModelConfig::from_json(&text).expect("a configuration").labels
}

fn has_note(report: &ConvertReport, part: &str) -> bool {
    report.notes.iter().any(|note| note.contains(part))
}

#[test]
fn vocabulary_and_labels_come_from_the_archive_behind_the_model() {
    for is_apart in [false, true] {
        let names: &[u8] = b"bad\r\nso-so\r\ngood\r\n";
        let folder = alone(&with_files(is_apart, &[("vocab.txt", &vocabulary()), ("labels.txt", names)]));
        let report = convert(folder.path()).unwrap_or_else(|e| panic!("{is_apart}: {e}"));
        assert!(has_note(&report, "the vocabulary is vocab.txt in the file"), "{:?}", report.notes);
        assert!(has_note(&report, "labels are those of labels.txt"), "{:?}", report.notes);
        assert_eq!(labels(folder.path()), ["bad", "so-so", "good"]);
        let written = fs::read(folder.path().join("converted/vocab.txt")).expect("a vocabulary");
        assert_eq!(written, vocabulary());
    }
    // A file beside the model wins over one in the archive.
    let folder = alone(&with_files(false, &[("vocab.txt", b"another")]));
    fs::write(folder.path().join("vocab.txt"), vocabulary()).expect("a file");
    convert(folder.path()).expect("a model");
    assert_eq!(fs::read(folder.path().join("converted/vocab.txt")).expect("a vocabulary"), vocabulary());
}

#[test]
fn labels_of_another_number_are_left_out_and_said() {
    let folder = alone(&with_files(false, &[("vocab.txt", &vocabulary()), ("labels.txt", b"bad\ngood\n")]));
    let report = convert(folder.path()).expect("a model");
    assert!(has_note(&report, "2 lines for 3 labels"), "{:?}", report.notes);
    assert_eq!(labels(folder.path()), ["LABEL_0", "LABEL_1", "LABEL_2"]);
}

#[test]
fn a_compressed_member_is_an_error_only_where_it_is_needed() {
    let packed = with_files(true, &[("vocab.txt", &vocabulary()), ("labels.txt", b"bad\nso-so\ngood\n")]);

    let folder = alone(&compressed(packed.clone(), "vocab.txt"));
    let error = convert(folder.path()).expect_err("refused");
    let ErrorKind::Conversion { module, found, hint, .. } = error.kind() else { panic!("{error}") };
    assert!(&**module == "vocab.txt" && found.contains("method 8") && hint.contains("--vocab"), "{error}");
    fs::write(folder.path().join("vocab.txt"), vocabulary()).expect("a file");
    assert!(has_note(&convert(folder.path()).expect("a model"), "labels are those of labels.txt"));

    let folder = alone(&compressed(packed.clone(), "labels.txt"));
    let report = convert(folder.path()).expect("a model");
    assert!(has_note(&report, "labels.txt in the file cannot be read"), "{:?}", report.notes);
    assert_eq!(labels(folder.path())[0], "LABEL_0");

    // A compressed member of another tool does no harm. An archive without its directory is not found.
    let folder =
        alone(&compressed(with_files(false, &[("vocab.txt", &vocabulary()), ("more", b"")]), "more"));
    convert(folder.path()).expect("a model");
    let folder = alone(&packed[..packed.len() - 1]);
    let error = convert(folder.path()).expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::MissingFile { .. }), "{error}");
}

#[test]
fn an_archive_may_be_damaged_anywhere() {
    let model = fs::read(golden(CLASSIFIER).join("model.tflite")).expect("a golden");
    let whole = with_files(true, &[("vocab.txt", &vocabulary())]);
    let folder = alone(&whole);
    let mut refused = 0;
    for position in (model.len()..whole.len()).step_by(3) {
        let mut broken = whole.clone();
        broken[position] ^= 1 << (position % 8);
        fs::write(folder.path().join("model.tflite"), &broken).expect("a file");
        let options = ConvertOptions::new().force(true);
        let source = folder.path().join("model.tflite");
        let destination = folder.path().join("converted");
        let result = convert::convert(source.to_str().expect("a path"), &destination, &options, &|_, _| {});
        refused += usize::from(result.is_err());
    }
    assert!(refused > 10, "{refused}");
}

/// Returns a graph of operators without operands, all of which are the same one.
fn operators(count: u32) -> Vec<u8> {
    let halves = |low: u32, high: u32| low | high << 16;
    let last = 20 + count;
    let to = |from: u32, target: u32| 4 * (target - from);
    let mut words = vec![
        24,
        u32::from_le_bytes(*b"TFL3"),
        // These are the model's fields, operator codes and subgraphs.
        halves(14, 12),
        halves(0, 4),
        halves(8, 0),
        halves(0, 0),
        to(2, 6),
        to(7, 13),
        to(8, 15),
        // These are the subgraph's fields, which hold only operators.
        halves(12, 8),
        halves(0, 0),
        halves(0, 4),
        // The operator and its code have no fields.
        halves(4, 4),
        1,
        to(14, last),
        1,
        to(16, 17),
        to(9, 17),
        to(18, 19),
        count,
    ];
    words.extend((20..last).map(|at| to(at, last)));
    words.push(to(12, last));
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_graph_of_too_many_operators_is_refused_even_without_a_value() {
    const MOST: u32 = 1 << 16;
    for (count, expected) in
        [(MOST + 1, "at most 65536 operators"), (MOST, "a lookup of token ids"), (0, "a lookup of token ids")]
    {
        let error = convert::graph_content_hash("crafted", operators(count)).expect_err("refused");
        let ErrorKind::Conversion { expected: found, .. } = error.kind() else { panic!("{count}: {error}") };
        assert!(found.contains(expected), "{count}: {error}");
    }
}

/// The slice that selects the first token's row reads its own output.
#[test]
fn slices_in_a_circle_are_refused() {
    let mut model = fs::read(golden(CLASSIFIER).join("model.tflite")).expect("a golden");
    let words = |numbers: &[i32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
    // A slice has four inputs: the whole, the begin, the end and the steps.
    let (whole, selected) = ([4, 160, 36, 35, 34], [4, 161, 36, 35, 34]);
    let at = model.windows(20).position(|window| window == words(&whole)).expect("the slice");
    model[at..at + 20].copy_from_slice(&words(&selected));
    let error = convert::graph_content_hash("crafted", model).expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::Conversion { .. }), "{error}");
}
