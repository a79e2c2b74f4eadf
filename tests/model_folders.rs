//! Tests unusual model folders: entries that are not regular files, and the small differences between the
//! files that programs have written over the years.

use std::fs;
use std::path::Path;

use mobilebert::{ErrorKind, Head, ModelConfig, ModelFiles, Tokenizer, TokenizerFiles};

const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n";

fn config(fields: &str) -> mobilebert::Result<ModelConfig> {
    ModelConfig::from_json(&format!(r#"{{"model_type": "bert"{fields}}}"#))
}

/// Runs `check` on another thread and fails if it takes too long, because reading from a pipe without a
/// writer never ends.
#[cfg(unix)]
fn within_seconds(check: impl FnOnce() -> String + Send + 'static) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(check()));
    receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("an answer in time")
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let expected = "is a device, a pipe or a socket and not a regular file";
    for name in ["config.json", "vocab.txt", "tokenizer.json", "model.safetensors", "pytorch_model.bin"] {
        for device in [true, false] {
            let path = folder.path().join(name);
            let _ = fs::remove_file(&path);
            if device {
                std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            } else {
                let status = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
                assert!(status.success());
            }
            let files = ModelFiles::Folder(folder.path().to_owned());
            let message = within_seconds(move || match name {
                "config.json" => files.config_json().unwrap_err().to_string(),
                "vocab.txt" | "tokenizer.json" => files.tokenizer().unwrap_err().to_string(),
                _ => files.checkpoint().unwrap_err().to_string(),
            });
            assert!(message.contains(name) && message.contains(expected), "{message}");
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn files_without_end_are_refused_by_their_length() {
    let folder = tempfile::tempdir().unwrap();
    for (name, most) in [("config.json", 4 << 20), ("vocab.txt", 64 << 20)] {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        // Most file systems store none of these bytes.
        file.set_len(1 << 40).unwrap();
        let files = ModelFiles::Folder(folder.path().to_owned());
        let error = files.read(name).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io { .. }));
        assert!(error.to_string().contains(&format!("is larger than {most} bytes")), "{error}");
    }
}

#[test]
fn keys_that_are_there_twice_are_refused() {
    let message = |error: mobilebert::Error| {
        assert!(matches!(error.kind(), ErrorKind::Json { .. }), "{error}");
        error.to_string()
    };
    for fields in [r#", "hidden_size": 8, "hidden_size": 16"#, r#", "id2label": {"0": "a", "0": "b"}"#] {
        let message = message(config(fields).unwrap_err());
        assert!(message.starts_with("config.json: ") && message.contains("is there twice"), "{message}");
    }
    let files = TokenizerFiles::new("folder").vocab("vocab.txt", VOCAB.as_bytes());
    let twice = br#"{"do_lower_case": true, "do_lower_case": false}"#;
    let error =
        Tokenizer::from_files(&files.tokenizer_config("tokenizer_config.json", &twice[..])).unwrap_err();
    assert!(message(error).contains("duplicate field `do_lower_case`"));
}

#[test]
fn a_model_without_an_architecture_is_an_encoder() {
    for fields in ["", r#", "architectures": null"#, r#", "architectures": []"#] {
        assert_eq!(config(fields).unwrap().head, Head::None, "{fields}");
    }
    assert!(config(r#", "architectures": {}"#).is_err());
    let next_sentence = config(r#", "architectures": ["BertForNextSentencePrediction"]"#).unwrap();
    assert_eq!((next_sentence.head, next_sentence.class_name()), (Head::None, "BertModel".to_owned()));
}

#[test]
fn labels_may_be_numbers() {
    assert_eq!(config(r#", "id2label": {"0": 5, "1": "b", "2": -1}"#).unwrap().labels, ["5", "b", "-1"]);
    assert!(config(r#", "id2label": {"0": null}"#).is_err());
}

#[test]
fn the_limit_of_a_tokenizer_may_be_a_string() {
    let limit = |value: &str| {
        let config = format!(r#"{{"model_max_length": {value}}}"#).into_bytes();
        let files = TokenizerFiles::new("folder").vocab("vocab.txt", VOCAB.as_bytes());
        Tokenizer::from_files(&files.tokenizer_config("tokenizer_config.json", config))
            .map(|tokenizer| tokenizer.model_max_length())
    };
    for (value, expected) in [("512", Some(512)), ("\"512\"", Some(512)), ("null", None), ("1e30", None)] {
        assert_eq!(limit(value).unwrap(), expected, "{value}");
    }
    let error = limit("\"long\"").unwrap_err().to_string();
    assert_eq!(error, "tokenizer_config.json: `model_max_length` is \"long\"; expected a number of tokens");
}

#[test]
fn the_last_of_equal_lines_of_a_vocabulary_counts() {
    let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\n\nworld\n\nhello\n";
    let files = TokenizerFiles::new("folder").vocab("vocab.txt", vocab.as_bytes());
    let tokenizer = Tokenizer::from_files(&files).unwrap();
    assert_eq!(tokenizer.encode("hello world").unwrap().ids(), [2, 8, 6, 3]);
    assert_eq!(
        tokenizer.warnings(),
        ["vocab.txt: lines 6 and 8 both hold \"\"; the last one counts (and 1 more such lines)"]
    );
    assert_eq!(tokenizer.vocab_size(), 9);
}

#[test]
fn the_path_of_a_file_names_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    fs::write(&file, "").unwrap();
    let as_path = ModelFiles::resolve(file.as_path()).unwrap_err();
    let as_name = ModelFiles::resolve(file.to_str().unwrap()).unwrap_err();
    for error in [as_path, as_name] {
        let message = error.to_string();
        assert!(message.contains("this is a file"), "{message}");
        assert!(message.ends_with(&format!("vocab.txt: {}", folder.path().display())), "{message}");
    }
}

#[test]
fn the_length_of_a_word_is_bounded() {
    let json = |longest: &str, normalizer: &str| {
        let vocab = r###"{"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##a": 5, "b": 6}"###;
        let model = format!(
            r###"{{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": {longest}, "vocab": {vocab}}}"###
        );
        let text = format!(
            r#"{{"version": "1.0", "added_tokens": [], "normalizer": {normalizer},
                "pre_tokenizer": {{"type": "BertPreTokenizer"}}, "model": {model}}}"#
        );
        Tokenizer::from_files(
            &TokenizerFiles::new("folder").tokenizer_json("tokenizer.json", text.into_bytes()),
        )
    };
    let tokenizer = json("1000", "null").unwrap();
    assert_eq!(tokenizer.encode(&"a".repeat(1000)).unwrap().len(), 1002);
    assert_eq!(tokenizer.encode(&"a".repeat(200_000)).unwrap().ids(), [2, 1, 3]);
    let error = json("1000000000", "null").unwrap_err().to_string();
    assert!(error.contains("`model.max_input_chars_per_word` is 1000000000; expected 0 to 1000"), "{error}");

    let replace = r#"{"type": "Replace", "pattern": {"String": "bb"}, "content": "a"}"#;
    assert_eq!(json("100", replace).unwrap().encode("bb b").unwrap().ids(), [2, 4, 6, 3]);
    let regex = r#"{"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "a"}"#;
    assert!(json("100", regex).unwrap_err().to_string().contains("the normalizer Replace has pattern"));
}

#[test]
fn shared_cases_load() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/cases/vocab_duplicate"));
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} is not on this machine", folder.display());
        return;
    }
    let expected: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    let ids =
        Tokenizer::open(folder).unwrap().encode(expected["text"].as_str().unwrap()).unwrap().ids().to_vec();
    assert_eq!(serde_json::json!(ids), expected["ids"]);
}

/// Copies the files of a folder, and returns the copy.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name);
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// Changes the object in a JSON file, which is made where there is none.
fn change(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut json = fs::read(path)
        .map_or_else(|_| serde_json::json!({}), |bytes| serde_json::from_slice(&bytes).unwrap());
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn replacements_that_follow_one_another_cannot_fill_the_memory() {
    let tokenizer = |steps: &[(&str, usize)]| {
        let steps: Vec<serde_json::Value> = steps
            .iter()
            .map(|&(pattern, length)| {
                serde_json::json!({"type": "Replace", "pattern": {"String": pattern}, "content": "a".repeat(length)})
            })
            .collect();
        let json = serde_json::json!({
            "version": "1.0",
            "added_tokens": [],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": steps}]},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##a": 5}},
        });
        let json = json.to_string().into_bytes();
        Tokenizer::from_files(&TokenizerFiles::new("folder").tokenizer_json("tokenizer.json", json))
    };
    for allowed in [&[("a", 64)][..], &[("a", 8), ("a", 8)], &[("abcd", 4), ("a", 64)]] {
        let tokens = tokenizer(allowed).unwrap().encode("a").unwrap();
        assert!(tokens.len() >= 3, "{allowed:?}");
    }
    for (refused, times) in
        [(&[("a", 64); 5][..], 1 << 30), (&[("a", 8), ("a", 9)], 72), (&[("a", 64); 60], usize::MAX)]
    {
        let message = tokenizer(refused).unwrap_err().to_string();
        assert!(message.contains(&format!("{times} times as long; expected at most 64 times")), "{message}");
    }
}

/// A cache whose files were not all fetched holds such links. Without the file, the model would be another.
#[cfg(unix)]
#[test]
fn links_to_missing_files_are_not_absent_files() {
    for name in ["config.json", "model.safetensors", "tokenizer_config.json", "modules.json", "vocab.txt"] {
        let folder = copy("mobilebert-f32");
        let path = folder.path().join(name);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("../../blobs/0123", &path).unwrap();
        let message = mobilebert::Embedder::open(folder.path()).unwrap_err().to_string();
        let expected = format!("{name}: is a link to ../../blobs/0123, which does not exist");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn words_for_masks_are_words_with_a_score() {
    use mobilebert::{FillMask, FillOptions};
    let folder = copy("mobilebert-mlm-f32");
    change(&folder.path().join("tokenizer_config.json"), |json| {
        json["extra_special_tokens"] = serde_json::json!(["<e1>"]);
    });
    let fill = FillMask::open(folder.path()).unwrap();
    let options = FillOptions::with(|o| o.targets = vec!["paris".to_owned(), "<e1>".to_owned()]);
    let rows = fill.engine().config().vocab_size;
    let message = fill.fill_with("paris is [MASK]", &options).unwrap_err().to_string();
    let expected = format!("below the model's vocab_size {rows}");
    assert!(message.contains("<e1>, which has the id") && message.contains(&expected), "{message}");
    assert!(FillMask::open_with(folder.path(), mobilebert::EngineOptions::new(), options).is_err());

    // A table that was padded to a round size has rows without a word.
    let folder = copy("mobilebert-mlm-f32");
    let vocabulary = fs::read_to_string(folder.path().join("vocab.txt")).unwrap();
    let words: Vec<&str> = vocabulary.lines().collect();
    fs::write(folder.path().join("vocab.txt"), words[..words.len() - 10].join("\n")).unwrap();
    let fill = FillMask::open(folder.path()).unwrap();
    let all =
        fill.fill_with("paris is the [MASK] of france.", &FillOptions::with(|o| o.top_k = rows)).unwrap();
    assert_eq!(all[0].len(), rows - 10);
    assert!(all[0].iter().all(|fill| !fill.token_str.is_empty()));
}

#[test]
fn misspelt_modules_are_not_ignored() {
    use mobilebert::{Engine, EngineOptions};
    let open = |folder: &Path, keep: &[&str]| {
        Engine::open(folder, EngineOptions::new().keep_f32(keep.iter().copied())).map(|_| ())
    };
    let folder = copy("mobilebert-f32");
    open(folder.path(), &["encoder.layer.0.", "embeddings"]).unwrap();
    for wrong in ["encoder.layer.99.", "encoder.layers.0.", "layer.0."] {
        let message = open(folder.path(), &["embeddings", wrong]).unwrap_err().to_string();
        assert!(
            message.contains(wrong) && message.contains("encoder.layer.0. to encoder.layer."),
            "{message}"
        );
    }
    for (list, module, fits) in [
        ("keep_f32", "encoder.layer.0.", true),
        ("keep_int8", "encoder.layer.0.", true),
        // Another head may have it.
        ("keep_f32", "pooler", true),
        ("keep_f32", "encoder.layers.0.", false),
        ("keep_int8", "encoder.layer.99.", false),
    ] {
        let mut config = Engine::open(folder.path(), EngineOptions::new()).unwrap().config().clone();
        let json = serde_json::json!({"model_type": "mobilebert", "quantization_config": {
            "quant_method": "mobilebert-int8", "bits": 8, "scale_suffix": "_scale", list: [module]}});
        config.quantization = ModelConfig::from_json(&json.to_string()).unwrap().quantization;
        let graph = mobilebert::model::build(&config, config.head);
        let weights = mobilebert::model::synthetic::Synthetic::new(&graph);
        let found = Engine::from_weights(config, graph, &weights, EngineOptions::new());
        assert_eq!(found.is_ok(), fits, "{list} {module}: {found:?}");
        if let Err(error) = found {
            assert!(error.to_string().contains(&format!("quantization_config.{list}")), "{error}");
        }
    }
}
