//! Tests folders of sentence-transformers. What their files say about vectors is obeyed, or refused by name.
//!
//! `golden/sentence.json` holds the results of sentence-transformers' formulas on the hidden states of
//! `transformers`.

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::pipeline::sentence_files;
use mobilebert::{EmbedOptions, Embedder, Engine, EngineOptions, Head, Model, ModelOptions, Pooling};
use serde_json::{Value, json};

/// The tolerance for f32 sums in another order.
const TOLERANCE: f64 = 1e-5;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn expected() -> Value {
    serde_json::from_str(&fs::read_to_string(golden().join("sentence.json")).unwrap()).unwrap()
}

/// Returns the golden BERT in the form in which sentence-transformers saves it.
fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden().join("checkpoints/bert-f32")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.to_string()).unwrap();
    }
    folder
}

fn modules(kinds: &[(&str, &str)]) -> Value {
    let module = |(i, (kind, path)): (usize, &(&str, &str))| json!({"idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")});
    kinds.iter().enumerate().map(module).collect()
}

const POOLED: [(&str, &str); 2] = [("Transformer", ""), ("Pooling", "1_Pooling")];

fn flags(chosen: &[&str]) -> Value {
    let mut flags = json!({"word_embedding_dimension": 32});
    for name in
        ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    {
        flags[format!("pooling_mode_{name}")] = chosen.contains(&name).into();
    }
    flags
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[&Value]) {
    let expected: Vec<f64> =
        expected.iter().flat_map(|v| v.as_array().unwrap()).map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() <= TOLERANCE, "{found} and {expected}");
    }
}

fn embed(files: &[(&str, Value)]) -> Vec<f32> {
    let folder = folder(files);
    let embedder = Embedder::open(folder.path()).unwrap();
    assert!(embedder.is_trained_for_embeddings());
    embedder.embed(expected()["text"].as_str().unwrap()).unwrap().embedding
}

#[test]
fn every_mode_of_pooling() {
    let modes = &expected()["modes"];
    for (flag, name) in [
        ("cls_token", "cls"),
        ("mean_tokens", "mean"),
        ("max_tokens", "max"),
        ("mean_sqrt_len_tokens", "mean_sqrt_len"),
        ("weightedmean_tokens", "weighted_mean"),
        ("lasttoken", "last_token"),
    ] {
        let old = [("modules.json", modules(&POOLED)), ("1_Pooling/config.json", flags(&[flag]))];
        assert_close(&embed(&old), &[&modes[name]]);
        let new =
            [("modules.json", modules(&POOLED)), ("1_Pooling/config.json", json!({"pooling_mode": name}))];
        assert_close(&embed(&new), &[&modes[name]]);
        // The choice of the caller wins.
        let folder =
            folder(&[("modules.json", modules(&POOLED)), ("1_Pooling/config.json", flags(&["cls_token"]))]);
        let options = EmbedOptions::with(|o| o.pooling = Some(name.parse::<Pooling>().unwrap()));
        let embedder = Embedder::open_with(folder.path(), mobilebert::EngineOptions::new(), options).unwrap();
        let found = embedder.embed(expected()["text"].as_str().unwrap()).unwrap();
        assert_close(&found.embedding, &[&modes[name]]);
    }
}

#[test]
fn several_modes_are_put_end_to_end_in_their_fixed_order() {
    let flags = flags(&["lasttoken", "mean_sqrt_len_tokens", "mean_tokens", "cls_token", "max_tokens"]);
    let files = [("modules.json", modules(&POOLED)), ("1_Pooling/config.json", flags)];
    let modes = &expected()["modes"];
    let order = ["cls", "max", "mean", "mean_sqrt_len", "last_token"];
    assert_close(&embed(&files), &order.map(|name| &modes[name]));
}

