//! `mobilebert tokenize`, `tag`, `fill-mask` and `embed`.

use serde_json::{Value, json};

use crate::support::{QUESTION, keys, piped, run, tiny, write};

#[test]
fn tokenize_gives_ids_tokens_and_offsets() {
    let run = piped(&["tokenize", "--model", "models/qa", "--json", "-"], "hello\n\ncafé");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let specials = json!({"ids": [101, 102], "tokens": ["[CLS]", "[SEP]"], "offsets": [[0, 0], [0, 0]]});
    assert_eq!(
        run.stdout.lines().next(),
        Some(r#"{"ids":[101,7592,102],"tokens":["[CLS]","hello","[SEP]"],"offsets":[[0,0],[0,5],[0,0]]}"#)
    );
    assert_eq!(run.lines()[1], specials);
    assert_eq!(run.lines()[2]["offsets"], json!([[0, 0], [0, 5], [0, 0]]));
}

#[test]
fn tag_lists_entities() {
    let entities =
        run(&["tag", "--model", &tiny("mobilebert-ner-f32"), "anna works in paris", "--json"]).line();
    assert_eq!(keys(&entities[0]), ["entity_group", "score", "word", "start", "end"]);
    assert_eq!((&entities[0]["word"], &entities[0]["end"]), (&json!("anna"), &json!(4)));
    let args =
        ["tag", "--model", &tiny("mobilebert-ner-f32"), "anna", "--aggregation-strategy", "none", "--json"];
    let entities = run(&args).line();
    assert_eq!(keys(&entities[0]), ["entity", "score", "word", "start", "end"]);
}

#[test]
fn fill_mask_lists_words_for_each_mask() {
    let fill = |text: &str| {
        run(&["fill-mask", "--model", &tiny("mobilebert-mlm-f32"), text, "--top-k", "2", "--json"]).line()
    };
    let one = fill("paris is [MASK]");
    assert_eq!(one.as_array().unwrap().len(), 2);
    assert_eq!(keys(&one[0]), ["sequence", "score", "token", "token_str"]);
    let two = fill("[MASK] is [MASK]");
    assert_eq!((two.as_array().unwrap().len(), two[1].as_array().unwrap().len()), (2, 2));
}

/// Every command that reads texts says what is odd about the model's vocabulary, unless it is told to be
/// quiet.
#[test]
fn a_repeated_line_of_a_vocabulary_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let original = std::path::Path::new("../..").join(tiny("mobilebert-f32"));
    for file in ["config.json", "model.safetensors", "tokenizer_config.json"] {
        std::fs::copy(original.join(file), folder.path().join(file)).unwrap();
    }
    let vocabulary = std::fs::read_to_string(original.join("vocab.txt")).unwrap();
    write(folder.path(), "vocab.txt", vocabulary.replace("\nday\n", "\ntime\n"));
    let model = folder.path().to_str().unwrap();
    let question = ["answer", "--question", "who works ?", "--context", "anna works in paris"];
    for command in [&["tokenize", "paris"][..], &["embed", "paris"], &question] {
        let loud = run(&[command, &["--model", model]].concat());
        assert_eq!(loud.code, 0, "{}", loud.stderr);
        assert!(loud.stderr.contains("warning: ") && loud.stderr.contains("vocab.txt"), "{}", loud.stderr);
        let quiet = run(&[command, &["--model", model, "--quiet"]].concat());
        assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
        assert_eq!(quiet.stdout, loud.stdout);
    }
}

