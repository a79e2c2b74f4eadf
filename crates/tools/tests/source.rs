//! Tests that a model opens from every kind of source: a name, a path, memory, or a range of an open file.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mobilebert::format::Bytes;
use mobilebert::{
    Answer, Engine, EngineOptions, ErrorKind, MemoryFiles, ModelFiles, QuestionAnswering, Source,
};
use mobilebert_tools::writer;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints").join(name)
}

fn answers(source: impl Into<Source>) -> Vec<Answer> {
    let qa = QuestionAnswering::open(source).unwrap();
    qa.answers("who ?", "anna works in paris and the king wrote a book").unwrap()
}

/// Returns the names and contents of a folder's files.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn in_memory(folder: &Path) -> MemoryFiles {
    let files = contents(folder).into_iter();
    files.fold(MemoryFiles::new("test model"), |files, (name, bytes)| files.file(name, bytes))
}

#[test]
fn every_form_of_a_source_opens_the_same_model() {
    let folder = golden("mobilebert-f32");
    let name = folder.to_str().unwrap();
    let expected = answers(name);
    assert_eq!(answers(name.to_owned()), expected);
    assert_eq!(answers(folder.as_path()), expected);
    assert_eq!(answers(&folder), expected);
    assert_eq!(answers(folder.clone()), expected);
    assert_eq!(answers(ModelFiles::Folder(folder.clone())), expected);
    assert_eq!(answers(in_memory(&folder)), expected);
    assert_eq!(answers(ModelFiles::Memory(in_memory(&folder))), expected);
    // These folders have the other forms in which weights may be stored.
    for name in ["mobilebert-sharded", "mobilebert-bin"] {
        let folder = golden(name);
        assert_eq!(answers(in_memory(&folder)), answers(&folder), "{name}");
        let hash = ModelFiles::Memory(in_memory(&folder)).weights_sha256().unwrap();
        assert_eq!(hash, ModelFiles::Folder(folder).weights_sha256().unwrap(), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_need_not_be_unicode() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"mod\xe9le \xff"));
    fs::create_dir(&odd).unwrap();
    for (name, bytes) in contents(&golden("mobilebert-f32")) {
        fs::write(odd.join(name), bytes).unwrap();
    }
    assert!(odd.to_str().is_none());
    assert_eq!(answers(&odd), answers(golden("mobilebert-f32")));
}

#[test]
fn a_path_is_never_a_name() {
    let error = QuestionAnswering::open(Path::new("qa")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnknownModel { .. }), "{error:?}");
    assert!(error.to_string().contains("folder"), "{error}");
}

/// An engine keeps no bytes of the files that it was loaded from.
#[test]
fn shared_bytes_are_released_once_the_weights_are_packed() {
    let folder = tempfile::tempdir().unwrap();
    let int8 = folder.path().join("int8");
    writer::to_int8(&ModelFiles::Folder(golden("mobilebert-f32")), &int8).unwrap();
    for folder in [golden("mobilebert-f32"), int8] {
        let shared: Vec<(String, Arc<[u8]>)> =
            contents(&folder).into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let files = shared.iter().fold(MemoryFiles::new("test model"), |files, (name, bytes)| {
            files.file(name.clone(), Arc::clone(bytes))
        });
        assert!(shared.iter().all(|(_, bytes)| Arc::strong_count(bytes) == 2));
        let qa = QuestionAnswering::open(files).unwrap();
        for (name, bytes) in &shared {
            assert_eq!(Arc::strong_count(bytes), 1, "{name} of {}", folder.display());
        }
        let answer = qa.answer("who ?", "anna works in paris and the king wrote a book").unwrap();
        assert_eq!(answer, answers(&folder)[0]);
    }
}

/// The files lie one behind another at any offset, as in an Android package, and the descriptor is closed
/// after opening.
#[test]
fn files_are_mapped_from_ranges_of_one_open_file() {
    let folder = golden("mobilebert-f32");
    let package = tempfile::NamedTempFile::new().unwrap();
    let mut ranges = Vec::new();
    let mut end = 0;
    {
        let mut file = package.as_file();
        for (i, (name, bytes)) in contents(&folder).into_iter().enumerate() {
            let junk = vec![0xa5; 4099 + i];
            file.write_all(&junk).unwrap();
            file.write_all(&bytes).unwrap();
            let start = end + junk.len() as u64;
            end = start + bytes.len() as u64;
            assert_ne!(start % 4096, 0, "an offset that a page does not begin at");
            ranges.push((name, start..end));
        }
        file.flush().unwrap();
    }
    let file = File::open(package.path()).unwrap();
    let files = ranges.iter().fold(MemoryFiles::new("package"), |files, (name, range)| {
        files.file(name.clone(), Bytes::map_range(&file, range.clone()).unwrap())
    });
    drop(file);
    assert_eq!(answers(files), answers(&folder));

    let file = File::open(package.path()).unwrap();
    for beyond in [end - 1..end + 1, end + 1..end + 2, u64::MAX - 1..u64::MAX] {
        let error = Bytes::map_range(&file, beyond.clone()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{beyond:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "what a broken package may say")]
    let reversed = Bytes::map_range(&file, 9..3);
    assert_eq!(reversed.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(Bytes::map_range(&file, end..end).unwrap().is_empty());
}

#[test]
fn errors_name_the_model_in_memory_and_what_it_lacks() {
    let folder = golden("mobilebert-f32");
    let without = |missing: &str| {
        let files = contents(&folder).into_iter().filter(|(name, _)| name != missing);
        files.fold(MemoryFiles::new("my phone's model"), |files, (name, bytes)| files.file(name, bytes))
    };
    for missing in ["config.json", "vocab.txt", "model.safetensors"] {
        let error = QuestionAnswering::open(without(missing)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::MissingFile { .. }), "{error:?}");
        for word in ["my phone's model", missing] {
            assert!(error.to_string().contains(word), "{word} is not in: {error}");
        }
    }
    let cut = without("model.safetensors").file("model.safetensors", vec![1, 2, 3]);
    let error = QuestionAnswering::open(cut).unwrap_err();
    assert!(error.to_string().contains("my phone's model/model.safetensors"), "{error}");
}

#[test]
fn an_engine_opens_from_any_source() {
    let folder = golden("mobilebert-f32");
    for source in [Source::from(&folder), in_memory(&folder).into(), "synthetic:mobilebert".into()] {
        let engine = Engine::open(source, EngineOptions::new()).unwrap();
        assert!(engine.config().class_name().contains("QuestionAnswering"));
    }
}
