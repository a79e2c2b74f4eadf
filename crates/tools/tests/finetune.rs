//! Trains models, and checks that the written folder is the trained model.
#![cfg(feature = "candle")]

#[path = "../../../tests/support/hard.rs"]
#[allow(dead_code, reason = "only some of the tools are used here")]
mod hard;

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::quant::Bits;
use mobilebert::{Embedder, Error, ErrorKind, ModelFiles, QuestionAnswering};
use mobilebert_tools::task::{Task, TaskOptions};
use mobilebert_tools::train::{self, FinetuneOptions, FinetuneReport};
use mobilebert_tools::writer::{self, Int8Options};

use hard::{copy, edit};

const CHECKPOINTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints/");

fn checkpoint(name: &str) -> String {
    format!("{CHECKPOINTS}{name}")
}

/// Writes sentences of the tiny vocabulary. The label depends on the first word.
fn texts(folder: &Path) -> PathBuf {
    const WORDS: [&str; 9] = ["film", "not", "very", "time", "king", "wrote", "paris", "book", "anna"];
    let mut seed = 7usize;
    let mut random = |n: usize| {
        seed = (seed * 25_173 + 13_849) % 65_536;
        seed * n / 65_536
    };
    let rows: String = (0..60)
        .map(|_| {
            let (word, label) = [("good", "positive"), ("bad", "negative"), ("day", "neutral")][random(3)];
            let rest: Vec<&str> = (0..4).map(|_| WORDS[random(WORDS.len())]).collect();
            format!("{word} {}\t{label}\n", rest.join(" "))
        })
        .collect();
    let path = folder.join("texts.tsv");
    fs::write(&path, format!("text\tlabel\n{rows}")).unwrap();
    path
}

fn options() -> FinetuneOptions {
    FinetuneOptions::new(Task::Labels).epochs(8).batch(8).rate(0.01)
}

fn finetune(to: &Path, data: &Path, options: &FinetuneOptions) -> Result<FinetuneReport, Error> {
    train::finetune(&checkpoint("bert-f32"), to, data, Some(data), options, &|_| {})
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

fn accuracy(model: &Path, data: &Path) -> f64 {
    let task = Task::Labels;
    let data = task.read(data).unwrap();
    let evaluator = TaskOptions::new(task).open(model.to_str().unwrap()).unwrap();
    let predictions = evaluator.predictions(&data, 0..data.len()).collect::<Result<Vec<_>, _>>().unwrap();
    task.score(&data, &predictions).unwrap().main()
}

#[test]
fn a_classifier_learns_in_any_arithmetic() {
    let folder = tempfile::tempdir().unwrap();
    let data = texts(folder.path());
    for (name, options) in
        [("f32", options()), ("int8", options().qat(Bits::Eight)), ("int4", options().qat(Bits::Four))]
    {
        let to = folder.path().join(name);
        let report = finetune(&to, &data, &options).unwrap();
        assert_eq!((report.arithmetic, report.sequences, report.steps, report.cut), (name, 60, 64, 0));
        assert_eq!(report.losses.len(), 8);
        assert!(report.losses[7] < 0.2 * report.losses[0], "{name}: {:?}", report.losses);
        let [before, after] = [&report.before, &report.after].map(|scores| scores.as_ref().unwrap().main());
        assert!(before < 60.0 && after > 95.0, "{name}: {before}, {after}");

        // The score is that of the written folder, or of the folder that `quantize` makes from it.
        let scored = match name {
            "f32" => to.clone(),
            name => {
                let bits = if name == "int4" { Bits::Four } else { Bits::Eight };
                let quantised = folder.path().join(format!("quantised-{name}"));
                let files = ModelFiles::Folder(to.clone());
                writer::to_int8_with(&files, &quantised, &Int8Options::new().bits(bits)).unwrap();
                quantised
            }
        };
        assert_eq!(accuracy(&scored, &data), after, "{name}");
    }
    // No other file is left behind.
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["f32", "int4", "int8", "quantised-int4", "quantised-int8", "texts.tsv"]);
}

