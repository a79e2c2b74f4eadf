//! What a user may get wrong, and the error that helps.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use mobilebert::format::{Tensor, WeightSource};
use mobilebert::graph::ParameterId;
use mobilebert::{
    AnswerOptions, Batch, ClassifyOptions, EmbedOptions, Embedder, Engine, EngineOptions, ErrorKind,
    FillMask, Head, LongText, ModelConfig, ModelOptions, Precision, QuestionAnswering, Result, TagOptions,
    TextClassification, TokenClassification, model,
};

fn golden(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../../tests/golden/checkpoints").join(name).to_str().unwrap().to_owned()
}

#[track_caller]
fn assert_error<T: std::fmt::Debug>(result: Result<T>, kind: fn(&ErrorKind) -> bool, words: &[&str]) {
    let error = result.expect_err("an error");
    assert!(kind(error.kind()), "{error:?}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

fn qa_with(options: AnswerOptions) -> Result<QuestionAnswering> {
    QuestionAnswering::open_with(golden("mobilebert-f32"), ModelOptions::new(), options)
}

fn classifier_with(options: ClassifyOptions) -> Result<TextClassification> {
    TextClassification::open_with(golden("bert-f32"), ModelOptions::new(), options)
}

const EMPTY: fn(&ErrorKind) -> bool = |k| matches!(k, ErrorKind::EmptyText { .. });
const OPTION: fn(&ErrorKind) -> bool = |k| matches!(k, ErrorKind::Option { .. });
const TOO_LONG: fn(&ErrorKind) -> bool = |k| matches!(k, ErrorKind::TooLong { .. });
const WRONG_TASK: fn(&ErrorKind) -> bool = |k| matches!(k, ErrorKind::WrongTask { .. });
const BATCH: fn(&ErrorKind) -> bool = |k| matches!(k, ErrorKind::Batch { .. });

#[test]
fn texts_without_words() {
    let qa = QuestionAnswering::open(golden("mobilebert-f32")).unwrap();
    for nothing in ["", "  \r\n\t", "\u{200b}\u{feff}"] {
        assert_error(qa.answer("a", nothing), EMPTY, &["context", "empty"]);
        assert_error(qa.answer(nothing, "a"), EMPTY, &["question"]);
        assert_error(Embedder::open(golden("bert-f32")).unwrap().embed(nothing), EMPTY, &["text"]);
    }
    let classifier = TextClassification::open(golden("bert-f32")).unwrap();
    assert_error(classifier.classify_batch(&["a", ""]), EMPTY, &["text 2"]);
    assert_error(classifier.classify_pair("a", ""), EMPTY, &["second text"]);
    assert_error(TokenClassification::open(golden("mobilebert-ner-f32")).unwrap().tag(""), EMPTY, &["text"]);
    assert!(classifier.classify_batch::<&str>(&[]).unwrap().is_empty());
}

#[test]
fn questions_and_texts_that_do_not_fit() {
    let qa = QuestionAnswering::open(golden("mobilebert-f32")).unwrap();
    assert_error(
        qa.answer(&"a ".repeat(100), "b c"),
        TOO_LONG,
        &["question", "100 tokens", "max_question_len"],
    );

    let long = "a b ".repeat(2000);
    let refuse = classifier_with(ClassifyOptions::with(|o| o.long_text = LongText::Refuse)).unwrap();
    assert_error(refuse.classify(&long), TOO_LONG, &["4002 tokens", "shorten"]);
    let truncate = TextClassification::open(golden("bert-f32")).unwrap();
    assert!(truncate.classify(&long).unwrap().truncated, "a cut text is never silent");
    assert!(!truncate.classify("a b").unwrap().truncated);
    let windows = classifier_with(ClassifyOptions::with(|o| o.long_text = LongText::WindowsMean)).unwrap();
    assert!(!windows.classify(&long).unwrap().truncated);
    assert_error(windows.classify_pair(&long, "a"), TOO_LONG, &["pair"]);
    assert!(Embedder::open(golden("bert-f32")).unwrap().embed(&long).unwrap().truncated);

    let mlm = FillMask::open(golden("mobilebert-mlm-f32")).unwrap();
    assert_error(mlm.fill(&format!("{long} [MASK]")), TOO_LONG, &["not cut"]);
    assert_error(mlm.fill("a b"), |k| matches!(k, ErrorKind::Input { .. }), &["[MASK]"]);
}

#[test]
fn options_out_of_range() {
    let qa = |change: fn(&mut AnswerOptions)| qa_with(AnswerOptions::with(change));
    assert_error(qa(|o| o.top_k = 0), OPTION, &["top_k"]);
    assert_error(qa(|o| o.max_answer_len = 0), OPTION, &["max_answer_len"]);
    assert_error(qa(|o| o.max_seq_len = Some(100_000)), OPTION, &["max_seq_len", "model's limit"]);
    let windows = |max_seq_len, doc_stride| {
        qa_with(AnswerOptions::with(|o| {
            (o.max_seq_len, o.doc_stride) = (Some(max_seq_len), Some(doc_stride));
        }))
    };
    assert_error(windows(16, 12), OPTION, &["doc_stride", "less than 12"]);
    windows(16, 11).unwrap();
    assert_error(windows(4, 0), OPTION, &["max_seq_len", "at least 5"]);
    let (model, threads) = (golden("mobilebert-f32"), EngineOptions::new().threads(0));
    let without_threads = QuestionAnswering::open_with(&model, threads, AnswerOptions::default());
    assert_error(without_threads, OPTION, &["threads"]);

    let embed = EmbedOptions::with(|o| o.max_seq_len = Some(0));
    let embed = Embedder::open_with(&model, ModelOptions::new(), embed);
    assert_error(embed, OPTION, &["max_seq_len", "at least 3"]);
    let tag = |max_seq_len, doc_stride| {
        let options = TagOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(max_seq_len), doc_stride));
        TokenClassification::open_with(golden("mobilebert-ner-f32"), ModelOptions::new(), options)
    };
    assert_error(tag(8, Some(6)), OPTION, &["doc_stride", "less than 6"]);
    assert_error(tag(0, None), OPTION, &["max_seq_len"]);
    let classify = |max_seq_len, long_text| {
        classifier_with(ClassifyOptions::with(|o| {
            (o.max_seq_len, o.doc_stride, o.long_text) = (Some(max_seq_len), Some(6), long_text);
        }))
    };
    classify(8, LongText::Truncate).unwrap();
    assert_error(classify(8, LongText::WindowsMax), OPTION, &["doc_stride"]);
    assert_error(classify(2, LongText::Truncate), OPTION, &["max_seq_len"]);
    let labels = ["positive", "nonsense"].map(str::to_owned).to_vec();
    assert_error(classifier_with(ClassifyOptions::with(|o| o.labels = labels)), OPTION, &["nonsense"]);
}

