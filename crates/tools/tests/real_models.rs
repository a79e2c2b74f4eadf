//! Compares the committed models, and their f32 originals, with recorded answers of the original Python
//! implementation.
//!
//! The texts are not part of the repository. Without the data folder (`../shared/data`, or `MOBILEBERT_DATA`)
//! these tests print that they are skipped, and pass.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use mobilebert::quant::Scales;
use mobilebert::{AnswerOptions, Batch, Engine, EngineOptions, Precision, QuestionAnswering, TextIndex};
use mobilebert_tools::compare::node_by_node;
use mobilebert_tools::task::{Dataset, Evaluator, Prediction, Task, TaskOptions};
use mobilebert_tools::writer::{Int8Options, to_int8_with};
use serde_json::Value;

/// The tolerance for scores. Sums in another order change a score by at most 2e-6 (measured on these
/// questions).
const SCORE_TOLERANCE: f64 = 1e-5;

/// The largest change of the SST-2 accuracy, in points, between f32 and int8 arithmetic.
const MAX_SST2_DROP: f64 = 0.3;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns a folder beside the repository. If it is absent, prints `SKIPPED` and returns `None`.
fn shared(part: &str, variable: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os(variable).map_or_else(|| root().join("../shared").join(part), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    // The test harness would hide the text of `eprintln!` if the test passes.
    let line = format!("SKIPPED: {} is absent; set {variable}\n", folder.display());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Returns the question and context of each SQuAD id.
fn squad(path: &Path) -> HashMap<String, (String, String)> {
    let mut questions = HashMap::new();
    for article in read_json(path)["data"].as_array().unwrap() {
        for paragraph in article["paragraphs"].as_array().unwrap() {
            for qa in paragraph["qas"].as_array().unwrap() {
                let text = |v: &Value| v.as_str().unwrap().to_owned();
                questions.insert(text(&qa["id"]), (text(&qa["question"]), text(&paragraph["context"])));
            }
        }
    }
    questions
}

struct Recorded {
    id: String,
    start: usize,
    end: usize,
    answer: String,
    score: f64,
}

fn recorded_answers(file: &str) -> Vec<Recorded> {
    let text = std::fs::read_to_string(root().join("tests/golden/answers").join(file)).unwrap();
    let answers: Vec<Recorded> = text
        .lines()
        .map(|line| {
            let v: Value = serde_json::from_str(line).unwrap();
            Recorded {
                id: v["id"].as_str().unwrap().to_owned(),
                start: v["start_char"].as_u64().unwrap() as usize,
                end: v["end_char"].as_u64().unwrap() as usize,
                answer: v["answer"].as_str().unwrap().to_owned(),
                score: v["score"].as_f64().unwrap(),
            }
        })
        .collect();
    assert_eq!(answers.len(), 200);
    answers
}

/// Opens a model in f32, as PyTorch runs it, whatever the type of the weights.
fn open_f32(source: &str) -> QuestionAnswering {
    let engine = EngineOptions::new().precision(Precision::F32);
    // The recorded score is that of one place, also where a text stands in several.
    let each_place = AnswerOptions::with(|o| o.merge_equal_texts = false);
    QuestionAnswering::open_with(source, engine, each_place).unwrap()
}

/// Checks that every answer has the recorded place and the recorded score.
fn assert_answers_as_recorded(qa: &QuestionAnswering, data: &Path, file: &str) {
    let questions = squad(&data.join("squad/dev-v1.1.json"));
    let mut failures = Vec::new();
    for recorded in recorded_answers(file) {
        let (question, context) = &questions[&recorded.id];
        let found = qa.answer(question, context).unwrap();
        assert_eq!(&context[found.start..found.end], found.answer);
        let index = TextIndex::new(context);
        let chars = (index.chars(found.start), index.chars(found.end));
        let same_place = chars == (Some(recorded.start), Some(recorded.end));
        if !same_place || (f64::from(found.score) - recorded.score).abs() > SCORE_TOLERANCE {
            failures.push(format!(
                "{}: {:?} {}, recorded {:?} {}",
                recorded.id, found.answer, found.score, recorded.answer, recorded.score
            ));
        }
    }
    assert!(failures.is_empty(), "{} of 200 differ:\n{}", failures.len(), failures.join("\n"));
}

/// Checks the f16 checkpoint that `models/qa` was quantised from, and a BERT.
#[test]
fn checkpoints_answer_200_squad_questions_in_f32_as_transformers_does() {
    let (Some(data), Some(weights)) =
        (shared("data", "MOBILEBERT_DATA"), shared("weights", "MOBILEBERT_WEIGHTS"))
    else {
        return;
    };
    for (checkpoint, file) in [("qa-mobilebert-24l", "qa.jsonl"), ("squad-minilm-l6", "qa-minilm.jsonl")] {
        let qa = open_f32(weights.join(checkpoint).to_str().unwrap());
        assert_answers_as_recorded(&qa, &data, file);
    }
}

#[test]
fn the_committed_model_answers_200_squad_questions_as_transformers_does() {
    let Some(data) = shared("data", "MOBILEBERT_DATA") else { return };
    assert_answers_as_recorded(&open_f32("qa"), &data, "qa-int8.jsonl");
}

/// Returns the class, the probability of "positive" and the prediction of every example.
fn classes(sentiment: &Evaluator, data: &Dataset) -> Vec<(usize, f32, Prediction)> {
    let class = |prediction: Prediction| match &prediction {
        Prediction::Class { class, probabilities } => (*class, probabilities[1], prediction),
        _ => panic!("{prediction:?}"),
    };
    sentiment.predictions(data, 0..data.len()).map(|p| class(p.unwrap())).collect()
}

#[test]
fn the_committed_model_classifies_sst2_dev_as_transformers_does() {
    let Some(data) = shared("data", "MOBILEBERT_DATA") else { return };
    let recorded = read_json(&root().join("tests/golden/answers/sst2.json"));
    let recorded = &recorded["sentiment"];
    let task: Task = "sst2".parse().unwrap();
    let dev = task.read(&data.join("glue/sst2/dev.tsv")).unwrap();
    assert_eq!(dev.len(), 872);

    let open = |precision| {
        TaskOptions::new(task).engine(EngineOptions::new().precision(precision)).open("sentiment").unwrap()
    };
    for (line, (class, positive, _)) in classes(&open(Precision::F32), &dev).iter().enumerate() {
        let logits: Vec<f64> =
            recorded["logits"][line].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let expected = 1.0 / (1.0 + (logits[0] - logits[1]).exp());
        assert_eq!(*class as u64, recorded["labels"][line].as_u64().unwrap(), "example {line}");
        assert!((f64::from(*positive) - expected).abs() <= SCORE_TOLERANCE, "{line}: {positive}, {expected}");
    }
    let int8 = classes(&open(Precision::Int8), &dev);
    let changed = int8.iter().zip(recorded["labels"].as_array().unwrap());
    let changed = changed.filter(|(found, label)| found.0 as u64 != label.as_u64().unwrap()).count();
    let int8: Vec<Prediction> = int8.into_iter().map(|(_, _, prediction)| prediction).collect();
    let accuracy = task.score(&dev, &int8).unwrap().main();
    let reference = 100.0 * recorded["accuracy"].as_f64().unwrap();
    println!("SST-2 dev: {accuracy:.2}, f32 {reference:.2}; {changed} of {} labels differ", dev.len());
    assert!(accuracy >= reference - MAX_SST2_DROP, "{accuracy:.2} against {reference:.2} in f32");
}

/// The largest drop of Spearman's correlation on STS-B dev, in points, from the original model in f32 to int8.
const MAX_STSB_DROP: f64 = 0.3;

#[test]
fn the_committed_model_ranks_sts_b_dev_as_transformers_does() {
    let Some(data) = shared("data", "MOBILEBERT_DATA") else { return };
    let recorded = read_json(&root().join("tests/golden/answers/embed.json"));
    let recorded = &recorded["stsb_dev"];
    let dev = Task::Embeddings.read(&data.join("glue/stsb/dev.tsv")).unwrap();
    assert_eq!(dev.len(), 1500);
    let predict = |precision| -> Vec<Prediction> {
        let options = TaskOptions::new(Task::Embeddings).engine(EngineOptions::new().precision(precision));
        options.open("embed").unwrap().predictions(&dev, 0..dev.len()).map(Result::unwrap).collect()
    };
    let f32 = predict(Precision::F32);
    for (line, prediction) in f32.iter().enumerate() {
        let Prediction::Value { value } = prediction else { panic!("{prediction:?}") };
        let (found, expected) = (f64::from(value / 5.0), recorded["cosines"][line].as_f64().unwrap());
        assert!((found - expected).abs() <= SCORE_TOLERANCE, "{line}: {found}, recorded {expected}");
    }
    let spearman = |predictions: &[Prediction]| Task::Embeddings.score(&dev, predictions).unwrap().main();
    let (f32, int8) = (spearman(&f32), spearman(&predict(Precision::Int8)));
    let original = recorded["original"]["spearman"].as_f64().unwrap();
    println!("STS-B dev: int8 {int8:.2}, the same weights in f32 {f32:.2}, the original {original:.2}");
    assert!((f32 - recorded["spearman"].as_f64().unwrap()).abs() < 1e-3);
    assert!(int8 >= original - MAX_STSB_DROP, "{int8:.2} against {original:.2}");
}

/// The largest drop of the span F1 on wikigold dev, in points, from f32 to int8 arithmetic.
const MAX_NER_DROP: f64 = 0.5;

/// The span F1 on wikigold dev that the card states is 77.78, and int8 gives the same tags on every machine.
const MIN_WIKIGOLD_F1: f64 = 77.7;

#[test]
fn the_committed_tagger_finds_the_names_of_wikigold_dev() {
    let Some(data) = shared("data", "MOBILEBERT_DATA") else { return };
    let text = std::fs::read_to_string(data.join("ner/wikigold/dev.conll")).unwrap();
    // The model has three types; works, events and nationalities (`MISC`) are no names to it.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dev.conll");
    std::fs::write(&file, text.replace("\tB-MISC\n", "\tO\n").replace("\tI-MISC\n", "\tO\n")).unwrap();
    let task = Task::Entities;
    let dev = task.read(&file).unwrap();
    let f1 = |precision| {
        let options = TaskOptions::new(task).engine(EngineOptions::new().precision(precision));
        let evaluator = options.open("ner").unwrap();
        let found: Vec<Prediction> = evaluator.predictions(&dev, 0..dev.len()).map(Result::unwrap).collect();
        task.score(&dev, &found).unwrap().main()
    };
    let (f32, int8) = (f1(Precision::F32), f1(Precision::Int8));
    println!("wikigold dev, {} sentences: int8 {int8:.2}, the same weights in f32 {f32:.2}", dev.len());
    assert!(int8 >= MIN_WIKIGOLD_F1 && int8 >= f32 - MAX_NER_DROP, "{int8:.2} against {f32:.2}");
}

/// Checks the numbers of right answers that the models' cards state for the samples of this repository. Int8
/// gives the same answers on every machine.
#[test]
fn the_committed_models_fail_where_their_cards_say() {
    for (task, model, file, right, total) in [
        ("squad", "qa", "questions.json", 29, 60),
        ("sst2", "sentiment", "sentences.tsv", 38, 60),
        ("sst2", "sentiment", "domains.tsv", 160, 200),
    ] {
        let task: Task = task.parse().unwrap();
        let data = task.read(&root().join("eval/samples").join(file)).unwrap();
        let evaluator = TaskOptions::new(task).open(model).unwrap();
        let found: Vec<Prediction> =
            evaluator.predictions(&data, 0..data.len()).map(Result::unwrap).collect();
        let scores = task.score(&data, &found).unwrap();
        let share = scores.get("exact").unwrap_or_else(|| scores.main());
        let found = (share * f64::from(total) / 100.0).round();
        assert_eq!((scores.total, found), (total as usize, f64::from(right)), "{model}, {file}");
    }
}

/// Checks the score that the tagger's card states for the samples of this repository.
#[test]
fn the_committed_tagger_fails_where_its_card_says() {
    let task = Task::Entities;
    let data = task.read(&root().join("eval/samples/ner.conll")).unwrap();
    let evaluator = TaskOptions::new(task).open("ner").unwrap();
    let found: Vec<Prediction> = evaluator.predictions(&data, 0..data.len()).map(Result::unwrap).collect();
    let f1 = task.score(&data, &found).unwrap().main();
    assert_eq!((found.len(), (10.0 * f1).round()), (60, 816.0));
}

/// Facts have no opinion, so that each probability should be near a half. The card states how far they are.
#[test]
fn the_committed_classifier_is_as_sure_of_facts_as_its_card_says() {
    let facts = Task::Glue(mobilebert_tools::dataset::GlueTask::Sst2);
    let data = facts.read(&root().join("eval/samples/neutral.tsv")).unwrap();
    let found = classes(&TaskOptions::new(facts).open("sentiment").unwrap(), &data);
    let far = |(_, positive, _): &(usize, f32, Prediction)| f64::from((positive - 0.5).abs());
    let mean = found.iter().map(far).sum::<f64>() / found.len() as f64;
    assert!((mean - 0.263).abs() < 5e-4, "{mean}");
    assert_eq!((found.len(), found.iter().filter(|fact| far(fact) > 0.4).count()), (30, 4));
}

/// The least SQNR of a layer's output in int8 against f32, for the committed models. The lowest one is 24 dB
/// (`sentiment`, layer 13). Rectified states inside its feed-forward networks have as little as 11 dB.
const MIN_LAYER_SQNR_DB: f64 = 20.0;

#[test]
fn every_layer_of_the_committed_models_stays_near_f32_in_int8() {
    let ids = [101, 7592, 102];
    for model in ["qa", "sentiment", "ner", "embed"] {
        let open = |precision| Engine::open(model, EngineOptions::new().precision(precision)).unwrap();
        let batch = Batch::single(&ids, &[0; 3]).unwrap();
        let found = node_by_node(&open(Precision::F32), &open(Precision::Int8), &[batch]).unwrap();
        for layer in found.by_layer() {
            assert!(layer.output.sqnr_db > MIN_LAYER_SQNR_DB, "{model} {}: {:?}", layer.name, layer.output);
        }
    }
}

/// Checks that scales by least squared error make no tensor worse. They gain 0.14 and 0.11 dB on average
/// (measured on a sample of rows).
#[test]
fn searched_scales_lower_the_error_of_every_tensor() {
    let Some(weights) = shared("weights", "MOBILEBERT_WEIGHTS") else { return };
    for (name, at_least_db) in [("sst2-mobilebert-6l", 0.1), ("squad-minilm-l6", 0.08)] {
        let files = mobilebert::ModelFiles::Folder(weights.join(name));
        let folder = tempfile::tempdir().unwrap();
        let write = |scales: Scales| {
            let to = folder.path().join(scales.name());
            to_int8_with(&files, &to, &Int8Options::new().scales(scales)).unwrap().tensors
        };
        let (max, error) = (write(Scales::Max), write(Scales::LeastError));
        let mut gain = 0.0;
        for (max, error) in max.iter().zip(&error) {
            let (max_db, error_db) = (max.deviation.sqnr_db(), error.deviation.sqnr_db());
            assert!(error_db >= max_db, "{name} {}: {error_db} dB, {max_db} with max", max.name);
            gain += error_db - max_db;
        }
        gain /= max.len() as f64;
        assert!(gain >= at_least_db, "{name}: {gain} dB");
    }
}