/// Trains with a teacher that knows better than the data, in floats and for a student in 4 bits.
#[test]
fn a_teacher_stands_in_for_the_labels() {
    let folder = tempfile::tempdir().unwrap();
    let data = texts(folder.path());
    let teacher = folder.path().join("teacher");
    finetune(&teacher, &data, &options()).unwrap();
    let wrong = folder.path().join("wrong.tsv");
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&wrong, text.replace("positive", "neutral")).unwrap();
    for (name, options) in [("f32", options()), ("int4", options().qat(Bits::Four))] {
        let options = options.teacher(teacher.to_str().unwrap());
        let to = folder.path().join(name);
        train::finetune(&checkpoint("bert-f32"), &to, &wrong, None, &options, &|_| {}).unwrap();
        assert!(accuracy(&to, &data) > 95.0, "{name}");
    }

    // These teachers have other tokens, or labels in another order.
    let changed = |file: &str, from: &str, to: &str| {
        let path = folder.path().join(file.replace('.', "-"));
        copy(&teacher, &path);
        let text = fs::read_to_string(path.join(file)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path.join(file), text.replacen(from, to, 1)).unwrap();
        let options = options().teacher(path.to_str().unwrap());
        finetune(&folder.path().join("none"), &data, &options).unwrap_err().to_string()
    };
    let error = changed("vocab.txt", "good\n", "gude\n");
    assert!(error.contains("`teacher`") && error.contains("vocabulary"), "{error}");
    let error = changed("config.json", "positive", "else");
    assert!(error.contains("else"), "{error}");
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = texts(folder.path());
    let short = options().qat(Bits::Eight).epochs(2);
    let bits = |name: &str, options: FinetuneOptions| {
        let to = folder.path().join(name);
        finetune(&to, &data, &options).unwrap();
        weights(&to)
    };
    let first = bits("a", short.clone());
    assert_eq!(first, bits("b", short.clone()));
    assert_ne!(first, bits("c", short.clone().seed(1)));
    assert_ne!(first, bits("d", options().epochs(2)));
}

#[test]
fn answers_are_learned_in_windows() {
    let folder = tempfile::tempdir().unwrap();
    let context =
        "paris is a city . france is a very good day . anna wrote the book in paris . time works at the film";
    let question = |id: usize, question: &str, answer: &str| {
        let start = context.find(answer).unwrap();
        format!(
            r#"{{"id": "{id}", "question": "{question}", "answers": [{{"text": "{answer}", "answer_start": {start}}}]}}"#
        )
    };
    let questions = [
        question(1, "who wrote ?", "anna"),
        question(2, "what is paris ?", "a city"),
        question(3, "what works ?", "time"),
    ];
    let data = folder.path().join("train.json");
    let json = format!(
        r#"{{"data": [{{"paragraphs": [{{"context": "{context}", "qas": [{}]}}]}}]}}"#,
        questions.join(",")
    );
    fs::write(&data, json).unwrap();
    let to = folder.path().join("tuned");
    let options = FinetuneOptions::new(Task::Squad).qat(Bits::Eight).epochs(150).batch(3).rate(0.01);
    let source = checkpoint("mobilebert-f32");
    let report = train::finetune(&source, &to, &data, Some(&data), &options, &|_| {}).unwrap();
    // A window of 24 tokens cannot hold the whole context.
    assert!(report.sequences > 3, "{}", report.sequences);
    assert_eq!(report.metric, Some("f1"));
    let [before, after] = [&report.before, &report.after].map(|scores| scores.as_ref().unwrap().main());
    assert!(before < 60.0 && after > 90.0, "{before}, {after}, {:?}", report.losses);
    let qa = QuestionAnswering::open(to.to_str().unwrap()).unwrap();
    assert_eq!(qa.answer("who wrote ?", context).unwrap().answer, "anna");
}

#[test]
fn what_cannot_be_trained_says_so_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = texts(folder.path());
    let to = folder.path().join("tuned");
    let kind = |result: Result<FinetuneReport, Error>| result.unwrap_err().kind().to_string();

    for (options, expected) in [
        (options().epochs(0), "`epochs`"),
        (options().batch(0), "`batch`"),
        (options().rate(0.0), "`rate`"),
        (options().rate(f64::NAN), "`rate`"),
        (options().max_seq_len(1000), "`max_seq_len`"),
    ] {
        let error = finetune(&to, &data, &options).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Option { .. }) && error.to_string().contains(expected),
            "{error}"
        );
    }
    let error = kind(train::finetune(&checkpoint("mobilebert-f32"), &to, &data, None, &options(), &|_| {}));
    assert!(error.contains("question answering"), "{error}");
    let error = kind(finetune(&to, &data, &FinetuneOptions::new(Task::Entities)));
    assert!(error.contains("text classification") && error.contains("TokenClassification"), "{error}");
    let unknown = folder.path().join("unknown.tsv");
    fs::write(&unknown, "text\tlabel\ngood\tpositive\nbad\tawful\n").unwrap();
    let error = kind(finetune(&to, &unknown, &options()));
    assert!(error.contains("line 3") && error.contains("awful"), "{error}");
    fs::write(&unknown, "text\tlabel\n\tpositive\n").unwrap();
    let error = kind(finetune(&to, &unknown, &options()));
    assert!(error.contains("line 2") && error.contains("empty"), "{error}");

    let broken = folder.path().join("broken");
    copy(Path::new(&checkpoint("bert-f32")), &broken);
    edit(&broken, |tensors| tensors.get_mut("classifier.weight").unwrap().fill(3e38));
    let result = train::finetune(broken.to_str().unwrap(), &to, &data, None, &options(), &|_| {});
    let error = result.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Diverged { step: 1, .. }), "{error}");

    // An existing folder is only replaced if that is allowed, and never if it is the source.
    fs::create_dir(&to).unwrap();
    let error = kind(finetune(&to, &data, &options()));
    assert!(error.contains("already exists"), "{error}");
    finetune(&to, &data, &options().epochs(1).force(true)).unwrap();
    let tuned = to.to_str().unwrap();
    let error = kind(train::finetune(tuned, &to, &data, None, &options().force(true), &|_| {}));
    assert!(error.contains("holds the source"), "{error}");
    let entries = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 4, "data, unknown, broken, tuned");
}

