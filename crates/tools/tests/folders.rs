//! Opens model folders in every format as users open them, and compares them with logits of the original
//! implementation.

use std::path::PathBuf;

use mobilebert::{
    AggregationStrategy, Batch, EmbedOptions, Embedder, Engine, EngineOptions, FillMask, FillOptions,
    ModelOptions, Pooling, QuestionAnswering, TagOptions, TokenClassification,
};
use mobilebert_tools::BackendKind;
use serde_json::Value;
use sha2::Digest as _;

/// The tolerance for f32 sums in another order. The expected logits have at least six digits.
const TOLERANCE: f64 = 1e-5;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints").join(name)
}

fn source(name: &str) -> String {
    folder(name).to_str().unwrap().to_owned()
}

/// Returns the numbers of a value of any nesting, in order.
fn flatten(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(flatten).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

#[test]
fn every_folder_gives_the_logits_of_the_original() {
    let mut checked = 0;
    for entry in std::fs::read_dir(folder("")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(expected) = std::fs::read_to_string(path.join("expected.json")) else { continue };
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let ids = |key: &str| flatten(&expected[key]).iter().map(|&x| x as u32).collect::<Vec<_>>();
        let engine = Engine::open(path.to_str().unwrap(), EngineOptions::new()).unwrap();
        let batch = Batch::single(&ids("input_ids"), &ids("token_type_ids")).unwrap();
        let logits = engine.forward(&batch).unwrap();
        let expected = flatten(&expected["logits"]);
        assert_eq!(logits.values().len(), expected.len(), "{}", path.display());
        for (found, expected) in logits.values().iter().zip(&expected) {
            assert!(
                (f64::from(*found) - expected).abs() < TOLERANCE,
                "{}: {found}, {expected}",
                path.display()
            );
        }
        checked += 1;
    }
    assert!(checked >= 14, "only {checked} folders have expected logits");
}

#[test]
fn int8_folders_open_like_their_originals() {
    let target = tempfile::tempdir().unwrap();
    for name in
        ["mobilebert-f32", "mobilebert-mlm-f32", "bert-f32", "tf-names", "distilbert-f32", "electra-f32"]
    {
        let files = mobilebert::ModelFiles::Folder(folder(name));
        let int8 = target.path().join(name);
        let report = mobilebert_tools::writer::to_int8(&files, &int8).unwrap();
        assert!(report.quantized_tensors > 0 && report.f32_tensors > 0);
        let open = |source: &str| Engine::open(source, EngineOptions::new()).unwrap();
        let batch = Batch::single(&[2, 7, 9, 3], &[0, 0, 1, 1]).unwrap();
        let (a, b) = (
            open(&source(name)).forward(&batch).unwrap(),
            open(int8.to_str().unwrap()).forward(&batch).unwrap(),
        );
        let largest = a.values().iter().zip(b.values()).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        let range = a.values().iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(largest > 0.0 && largest < 0.05 * range, "{name}: {largest} of {range}");

        // The folder says what the model computes.
        let written = std::fs::read_to_string(int8.join("self-check.json")).unwrap();
        let hash = open(int8.to_str().unwrap()).self_check().unwrap();
        assert_eq!(written, format!("{{\"logits_sha256\":\"{hash}\"}}"));
        assert_ne!(hash, open(&source(name)).self_check().unwrap(), "{name}");

        // Quantising a quantised model again changes no weight.
        let again = target.path().join(format!("{name}-again"));
        mobilebert_tools::writer::to_int8(&mobilebert::ModelFiles::Folder(int8.clone()), &again).unwrap();
        let bytes = |folder: &PathBuf| std::fs::read(folder.join("model.safetensors")).unwrap();
        let (first, second) = (bytes(&int8), bytes(&again));
        let tensors = |file: &[u8]| {
            let (length, _) = safetensors::SafeTensors::read_metadata(file).unwrap();
            file[8 + length..].to_vec()
        };
        assert_eq!(tensors(&first), tensors(&second), "{name}");

        let (_, header) = safetensors::SafeTensors::read_metadata(&first).unwrap();
        let metadata = header.metadata().clone().unwrap();
        assert_eq!(metadata["format"], "pt");
        assert_eq!(metadata["mobilebert_version"], env!("CARGO_PKG_VERSION"));
        let digest = sha2::Sha256::digest(std::fs::read(folder(name).join("model.safetensors")).unwrap());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(metadata["source_sha256"], hex);
        let repeated = target.path().join(format!("{name}-repeated"));
        mobilebert_tools::writer::to_int8(&files, &repeated).unwrap();
        assert!(first == bytes(&repeated), "{name}: two runs write two files");
        assert!(
            mobilebert_tools::writer::to_int8(&files, &int8).is_err(),
            "an existing folder is not overwritten"
        );
    }
}

#[test]
fn int8_folders_tokenize_like_their_originals() {
    let target = tempfile::tempdir().unwrap();
    let original = target.path().join("original");
    std::fs::create_dir(&original).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer_config.json"] {
        std::fs::copy(folder("mobilebert-f32").join(file), original.join(file)).unwrap();
    }
    let vocab = std::fs::read_to_string(folder("mobilebert-f32").join("vocab.txt")).unwrap();
    let shorter: String = vocab.lines().take(39).map(|line| format!("{line}\n")).collect();
    std::fs::write(original.join("vocab.txt"), shorter).unwrap();
    std::fs::write(original.join("added_tokens.json"), r#"{"zebra": 39}"#).unwrap();

    let int8 = target.path().join("int8");
    let files = mobilebert::ModelFiles::Folder(original.clone());
    mobilebert_tools::writer::to_int8(&files, &int8).unwrap();
    let ids = |folder: PathBuf| {
        let tokenizer = mobilebert::ModelFiles::Folder(folder).tokenizer().unwrap();
        tokenizer.tokenize("a zebra works").unwrap().ids().to_vec()
    };
    assert!(ids(original.clone()).contains(&39));
    assert_eq!(ids(original), ids(int8));
}

#[test]
fn a_failed_conversion_leaves_other_folders_alone_and_none_of_its_own() {
    let target = tempfile::tempdir().unwrap();
    let source = target.path().join("source");
    std::fs::create_dir(&source).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder("mobilebert-f32").join(file), source.join(file)).unwrap();
    }
    // A folder cannot be read as a file.
    std::fs::create_dir(source.join("vocab.txt")).unwrap();
    let other = target.path().join(".int8.partial");
    std::fs::create_dir(&other).unwrap();
    let files = mobilebert::ModelFiles::Folder(source);
    assert!(mobilebert_tools::writer::to_int8(&files, &target.path().join("int8")).is_err());
    let mut left: Vec<_> =
        std::fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".int8.partial", "source"]);
}

