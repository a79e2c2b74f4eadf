//! Trains models, and checks that the written folder is the trained model.
#![cfg(feature = "candle")]

#[path = "../../../tests/support/hard.rs"]
#[allow(dead_code, reason = "only some of the tools are used here")]
mod hard;

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::quant::Bits;
use mobilebert::{Error, ErrorKind, ModelFiles, QuestionAnswering};
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
        (FinetuneOptions::new(Task::Entities), "`task`"),
    ] {
        let error = finetune(&to, &data, &options).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Option { .. }) && error.to_string().contains(expected),
            "{error}"
        );
    }
    let error = kind(train::finetune(&checkpoint("mobilebert-f32"), &to, &data, None, &options(), &|_| {}));
    assert!(error.contains("question answering"), "{error}");
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