/// Checks that texts which are cut are counted.
#[test]
fn cut_texts_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let data = texts(folder.path());
    let report = finetune(&folder.path().join("tuned"), &data, &options().epochs(1).limit(10).max_seq_len(5));
    let report = report.unwrap();
    assert_eq!((report.sequences, report.cut, report.steps), (10, 10, 2));
}

/// Writes pairs of texts. The score says whether both are about the same thing.
fn pairs(folder: &Path) -> PathBuf {
    const ABOUT: [[&str; 4]; 3] = [
        ["paris", "the city paris", "a city in france", "france is a city"],
        ["anna", "anna works", "who is anna ?", "the king and anna"],
        ["a good film", "the film", "a very good film", "bad film"],
    ];
    let texts = || ABOUT.iter().enumerate().flat_map(|(i, texts)| texts.iter().map(move |text| (i, text)));
    let rows: String = texts()
        .flat_map(|(i, a)| {
            texts().map(move |(j, b)| format!("{a}\t{b}\t{}\n", if i == j { 4.5 } else { 0.5 }))
        })
        .collect();
    let path = folder.join("pairs.tsv");
    fs::write(&path, format!("sentence1\tsentence2\tscore\n{rows}")).unwrap();
    path
}

#[test]
fn vectors_are_learned_and_the_folder_is_one_of_sentence_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let data = pairs(folder.path());
    for (name, bits) in [("f32", None), ("int8", Some(Bits::Eight))] {
        let options = FinetuneOptions::new(Task::Embeddings).epochs(12).batch(16).rate(0.01);
        let options = bits.map_or(options.clone(), |bits| options.qat(bits));
        let to = folder.path().join(name);
        let report = finetune(&to, &data, &options).unwrap();
        // There are 144 pairs, each of two sequences.
        assert_eq!((report.sequences, report.steps, report.metric), (288, 108, Some("spearman")));
        assert!(report.losses[11] < 0.3 * report.losses[0], "{name}: {:?}", report.losses);
        let [before, after] = [&report.before, &report.after].map(|scores| scores.as_ref().unwrap().main());
        assert!(before < 70.0 && after > 80.0, "{name}: {before}, {after}");

        let embedder = Embedder::open(to.to_str().unwrap()).unwrap();
        assert!(embedder.is_trained_for_embeddings());
        assert_eq!(embedder.engine().config().class_name(), "BertModel");
        // sentence-transformers needs the width.
        let pooling: serde_json::Value =
            serde_json::from_slice(&fs::read(to.join("1_Pooling/config.json")).unwrap()).unwrap();
        assert_eq!(pooling["word_embedding_dimension"], embedder.engine().config().hidden_size);
        let [paris, city, anna] =
            ["paris", "a city in france", "anna works"].map(|text| embedder.embed(text).unwrap());
        assert!(paris.cosine(&city) > paris.cosine(&anna) + 0.3, "{name}");
    }
}

