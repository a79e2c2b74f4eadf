//! Runs models over datasets: checks every prediction, their order, and the scores.

use std::fs;
use std::path::PathBuf;

use mobilebert::{AggregationStrategy, ModelOptions, TagOptions, TagScheme, TokenClassification};
use mobilebert_tools::dataset::TableOptions;
use mobilebert_tools::task::{Dataset, Prediction, Scores, Task, TaskOptions};
use tempfile::TempDir;

fn file(name: &str, content: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    (folder, path)
}

fn predict(task: Task, model: &str, data: &Dataset) -> Vec<Prediction> {
    let evaluator = TaskOptions::new(task).open(model).unwrap();
    evaluator.predictions(data, 0..data.len()).collect::<Result<_, _>>().unwrap()
}

#[test]
fn questions_of_several_contexts_keep_their_order() {
    let context = |name: &str, qas: &str| {
        format!(r#"{{"context": "{name} built the engine in London.", "qas": [{qas}]}}"#)
    };
    let qa = |id: usize, answer: &str, start: usize| {
        let question = if answer == "London" { "Where was it built?" } else { "Who built the engine?" };
        format!(
            r#"{{"id": "{id}", "question": "{question}", "answers": [{{"text": "{answer}", "answer_start": {start}}}]}}"#
        )
    };
    // One context has more questions than fit into a chunk, so some chunks end inside a context.
    let names = ["Ada", "Bob", "Eve"];
    let paragraph = |(i, name): (usize, &&str)| {
        let asked: Vec<String> = (0..20)
            .map(|k| if k % 2 == 0 { qa(100 * i + k, name, 0) } else { qa(100 * i + k, "London", 24) })
            .collect();
        context(name, &asked.join(","))
    };
    let paragraphs: Vec<String> = names.iter().enumerate().map(paragraph).collect();
    let (_folder, path) =
        file("d.json", &format!(r#"{{"data": [{{"paragraphs": [{}]}}]}}"#, paragraphs.join(",")));
    let data = Task::Squad.read(&path).unwrap();
    let predictions = predict(Task::Squad, "qa", &data);
    for (i, prediction) in predictions.iter().enumerate() {
        let expected = if i % 2 == 0 { names[i / 20] } else { "London" };
        assert_eq!(prediction.answer(None), Some(expected), "question {i}");
    }
    let scores = Task::Squad.score(&data, &predictions).unwrap();
    assert_eq!((scores.get("exact"), scores.get("f1"), scores.total), (Some(100.0), Some(100.0), 60));

    // A run that continues where another one stopped gives the same predictions.
    let evaluator = TaskOptions::new(Task::Squad).open("qa").unwrap();
    let rest: Vec<Prediction> = evaluator.predictions(&data, 7..60).collect::<Result<_, _>>().unwrap();
    assert_eq!(rest, predictions[7..]);
    let json = serde_json::to_string(&predictions[0]).unwrap();
    assert_eq!(serde_json::from_str::<Prediction>(&json).unwrap(), predictions[0]);
}

#[test]
fn labels_are_matched_by_name_or_number() {
    let texts = [("a joy to watch", 1), ("a waste of time", 0), ("charming and funny", 0)];
    let rows = |label: fn(i32) -> &'static str| {
        let lines: Vec<String> =
            texts.iter().map(|(text, gold)| format!("{text}\t{}", label(*gold))).collect();
        format!("text\tlabel\n{}\n", lines.join("\n"))
    };
    for label in
        [|gold| ["negative", "positive"][gold as usize], |gold| ["NEGATIVE", "Positive"][gold as usize]]
    {
        let (_folder, path) = file("d.tsv", &rows(label));
        let data = Dataset::Labelled(TableOptions::new().read(&path).unwrap());
        let predictions = predict(Task::Labels, "sentiment", &data);
        let scores = Task::Labels.score(&data, &predictions).unwrap();
        assert_eq!((scores.metric, scores.total), ("accuracy", 3));
        assert_eq!(scores.main(), 100.0 * (2.0 / 3.0));
        let Prediction::Class { probabilities, .. } = &predictions[0] else { panic!("{:?}", predictions[0]) };
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let interval = scores.items.interval(0).unwrap();
        assert!(interval.contains(scores.main()) && !interval.contains(0.0));
    }
    let (_folder, path) = file("d.tsv", &rows(|gold| ["bad", "good"][gold as usize]));
    let data = Dataset::Labelled(TableOptions::new().read(&path).unwrap());
    let evaluator = TaskOptions::new(Task::Labels).open("sentiment").unwrap();
    let error = evaluator.predictions(&data, 0..3).find_map(Result::err).unwrap().to_string();
    assert!(
        error.ends_with("d.tsv, line 2: label `good` is none of the model's: negative, positive"),
        "{error}"
    );
}

#[test]
fn a_model_of_another_task_is_refused() {
    let error = TaskOptions::new(Task::Squad).open("sentiment").unwrap_err().to_string();
    assert!(error.contains("question answering needs"), "{error}");
    assert!("sst3".parse::<Task>().unwrap_err().to_string().contains("expected squad, sst2, mrpc"));
}

#[test]
fn words_have_the_label_of_their_first_token() {
    // The tokenizer drops soft hyphens, so the second word has no token.
    let words = ["annas", "\u{ad}", "booker", "workinged", "film", "kings"];
    let lines: String = words.iter().map(|word| format!("{word}\tO\n")).collect();
    let (_folder, path) = file("d.conll", &format!("{lines}\nparis\tB-LOC\n"));
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints/mobilebert-ner-f32");
    let data = Task::Entities.read(&path).unwrap();
    let predictions = predict(Task::Entities, model, &data);
    let tags: Vec<&[String]> = predictions
        .iter()
        .map(|prediction| match prediction {
            Prediction::Tags { tags, .. } => &tags[..],
            other => panic!("{other:?}"),
        })
        .collect();

    let options = TagOptions::with(|o| {
        o.aggregation_strategy = AggregationStrategy::None;
        o.ignore_labels.clear();
    });
    let each_token = TokenClassification::open_with(model, ModelOptions::new(), options).unwrap();
    let tokens = each_token.tag(&words.join(" ")).unwrap();
    let (mut start, mut expected, mut differing) = (0, Vec::new(), 0);
    for word in words {
        let end = start + word.len();
        let of_word: Vec<&str> = tokens
            .iter()
            .filter(|token| start <= token.start && token.end <= end)
            .map(|token| token.label.as_str())
            .collect();
        expected.push(of_word.first().map_or("O", |label| label).to_owned());
        differing += usize::from(of_word.iter().any(|label| *label != of_word[0]));
        start = end + 1;
    }
    assert!(differing > 0, "no word whose tokens differ: {tokens:?}");
    assert_eq!((tags[0], tags[1].len()), (&expected[..], 1));
    assert_eq!(expected[1], "O");
    assert!(expected.iter().any(|label| label != "O"), "{expected:?}");
}

#[test]
fn differences_are_paired() {
    let (_folder, path) = file("d.tsv", "sentence\tlabel\na\t1\nb\t0\nc\t1\nd\t1\n");
    let task: Task = "cola".parse().unwrap();
    let data = task.read(&path).unwrap();
    let of = |classes: [usize; 4]| -> Scores {
        let class = |&class: &usize| Prediction::Class { class, probabilities: vec![] };
        task.score(&data, &classes.iter().map(class).collect::<Vec<_>>()).unwrap()
    };
    let (right, wrong) = (of([1, 0, 1, 1]), of([1, 0, 1, 0]));
    assert_eq!((right.metric, right.main()), ("matthews", 100.0));
    assert!(wrong.main() < 100.0);
    let same = right.items.difference(&right.items, 1).unwrap();
    assert_eq!((same.low, same.high), (0.0, 0.0));
    assert!(right.items.difference(&wrong.items, 1).unwrap().low < 0.0);
}

/// A model with the labels of BIOES is scored on data in BIO and in BIOES, each side in its own scheme.
#[test]
fn each_side_is_read_in_its_own_scheme() {
    let tags =
        |tags: &str, scheme| Prediction::Tags { tags: tags.split(' ').map(str::to_owned).collect(), scheme };
    let predictions = [tags("B-PER E-PER O S-LOC", TagScheme::Bioes), tags("B-PER I-PER", TagScheme::Bioes)];
    let bio = "a\tB-PER\nb\tI-PER\nc\tO\nd\tB-LOC\n\ne\tO\nf\tO\n";
    let bioes = "a\tB-PER\nb\tE-PER\nc\tO\nd\tS-LOC\n\ne\tO\nf\tI-PER\n";
    for text in [bio, bioes] {
        let (_folder, path) = file("d.conll", text);
        let data = Task::Entities.read(&path).unwrap();
        let scores = Task::Entities.score(&data, &predictions).unwrap();
        // In BIOES, the entity of the second sentence has no end, so it is none.
        assert_eq!((scores.main(), scores.get("overall_precision")), (100.0, Some(100.0)), "{text}");
    }
    let json = serde_json::to_string(&predictions[0]).unwrap();
    assert_eq!(json, r#"{"tags":["B-PER","E-PER","O","S-LOC"],"scheme":"bioes"}"#);
    assert_eq!(serde_json::from_str::<Prediction>(&json).unwrap(), predictions[0]);
    let old = r#"{"tags":["B-PER"]}"#;
    assert_eq!(serde_json::from_str::<Prediction>(old).unwrap(), tags("B-PER", TagScheme::Bio));
}

const TAGGER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints/mobilebert-ner-f32");

/// Copies the golden tagger, whose five labels get other names.
fn tagger(labels: [&str; 5]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(TAGGER).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let config = folder.path().join("config.json");
    let mut fields: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    fields["id2label"] = labels.iter().enumerate().map(|(i, label)| (i.to_string(), *label)).collect();
    fields["label2id"] = labels.iter().enumerate().map(|(i, label)| ((*label).to_owned(), i)).collect();
    fs::write(config, fields.to_string()).unwrap();
    folder
}

/// A small file may have too few tags to tell its scheme, and its types are the model's all the same.
#[test]
fn types_are_known_without_the_scheme_of_the_file() {
    let model = tagger(["O", "B-PER", "I-PER", "E-PER", "S-PER"]);
    let evaluator = TaskOptions::new(Task::Entities).open(model.path().to_str().unwrap()).unwrap();
    let first = |text: &str| {
        let (_folder, path) = file("d.conll", text);
        let data = Task::Entities.read(&path).unwrap();
        evaluator.predictions(&data, 0..1).next().unwrap().map_err(|error| error.to_string())
    };
    for tags in ["S-PER", "B-PER", "I-PER", "E-PER", "L-PER", "U-PER"] {
        assert!(first(&format!("Ada\t{tags}\nran\tO\n")).is_ok(), "{tags}");
    }
    let error = first("Oslo\tS-LOC\nran\tO\n").unwrap_err();
    let expected = "d.conll: none of its entity types (LOC) is one of the model's (PER)";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn entities_that_the_model_cannot_find_are_refused() {
    let (_folder, path) = file("d.conll", "Ada\tB-person\nran\tO\nOslo\tB-city\n");
    let data = Task::Entities.read(&path).unwrap();
    let evaluator = TaskOptions::new(Task::Entities).open(TAGGER).unwrap();
    let error = evaluator.predictions(&data, 0..1).next().unwrap().unwrap_err().to_string();
    let expected = "d.conll: none of its entity types (city, person) is one of the model's (LOC, PER)";
    assert!(error.contains(expected), "{error}");
}

const BERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints/bert-f32");

#[test]
fn pairs_are_ranked_by_the_cosines_of_their_vectors() {
    let pairs =
        [("anna works in paris", "anna works in paris"), ("the king", "a good film"), ("book", "very")];
    let rows: String =
        pairs.iter().zip([5.0, 0.5, 1.25]).map(|((a, b), score)| format!("{a}\t{b}\t{score}\n")).collect();
    let (_folder, path) = file("d.tsv", &format!("sentence1\tsentence2\tscore\n{rows}"));
    let data = Task::Embeddings.read(&path).unwrap();
    let found = predict(Task::Embeddings, BERT, &data);
    let embedder = mobilebert::Embedder::open(BERT).unwrap();
    for ((first, second), found) in pairs.iter().zip(&found) {
        let cosine = embedder.embed(first).unwrap().cosine(&embedder.embed(second).unwrap());
        assert_eq!(*found, Prediction::Value { value: 5.0 * cosine });
    }
    assert_eq!(found[0].text(&data), "5.00");
    // The texts of a pair are read one by one, so a sequence holds the first one only.
    let evaluator = TaskOptions::new(Task::Embeddings).open(BERT).unwrap();
    let expected = evaluator.tokenizer().tokenize("the king").unwrap().encode_truncated(None, 16).unwrap().0;
    assert_eq!(evaluator.sequences(&data, 2).unwrap()[1].ids(), expected.ids());
}

#[test]
fn the_score_of_embeddings_is_spearmans() {
    let (_folder, path) = file("d.tsv", "sentence1\tsentence2\tscore\na\tb\t0\nc\td\t1\ne\tf\t2\ng\th\t3\n");
    let data = Task::Embeddings.read(&path).unwrap();
    let score = |values: [f32; 4]| {
        Task::Embeddings.score(&data, &values.map(|value| Prediction::Value { value })).unwrap()
    };
    // The ranks are right, and the numbers do not lie on a line.
    let scores = score([-1.0, 0.1, 0.2, 5.0]);
    assert_eq!((scores.metric, scores.main()), ("spearman", 100.0));
    assert!(scores.get("pearson").unwrap() < 99.0, "{scores:?}");
    assert_eq!(scores.items.score(&[3, 1, 0, 2]), 100.0);
    // Ranks 1, 0, 2, 3 against 0, 1, 2, 3: 1 - 6 * 2 / (4 * 15).
    assert!((score([0.1, -1.0, 0.2, 5.0]).main() - 80.0).abs() < 1e-9);
}

#[test]
fn rows_without_a_second_text_are_refused_by_their_line() {
    let (_folder, path) = file("d.tsv", "text\tlabel\na\tx\n");
    let data = Dataset::Labelled(TableOptions::new().read(&path).unwrap());
    let evaluator = TaskOptions::new(Task::Embeddings).open(BERT).unwrap();
    let error = evaluator.predictions(&data, 0..1).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("d.tsv, line 2: has no second text to compare with"), "{error}");
}