#[test]
fn answers_labels_and_fills_are_pieces_of_the_text() {
    let text = "a 😀 É b\u{301}c\r\nd e";
    let qa = QuestionAnswering::open(source("mobilebert-f32")).unwrap();
    let answer = qa.answer("a ?", text).unwrap();
    assert_eq!(&text[answer.start..answer.end], answer.answer);

    for strategy in ["none", "simple", "first", "average", "max"] {
        let strategy: AggregationStrategy = strategy.parse().unwrap();
        let options = TagOptions::with(|o| {
            o.aggregation_strategy = strategy;
            o.ignore_labels.clear();
        });
        let ner = source("mobilebert-ner-f32");
        let tagger = TokenClassification::open_with(ner, ModelOptions::new(), options).unwrap();
        let entities = tagger.tag(text).unwrap();
        assert!(!entities.is_empty());
        assert!(entities.iter().all(|e| text[e.start..e.end] == e.word), "{strategy:?}");
        let json = serde_json::to_value(&entities[0]).unwrap();
        let key = if strategy == AggregationStrategy::None { "entity" } else { "entity_group" };
        assert!(json[key].is_string(), "{json}");
    }

    let masked = FillMask::open(source("mobilebert-mlm-f32")).unwrap().fill("a [MASK] É").unwrap();
    assert_eq!((masked.len(), masked[0].len()), (1, 5));
    for fill in &masked[0] {
        assert_eq!(fill.sequence, format!("a {} É", fill.token_str));
    }
}

/// This holds with any stride. Labels may differ from those of one long sequence, because a window shows less
/// of the text.
#[test]
fn windows_neither_lose_nor_double_a_word_of_a_long_text() {
    let text = "a b c d e ".repeat(30);
    let tagger = TokenClassification::open(source("mobilebert-ner-f32")).unwrap();
    let limit = tagger.engine().config().max_position_embeddings;
    for (max_seq_len, doc_stride) in [(limit.min(16), 4), (limit.min(12), 0), (limit.min(16), 13)] {
        let options = TagOptions::with(|o| {
            o.aggregation_strategy = AggregationStrategy::None;
            o.ignore_labels.clear();
            (o.max_seq_len, o.doc_stride) = (Some(max_seq_len), Some(doc_stride));
        });
        let entities = tagger.tag_with(&text, &options).unwrap();
        let words: Vec<&str> = entities.iter().map(|e| e.word.as_str()).collect();
        assert_eq!(words, text.split_whitespace().collect::<Vec<_>>(), "{max_seq_len}, {doc_stride}");
    }
}

#[test]
fn fill_mask_ranks_targets_only() {
    let targets = ["the", "city"].map(str::to_owned).to_vec();
    let options = FillOptions::with(|o| (o.targets, o.top_k) = (targets, 9));
    let pipeline = FillMask::open_with(source("mobilebert-mlm-f32"), ModelOptions::new(), options).unwrap();
    let fills = pipeline.fill("[MASK] b [MASK]").unwrap();
    assert_eq!(fills.len(), 2);
    for of_mask in &fills {
        let mut words: Vec<&str> = of_mask.iter().map(|f| f.token_str.as_str()).collect();
        words.sort_unstable();
        assert_eq!(words, ["city", "the"]);
    }
    assert!(fills[1][0].sequence.starts_with("[MASK] b "));
}

#[test]
fn any_model_embeds() {
    for name in ["mobilebert-f32", "bert-f32", "mobilebert-mlm-f32"] {
        for pooling in [Pooling::Mean, Pooling::Cls] {
            let options = EmbedOptions::with(|o| o.pooling = Some(pooling));
            let embedder = Embedder::open_with(source(name), ModelOptions::new(), options).unwrap();
            let embedding = embedder.embed("a b c").unwrap();
            assert_eq!(embedding.embedding.len(), embedder.engine().config().hidden_size);
            assert!((embedding.cosine(&embedding) - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn the_backend_is_chosen_by_name() {
    assert_eq!("candle".parse::<BackendKind>().unwrap(), BackendKind::Candle);
    assert_eq!("native".parse::<BackendKind>().unwrap(), BackendKind::Native);
    assert!("abacus".parse::<BackendKind>().unwrap_err().to_string().contains("candle"));
}