/// The cosines of a teacher's vectors stand in for scores that say nothing.
#[test]
fn vectors_are_learned_from_a_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let data = pairs(folder.path());
    let options = FinetuneOptions::new(Task::Embeddings).epochs(12).batch(16).rate(0.01);
    let (teacher, student) = (folder.path().join("teacher"), folder.path().join("student"));
    finetune(&teacher, &data, &options).unwrap();
    let blank = folder.path().join("blank.tsv");
    fs::write(&blank, fs::read_to_string(&data).unwrap().replace("\t4.5", "\t0.5")).unwrap();
    let options = options.teacher(teacher.to_str().unwrap());
    train::finetune(&checkpoint("bert-f32"), &student, &blank, None, &options, &|_| {}).unwrap();
    let scores = {
        let data = Task::Embeddings.read(&data).unwrap();
        let evaluator = TaskOptions::new(Task::Embeddings).open(student.to_str().unwrap()).unwrap();
        let found = evaluator.predictions(&data, 0..data.len()).collect::<Result<Vec<_>, _>>().unwrap();
        Task::Embeddings.score(&data, &found).unwrap()
    };
    assert!(scores.main() > 80.0, "{scores:?}");
    // This teacher makes its vectors in another way than the student.
    fs::write(teacher.join("1_Pooling/config.json"), r#"{"pooling_mode": "cls"}"#).unwrap();
    let options = FinetuneOptions::new(Task::Embeddings).teacher(teacher.to_str().unwrap());
    let error = finetune(&folder.path().join("none"), &data, &options).unwrap_err().to_string();
    assert!(error.contains("`teacher`"), "{error}");
}

/// The loss of a model is what its vectors say: the squared distance of each cosine from its score.
#[test]
fn the_loss_of_vectors_is_that_of_the_embedder_with_every_pooling() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    copy(Path::new(&checkpoint("bert-f32")), &source);
    let modules = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;
    fs::write(source.join("modules.json"), modules).unwrap();
    fs::create_dir_all(source.join("1_Pooling")).unwrap();
    let rows =
        [("anna works in paris", "the king", 2.0), ("a very good film", "bad", 0.0), ("time", "day", 5.0)];
    let data = folder.path().join("pairs.tsv");
    let lines: String = rows.iter().map(|(a, b, score)| format!("{a}\t{b}\t{score}\n")).collect();
    fs::write(&data, format!("sentence1\tsentence2\tscore\n{lines}")).unwrap();
    for pooling in [
        r#""mean""#,
        r#""cls""#,
        r#""max""#,
        r#""mean_sqrt_len_tokens""#,
        r#""weightedmean""#,
        r#""lasttoken""#,
        r#"["cls", "mean"]"#,
    ] {
        fs::write(source.join("1_Pooling/config.json"), format!(r#"{{"pooling_mode": {pooling}}}"#)).unwrap();
        let embedder = Embedder::open(&source).unwrap();
        let expected = rows.iter().map(|(a, b, score)| {
            let cosine = embedder.embed(a).unwrap().cosine(&embedder.embed(b).unwrap());
            f64::from(cosine - score / 5.0).powi(2)
        });
        let expected = expected.sum::<f64>() / rows.len() as f64;
        let options = FinetuneOptions::new(Task::Embeddings).epochs(1).batch(3);
        let to = folder.path().join(pooling.replace(|c: char| !c.is_ascii_alphabetic(), "-"));
        let found =
            train::finetune(source.to_str().unwrap(), &to, &data, None, &options, &|_| {}).unwrap().losses[0];
        assert!((found - expected).abs() < 1e-5, "{pooling}: {found} and {expected}");
        // The copy makes vectors in the same way.
        assert_eq!(Embedder::open(&to).unwrap().poolings(), embedder.poolings());
    }
}

#[test]
fn labels_of_words_are_learned() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("words.conll");
    let tag = |word: &str| match word {
        "anna" | "king" => "B-PER",
        "paris" | "france" => "B-LOC",
        _ => "O",
    };
    let sentences = [
        "anna works in paris",
        "the king wrote a book",
        "france is very good",
        "who is the king of france",
        "anna and the king",
        "a film in paris",
        "time works",
        "what city is paris",
        "the bookers wrote it",
    ];
    let text: String = sentences
        .iter()
        .map(|text| text.split(' ').map(|word| format!("{word}\t{}\n", tag(word))).collect::<String>() + "\n")
        .collect();
    fs::write(&data, text).unwrap();
    let to = folder.path().join("tuned");
    let source = checkpoint("mobilebert-ner-f32");
    let options = FinetuneOptions::new(Task::Entities).qat(Bits::Eight).epochs(60).batch(5).rate(0.01);
    let report = train::finetune(&source, &to, &data, Some(&data), &options, &|_| {}).unwrap();
    assert_eq!((report.sequences, report.metric), (9, Some("f1")));
    assert!(report.losses[59] < 0.2 * report.losses[0], "{:?}", report.losses);
    let [before, after] = [&report.before, &report.after].map(|scores| scores.as_ref().unwrap().main());
    assert!(before < 50.0 && after > 90.0, "{before}, {after}");

    fs::write(&data, "anna\tB-person\n").unwrap();
    let error = train::finetune(&source, &folder.path().join("none"), &data, None, &options, &|_| {});
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("words.conll, line 1: label `B-person` is none of the model's: O, B-PER"),
        "{error}"
    );
}