#[test]
fn limits_without_limit() {
    let qa = |change: fn(&mut AnswerOptions)| {
        let mut options = AnswerOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(16), Some(4)));
        change(&mut options);
        qa_with(options).unwrap()
    };
    let context = "anna works in paris and the king wrote a book at a good time of day";
    let all = qa(|o| (o.top_k, o.max_answer_len) = (usize::MAX, 2));
    let answers = all.answers("who?", context).unwrap();
    let words: Vec<&str> = context.split(' ').collect();
    let pairs = words.windows(2).map(|pair| pair.join(" "));
    let texts: HashSet<String> = words.iter().map(|&word| word.to_owned()).chain(pairs).collect();
    assert_eq!(answers.len(), texts.len(), "every word and every two words, each text once");
    assert!(answers.is_sorted_by(|a, b| a.score >= b.score));
    let ten = qa(|o| (o.top_k, o.max_answer_len) = (10, 2));
    assert_eq!(ten.answers("who?", context).unwrap(), answers[..10]);

    let any_length = qa(|o| (o.max_answer_len, o.max_question_len) = (usize::MAX, usize::MAX));
    let whole_window = qa(|o| o.max_answer_len = 16);
    assert_eq!(any_length.answer("who?", context).unwrap(), whole_window.answer("who?", context).unwrap());
    let both = qa(|o| (o.top_k, o.max_answer_len) = (usize::MAX, usize::MAX));
    assert!(both.answers("who?", context).unwrap().len() > answers.len());
}

#[test]
fn models_for_other_tasks() {
    assert_error(
        QuestionAnswering::open(golden("bert-f32")),
        WRONG_TASK,
        &["for text classification (BertForSequenceClassification)", "needs a BertForQuestionAnswering or"],
    );
    assert_error(FillMask::open(golden("mobilebert-f32")), WRONG_TASK, &["ForMaskedLM"]);
}