#[test]
fn vectors_have_length_one_only_where_the_folder_says_so() {
    let three = [POOLED[0], POOLED[1], ("Normalize", "2_Normalize")];
    let files = [("modules.json", modules(&three)), ("1_Pooling/config.json", flags(&["mean_tokens"]))];
    let found = embed(&files);
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length(&found) - 1.0).abs() < 1e-5);
    let plain =
        embed(&[("modules.json", modules(&POOLED)), ("1_Pooling/config.json", flags(&["mean_tokens"]))]);
    assert!((length(&plain) - 1.0).abs() > 1e-2, "{}", length(&plain));
    let folder = folder(&files);
    let options = EmbedOptions::with(|o| o.normalize = Some(false));
    let embedder = Embedder::open(folder.path()).unwrap();
    let found = embedder.embed_with(expected()["text"].as_str().unwrap(), &options).unwrap();
    assert_close(&found.embedding, &[&expected()["modes"]["mean"]]);
}

#[test]
fn the_longest_sequence_the_case_and_the_default_prompt_are_obeyed() {
    let base =
        || vec![("modules.json", modules(&POOLED)), ("1_Pooling/config.json", flags(&["mean_tokens"]))];
    let mut short = base();
    short.push(("sentence_bert_config.json", json!({"max_seq_length": 5, "do_lower_case": false})));
    assert_close(&embed(&short), &[&expected()["first_five_tokens_mean"]]);

    let mut prompted = base();
    let prompts =
        json!({"prompts": {"query": expected()["prompt"], "other": "x"}, "default_prompt_name": "query"});
    prompted.push(("config_sentence_transformers.json", prompts));
    assert_close(&embed(&prompted), &[&expected()["with_prompt_mean"]]);

    // A cased tokenizer reads lower-cased texts.
    let mut lower = base();
    lower.push(("sentence_bert_config.json", json!({"do_lower_case": true})));
    lower.push(("tokenizer_config.json", json!({"do_lower_case": false})));
    let folder = folder(&lower);
    let embedder = Embedder::open(folder.path()).unwrap();
    let text = expected()["text"].as_str().unwrap().to_uppercase();
    assert_close(&embedder.embed(&text).unwrap().embedding, &[&expected()["modes"]["mean"]]);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let pooling = || ("1_Pooling/config.json", flags(&["mean_tokens"]));
    let dense = [POOLED[0], POOLED[1], ("Dense", "2_Dense")];
    let no_mode = ("1_Pooling/config.json", flags(&[]));
    let prompt = json!({"prompts": {"query": "q: "}, "default_prompt_name": "query"});
    let mut without_prompt = flags(&["mean_tokens"]);
    without_prompt["include_prompt"] = false.into();
    for (files, named) in [
        (vec![("modules.json", modules(&dense)), pooling()], "Dense"),
        (vec![("modules.json", modules(&[("Transformer", "0_Transformer")])), pooling()], "0_Transformer"),
        (vec![("modules.json", modules(&[("Transformer", "")]))], "Pooling"),
        (vec![("modules.json", modules(&[("Transformer", ""), ("Pooling", "../x")]))], "../x"),
        (vec![("modules.json", modules(&POOLED))], "1_Pooling/config.json"),
        (vec![("modules.json", modules(&POOLED)), no_mode], "pooling"),
        (
            vec![
                ("modules.json", modules(&POOLED)),
                ("1_Pooling/config.json", without_prompt),
                ("config_sentence_transformers.json", prompt),
            ],
            "include_prompt",
        ),
        (
            vec![
                ("modules.json", modules(&POOLED)),
                pooling(),
                ("config_sentence_transformers.json", json!({"default_prompt_name": "query"})),
            ],
            "query",
        ),
        (vec![("modules.json", json!({"no": "list"}))], "modules.json"),
        (vec![("modules.json", modules(&[("Transformer", ""), ("Pooling", "")]))], "folder"),
        (vec![("modules.json", modules(&[("Transformer", ""), ("Pooling", "a/b")]))], "a/b"),
        (vec![("modules.json", modules(&[("Transformer", ""), ("Pooling", ".")]))], "`.`"),
    ] {
        let error = Embedder::open(folder(&files).path()).unwrap_err();
        assert!(error.to_string().contains(named), "{named}: {error}");
    }
}