#[test]
fn embed_gives_vectors_of_length_one() {
    let model = tiny("mobilebert-f32");
    let embedding = run(&["embed", "--model", &model, "paris", "--json", "--quiet"]).line();
    assert_eq!(keys(&embedding), ["embedding"]);
    let loud = run(&["embed", "--model", &model, "paris"]);
    assert!(loud.code == 0 && loud.stderr.contains("was not trained for embeddings"), "{}", loud.stderr);
    let vector: Vec<f64> =
        embedding["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(vector.len(), 16);
    assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
    let long = run(&["embed", "--model", &model, &"paris ".repeat(50), "--json", "--quiet"]).line();
    assert_eq!(long["truncated"], true);
}

#[test]
fn offsets_count_what_the_user_says() {
    let context = "😀é: it was built by Ada.";
    for (unit, start) in [("bytes", 24), ("chars", 20), ("utf16", 21)] {
        let args = [&QUESTION[..], &["--context", context, "--json", "--offsets", unit]].concat();
        let answer = run(&args).line();
        assert_eq!((&answer["start"], &answer["end"]), (&json!(start), &json!(start + 3)), "{unit}");
        let tokens = run(&["tokenize", "😀é", "--pair", "é x", "--json", "--offsets", unit]).line();
        let second = if unit == "bytes" { json!([3, 4]) } else { json!([2, 3]) };
        assert_eq!(tokens["offsets"][tokens["ids"].as_array().unwrap().len() - 2], second, "{unit}");
        assert_eq!(tokens["type_ids"][0], 0);
    }
    let model = tiny("mobilebert-ner-f32");
    let tags = run(&["tag", "--model", &model, "😀 anna", "--offsets", "chars", "--json"]).line();
    let anna = tags.as_array().unwrap().iter().find(|e| e["word"].as_str().unwrap().ends_with("anna"));
    assert_eq!(anna.unwrap()["end"], 6);
}

#[test]
fn the_longest_sequence_can_be_chosen() {
    let model = tiny("mobilebert-ner-f32");
    let text = "anna works in paris and berlin";
    let entities = |more: &[&str]| {
        run(&[&["tag", "--model", &model, text, "--ignore-labels", "", "--json"], more].concat()).line()
    };
    let last = |entities: &Value| entities.as_array().unwrap().last().unwrap()["end"].clone();
    let windows = entities(&["--max-seq-len", "5", "--doc-stride", "1"]);
    assert_eq!(last(&windows), last(&entities(&[])));
    run(&["tag", "--model", &model, text, "--max-seq-len", "5", "--doc-stride", "3"])
        .failed(2, "--doc-stride is 3; expected less than 3, the room for text in --max-seq-len 5");
    let long = "a joy to watch";
    let classify = |more: &[&str]| run(&[&["classify", long, "--max-seq-len", "5", "--json"], more].concat());
    assert_eq!(classify(&[]).line()["truncated"], true);
    let windows = classify(&["--long-text", "windows-mean", "--doc-stride", "1"]).line();
    assert_eq!(keys(&windows), ["label", "score"]);
    let model = tiny("mobilebert-f32");
    let embedding =
        run(&["embed", "--model", &model, "anna works in paris", "--max-seq-len", "4", "--json", "--quiet"]);
    assert_eq!(embedding.line()["truncated"], true);
    run(&["embed", "--model", &model, "x", "--max-seq-len", "9999"]).failed(2, "--max-seq-len is 9999");
}

/// The model of `embed` was trained for similarity, and says no warning.
#[test]
fn embed_has_a_model_of_its_own() {
    let vector = |text: &str| -> Vec<f64> {
        let found = run(&["embed", text, "--json"]);
        assert!(found.code == 0 && found.stderr.is_empty(), "{}", found.stderr);
        found.line()["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let [age, old, train] =
        ["What is your age?", "How old are you?", "The train leaves at noon."].map(vector);
    assert_eq!(age.len(), 384);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    assert!(dot(&age, &old) > dot(&age, &train) + 0.3, "{} {}", dot(&age, &old), dot(&age, &train));
    let other = run(&["embed", "x", "--model", "qa"]);
    assert!(other.code == 0 && other.stderr.contains("the built-in model `embed`"), "{}", other.stderr);
}

/// Hugging Face's tokenizers write a mask beside the ids; padding would be read as text.
#[test]
fn inference_reads_no_padding_and_no_unknown_fields() {
    let infer = |line: &str| piped(&["infer", "--model", &tiny("mobilebert-f32"), "-", "--hash"], line);
    let plain = infer("{\"ids\":[2,9,3]}\n");
    assert_eq!(infer("{\"input_ids\":[2,9,3],\"attention_mask\":[1,1,1]}\n").stdout, plain.stdout);
    for (line, problem) in [
        ("{\"ids\":[2,9,3,0],\"attention_mask\":[1,1,1,0]}\n", "leave the padding out"),
        ("{\"ids\":[2,9,3],\"attention_mask\":[1]}\n", "leave the padding out"),
        ("{\"ids\":[2,9,3],\"typ_ids\":[1,1,1]}\n", "unknown field `typ_ids`"),
    ] {
        let found = infer(line);
        assert!(found.code == 1 && found.stdout.contains(problem), "{}", found.stdout);
    }
}