#[test]
fn numbers_beyond_the_tables() {
    let engine = Engine::open(golden("mobilebert-f32"), EngineOptions::new()).unwrap();
    let forward = |ids: &[u32], types: &[u32]| engine.forward(&Batch::single(ids, types).unwrap());
    assert_error(forward(&[2, 40], &[0, 0]), BATCH, &["token id is 40", "position 1", "vocab_size"]);
    assert_error(forward(&[2, 3], &[0, 7]), BATCH, &["type id is 7"]);
    let limit = engine.config().max_position_embeddings + 1;
    assert_error(forward(&vec![1; limit], &vec![0; limit]), BATCH, &["max_position_embeddings"]);
    assert_error(Batch::single(&[], &[]), BATCH, &["at least 1"]);
    assert_error(Batch::single(&[1, 2], &[0]), BATCH, &["type ids"]);
    assert_error(engine.forward_rows(&Batch::single(&[1], &[0]).unwrap(), &[1]), BATCH, &["requested row"]);
    assert_error(Batch::from_padded(&[1, 2, 3], &[0; 3], &[1, 0, 1], 3), BATCH, &["mask", "position 2"]);
    assert_eq!(engine.forward(&Batch::new()).unwrap().rows(), 0);
}

/// A built-in name is the same model in every working directory, or an error that names both models.
#[test]
fn a_model_folder_with_a_built_in_name_is_ambiguous() {
    let working = tempfile::tempdir().unwrap();
    let inspect = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mobilebert"));
        let output = command.arg("inspect").args(args).current_dir(working.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    fs::create_dir(working.path().join("qa")).unwrap();
    assert_eq!(inspect(&["--model", "qa"]).0, Some(0), "a folder without a model is none");
    fs::write(working.path().join("qa/config.json"), "{}").unwrap();
    let (code, message) = inspect(&["--model", "qa"]);
    assert_eq!(code, Some(1), "{message}");
    for way in ["`./qa`", "`models/qa`", "`built-in:qa`"] {
        assert!(message.contains(way), "{way} is not in: {message}");
    }
    assert_eq!(inspect(&["--model", "built-in:qa"]).0, Some(0));
    assert_eq!(inspect(&[]).0, Some(0), "the default is the built-in model");
    let (code, message) = inspect(&["--model", "./qa"]);
    assert!(code == Some(1) && message.contains("config.json"), "{message}");
    assert!(!message.contains("both"), "{message}");
}

#[test]
fn a_file_of_a_model_names_its_folder() {
    let (folder, unknown): (_, fn(&ErrorKind) -> bool) =
        (golden("mobilebert-f32"), |k| matches!(k, ErrorKind::UnknownModel { .. }));
    let file = format!("{folder}/model.safetensors");
    assert_error(QuestionAnswering::open(file.as_str()), unknown, &["the folder that holds it", &folder]);
}

#[test]
fn sources_that_are_no_models() {
    let unknown: fn(&ErrorKind) -> bool = |k| matches!(k, ErrorKind::UnknownModel { .. });
    let open = |source: &str| QuestionAnswering::open(source);
    assert_error(open("no-such-thing"), unknown, &["no-such-thing", "qa, sentiment"]);
    let empty = tempfile::tempdir().unwrap();
    let missing: fn(&ErrorKind) -> bool = |k| matches!(k, ErrorKind::MissingFile { .. });
    assert_error(open(empty.path().to_str().unwrap()), missing, &["config.json", "save_pretrained"]);

    let copy = |file: &str| {
        fs::copy(PathBuf::from(golden("mobilebert-f32")).join(file), empty.path().join(file)).unwrap()
    };
    copy("config.json");
    assert_error(open(empty.path().to_str().unwrap()), missing, &["model.safetensors"]);
    copy("model.safetensors");
    assert_error(open(empty.path().to_str().unwrap()), missing, &["vocab.txt"]);

    let vocab: String = (0..41).map(|i| format!("word{i}\n")).collect();
    fs::write(empty.path().join("vocab.txt"), format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{vocab}"))
        .unwrap();
    let too_large: fn(&ErrorKind) -> bool = |k| matches!(k, ErrorKind::Tokenizer { .. });
    assert_error(open(empty.path().to_str().unwrap()), too_large, &["46", "40"]);
}

/// Finite weights whose products are not.
struct Huge(Vec<usize>);

impl WeightSource for Huge {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        Ok(Tensor::F32(vec![3e38; self.0[parameter.0]].into()))
    }
}

#[test]
fn weights_that_overflow() {
    let json = r#"{"model_type": "bert", "num_hidden_layers": 1, "vocab_size": 9}"#;
    let config = ModelConfig::from_json(json).unwrap();
    let graph = model::build(&config, Head::TokenClassification);
    let huge = Huge(graph.parameters.iter().map(|p| p.shape.iter().product()).collect());
    let options = EngineOptions::new().precision(Precision::F32);
    let engine = Engine::from_weights(config, graph, &huge, options).unwrap();
    let result = engine.forward(&Batch::single(&[1, 2], &[0, 0]).unwrap());
    assert_error(result, |k| matches!(k, ErrorKind::NotFinite { .. }), &["row 0", "overflow"]);
}