#[test]
fn modules_have_one_order() {
    let normalize = ("Normalize", "2_Normalize");
    let [transformer, pooling] = POOLED;
    let open = |kinds: &[(&str, &str)]| {
        let files = [("modules.json", modules(kinds)), ("1_Pooling/config.json", flags(&["mean_tokens"]))];
        Embedder::open(folder(&files).path()).map(drop)
    };
    for kinds in [&[transformer, pooling][..], &[transformer, pooling, normalize]] {
        open(kinds).unwrap();
    }
    for kinds in [
        &[][..],
        &[pooling],
        &[pooling, transformer],
        &[transformer, normalize],
        &[transformer, normalize, pooling],
        &[normalize, transformer, pooling],
        &[transformer, transformer, pooling],
        &[transformer, pooling, transformer],
        &[transformer, pooling, pooling],
    ] {
        let error = open(kinds).expect_err(&format!("{kinds:?}"));
        assert!(
            error.to_string().contains("Transformer, Pooling and perhaps Normalize"),
            "{kinds:?}: {error}"
        );
    }
}

/// A model keeps what its folder says about vectors when its head is taken off or its engine is replaced.
#[test]
fn the_settings_go_with_the_model() {
    let files = [("modules.json", modules(&POOLED)), ("1_Pooling/config.json", flags(&["cls_token"]))];
    let folder = folder(&files);
    let whole = Model::open(folder.path(), ModelOptions::new()).unwrap();
    let headless = Model::open(folder.path(), ModelOptions::new().head(Head::None)).unwrap();
    let engine = Engine::open(folder.path(), EngineOptions::new()).unwrap();
    for model in [
        whole.with_engine(engine).unwrap(),
        whole.encoder().unwrap(),
        headless.encoder().unwrap(),
        whole,
        headless,
    ] {
        let embedder = Embedder::from_parts(model, EmbedOptions::default()).unwrap();
        assert!(embedder.is_trained_for_embeddings());
        assert_eq!(embedder.poolings(), [Pooling::Cls]);
    }
}

#[test]
fn the_files_of_a_folder_are_found() {
    let pooling = flags(&["cls_token"]).to_string();
    let list = modules(&POOLED).to_string();
    let length = json!({"max_seq_length": 12}).to_string();
    let read = |name: &str| {
        Ok(match name {
            "modules.json" => Some(list.clone().into_bytes()),
            "sentence_bert_config.json" => Some(length.clone().into_bytes()),
            "1_Pooling/config.json" => Some(pooling.clone().into_bytes()),
            _ => None,
        })
    };
    let found = sentence_files(&read).unwrap();
    let expected = [
        ("modules.json", &list),
        ("sentence_bert_config.json", &length),
        ("1_Pooling/config.json", &pooling),
    ];
    assert_eq!(found, expected.map(|(name, content)| (name.to_owned(), content.clone().into_bytes())));
    assert_eq!(sentence_files(&|_| Ok(None)).unwrap(), []);
}

#[test]
fn other_models_are_not_trained_for_embeddings() {
    assert!(!Embedder::open(golden().join("checkpoints/bert-f32")).unwrap().is_trained_for_embeddings());
}

#[test]
fn a_length_without_room_for_a_token_is_an_error_of_its_file() {
    for length in [0, 2] {
        let files = [
            ("modules.json", modules(&POOLED)),
            ("1_Pooling/config.json", flags(&["mean_tokens"])),
            ("sentence_bert_config.json", json!({"max_seq_length": length})),
        ];
        let message = Embedder::open(folder(&files).path()).unwrap_err().to_string();
        let expected = format!("`max_seq_length` of at least 3; found {length}");
        assert!(message.contains("sentence_bert_config.json") && message.contains(&expected), "{message}");
    }
}
