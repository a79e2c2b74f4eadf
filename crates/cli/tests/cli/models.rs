//! `mobilebert infer`, `inspect`, `quantize` and `sqnr`.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{keys, piped, run, tiny, write};

#[test]
fn infer_shows_logits_of_each_head() {
    let logits = |model: &str| {
        run(&["infer", "--model", model, "--ids", "2,14,3", "--type-ids", "0,0,0", "--json"]).line()
    };
    let qa = logits(&tiny("mobilebert-f32"));
    assert_eq!(keys(&qa), ["logits"]);
    assert_eq!(keys(&qa["logits"]), ["start", "end"]);
    assert_eq!(qa["logits"]["end"].as_array().unwrap().len(), 3);
    assert!(logits(&tiny("bert-f32"))["logits"].as_array().unwrap().iter().all(Value::is_number));
    let rows = logits(&tiny("mobilebert-ner-f32"));
    assert_eq!(rows["logits"].as_array().unwrap().len(), 3);
    assert_eq!(rows["logits"][0].as_array().unwrap().len(), 5);
}

#[test]
fn infer_agrees_with_the_reference() {
    for model in ["mobilebert-f32", "bert-f32", "mobilebert-ner-f32", "mobilebert-mlm-f32"] {
        let expected =
            std::fs::read_to_string(Path::new("../..").join(tiny(model)).join("expected.json")).unwrap();
        let value: Value = serde_json::from_str(&expected).unwrap();
        let line = serde_json::to_string(&value).unwrap() + "\n";
        let found = piped(&["infer", "--model", &tiny(model), "--json", "-"], line).line();
        fn numbers(value: &Value) -> Vec<f64> {
            match value {
                Value::Array(values) => values.iter().flat_map(numbers).collect(),
                number => number.as_f64().into_iter().collect(),
            }
        }
        let found = match &found["logits"] {
            Value::Object(span) => {
                let (start, end) = (numbers(&span["start"]), numbers(&span["end"]));
                start.into_iter().zip(end).flat_map(|(s, e)| [s, e]).collect()
            }
            logits => numbers(logits),
        };
        let expected = numbers(&value["logits"]);
        assert_eq!(found.len(), expected.len(), "{model}");
        let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-5, "{model}: {far}");
    }
}

#[test]
fn infer_hashes_the_logits() {
    use sha2::Digest as _;
    let model = tiny("bert-f32");
    let args = ["infer", "--model", &model, "--ids", "2,14,3"];
    let logits = run(&[&args[..], &["--json"]].concat()).line();
    let bytes: Vec<u8> = logits["logits"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|v| v.to_string().parse::<f32>().unwrap().to_le_bytes())
        .collect();
    let expected: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(run(&[&args[..], &["--hash"]].concat()).stdout, expected.clone() + "\n");
    let line = piped(&["infer", "--model", &model, "-", "--hash", "--json"], "{\"ids\":[2,14,3]}");
    assert_eq!(line.line(), json!({ "sha256": expected }));
}

#[test]
fn inspect_describes_a_model() {
    let model = run(&["inspect", "--model", "sentiment", "--json"]).line();
    assert_eq!(model["class"], "MobileBertForSequenceClassification");
    assert_eq!(model["labels"], json!(["negative", "positive"]));
    assert_eq!(model["config"]["num_hidden_layers"], 24);
    assert_eq!(model["files"][0]["sha256"].as_str().unwrap().len(), 64);
    let tensors = model["tensors"].as_array().unwrap();
    let bytes = |dtype: &str| {
        let of_type = tensors.iter().filter(|t| t["dtype"] == dtype);
        of_type.map(|t| t["bytes"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(model["totals"]["I8"]["bytes"], bytes("I8"));
    assert!(run(&["inspect", "--model", "sentiment"]).stdout.contains("negative, positive"));
}

#[test]
fn convert_writes_a_model_with_the_hash_of_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("model").display().to_string();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/convert/onnx-mobilebert-qa");
    let report = run(&["convert", source, &destination, "--verify", "--json"]).line();
    assert_eq!(report["class"], "MobileBertForQuestionAnswering");
    let inspected = run(&["inspect", "--model", &tiny("mobilebert-f32"), "--json"]).line();
    assert_eq!(report["content_sha256"], inspected["content_sha256"]);
    let layers = report["verification"]["layers"].as_array().unwrap();
    assert_eq!(
        layers.iter().map(|l| l["layer"].as_str().unwrap()).collect::<Vec<_>>(),
        ["embeddings", "encoder.layer.0", "encoder.layer.1", "head"]
    );
    assert!(
        layers.iter().all(|layer| layer["deviation"] == 0.0 && layer["magnitude"].as_f64().unwrap() > 0.0)
    );

    run(&["convert", source, &destination]).failed(1, "already exists");
    let forced = run(&["convert", source, &destination, "--force"]);
    assert!(forced.code == 0 && forced.stdout.contains("ONNX"), "{}", forced.stdout);
    run(&["convert", source]).failed(2, "<DEST>");
    // A folder that no command could open is not written.
    for vocabulary in ["Cargo.toml", "models/qa/vocab.txt"] {
        let run = run(&["convert", source, &destination, "--force", "--vocab", vocabulary]);
        assert!(run.code == 1 && run.stderr.contains(vocabulary), "{} {}", run.stdout, run.stderr);
    }
    assert_eq!(run(&["tokenize", "a", "--model", &destination]).code, 0);
    let vocabulary =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/convert/onnx-mobilebert-qa/vocab.txt");
    run(&["convert", vocabulary, &destination, "--force"]).failed(1, "something else");
}

#[test]
fn quantize_writes_a_model_that_answers_alike() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("int8").display().to_string();
    let report = run(&["quantize", &tiny("bert-f32"), &destination, "--json"]).line();
    assert!(report["quantized_tensors"].as_u64().unwrap() > 0);
    assert_eq!(run(&["classify", "--model", &destination, "good film", "--json"]).code, 0);
    run(&["quantize", &tiny("bert-f32"), &destination]).failed(1, "already exists");
    assert_eq!(run(&["quantize", &tiny("bert-f32"), &destination, "--force"]).code, 0);
    run(&["quantize", &destination, &destination, "--force"]).failed(1, "holds the source");
}

/// Four texts with what the model says about them, in f32.
fn labelled(folder: &Path) -> String {
    let texts = ["good film", "what a bad book", "anna works in paris", "not very good"];
    let row = |text: &&str| {
        let found = run(&["classify", "--model", &tiny("bert-f32"), text, "--json"]).line();
        format!("{text}\t{}\n", found["label"].as_str().unwrap())
    };
    write(folder, "data.tsv", format!("text\tlabel\n{}", texts.iter().map(row).collect::<String>()))
}

#[test]
fn quantize_holds_a_gate_or_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let (data, good) = (labelled(folder.path()), folder.path().join("int8"));
    let destination = good.display().to_string();
    let model = tiny("bert-f32");
    let args = ["quantize", &model, &destination, "--task", "classify", "--data", &data];
    let report = run(&[&args[..], &["--max-drop", "100", "--limit", "3", "--json"]].concat()).line();
    assert_eq!((&report["f32"]["accuracy"], &report["f32"]["total"]), (&json!(100.0), &json!(3)));
    assert_eq!((&report["task"], &report["keep_f32"]), (&json!("classify"), &json!([])));
    for name in
        ["config.json", "model.safetensors", "quantization.json", "quantization.md", "quantization.svg"]
    {
        assert!(good.join(name).is_file(), "{name}");
    }
    run(&args).failed(1, "already exists");

    let none = folder.path().join("none").display().to_string();
    let args = ["quantize", &model, &none, "--task", "classify", "--data", &data];
    run(&[&args[..], &["--max-drop=-1"]].concat()).failed(2, "--max-drop is -1");
    run(&["quantize", &model, &none, "--task", "classify"]).failed(2, "--data <FILE>");
    run(&["quantize", &model, &none, "--max-drop", "1"]).failed(2, "--task <NAME>");
    run(&[&args[..], &["--precision", "f32"]].concat()).failed(2, "--precision does not go with quantize");
    assert!(!Path::new(&none).exists());
}

#[test]
fn a_gate_that_fails_is_exit_code_3_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let model = crate::support::hard_model(folder.path());
    let (destination, labelled) = (folder.path().join("int8"), folder.path().join("labelled.tsv"));
    let words = ["good", "bad", "film", "not", "very", "time", "king", "anna", "paris", "book"];
    let texts: Vec<String> =
        words.iter().flat_map(|a| words.map(|b| format!("{a} {b}"))).step_by(3).collect();
    let label = |text: &String| {
        let found = run(&["classify", "--model", &model, text, "--precision", "f32", "--json"]).line();
        format!("{text}\t{}\n", found["label"].as_str().unwrap())
    };
    let rows: String = texts.iter().map(label).collect();
    std::fs::write(&labelled, format!("text\tlabel\n{rows}")).unwrap();
    let failed = run(&[
        "quantize",
        &model,
        &destination.display().to_string(),
        "--task",
        "classify",
        "--data",
        &labelled.display().to_string(),
        "--max-drop",
        "0",
        "--max-f32-modules",
        "0",
    ]);
    failed.failed(3, "accuracy drops by ");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the model and its data");
}

#[test]
fn compare_lists_the_answers_that_differ() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (labelled(folder.path()), tiny("bert-f32"));
    let same = run(&["compare", &model, &model, "--task", "classify", "--data", &data, "--json"]).line();
    assert_eq!((&same["difference"], &same["differing"]), (&json!(0.0), &json!([])));
    assert_eq!(same["mcnemar"], json!({ "only_a": 0, "only_b": 0, "p": 1.0 }));
    assert_eq!(same["a"]["total"], 4);
    let text =
        run(&["compare", &model, &model, "--task", "classify", "--data", &data, "--limit", "2"]).stdout;
    assert!(
        text.contains("classify, 2 examples, accuracy\n") && text.contains("\n0 answers differ\n"),
        "{text}"
    );
    run(&["compare", &model, &tiny("mobilebert-f32"), "--task", "classify", "--data", &data])
        .failed(1, "text classification needs a");
    run(&["compare", &model, &model, "--task", "sst3", "--data", &data]).failed(2, "sst3");
}

#[test]
fn sqnr_shows_each_layer() {
    let model = tiny("mobilebert-f32");
    let report = run(&["sqnr", "--model", &model, "anna works", "paris", "--json"]).line();
    assert_eq!((&report["precision"], &report["reference_precision"]), (&json!("int8"), &json!("f32")));
    assert_eq!((&report["sequences"], &report["layers"][0]["name"]), (&json!(2), &json!("embeddings")));
    let layers = report["layers"].as_array().unwrap();
    assert!(layers.iter().all(|l| l["output"]["sqnr_db"].as_f64().unwrap() > 10.0), "{layers:?}");
    assert!(report["nodes"].as_array().unwrap().len() > 2 * layers.len());
    let nothing = run(&["sqnr", "--model", &model, "paris", "--precision", "f32", "--json"]).line();
    assert!(nothing["nodes"].as_array().unwrap().iter().all(|node| node["relative_error"] == 0.0));
    let table = run(&["sqnr", "--model", &model, "paris", "--keep-f32", "encoder.", "--by-node"]).stdout;
    assert!(table.contains("\nqa_outputs ") && table.contains("\nlayer 0 "), "{table}");
    run(&["sqnr", "--model", &model, "x", "--reference", &tiny("bert-f32")]).failed(2, "--reference is ");
    run(&["sqnr", "--model", &model]).failed(1, "number of tokens");
    run(&["sqnr", "--model", "synthetic:mobilebert", "text"]).failed(2, "has no tokenizer");
}

#[test]
fn models_that_cannot_be_used_are_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().display().to_string();
    run(&["classify", "x", "--model", "/nowhere/at/all"]).failed(1, "no model at \"/nowhere/at/all\"");
    run(&["classify", "x", "--model", &empty]).failed(1, "has none of these files: config.json");
    run(&["classify", "x", "--model", "qa"]).failed(1, "text classification needs a");
    run(&["infer", "--ids", "101,99999"]).failed(1, "token id is 99999; expected below 30522");
    run(&["infer", "--ids", "101,102", "--type-ids", "0"]).failed(1, "number of type ids is 1");
    let bad = piped(&["infer", "--model", &tiny("bert-f32"), "--json", "-"], "{\"ids\":[2,3]}\n{}\n");
    assert_eq!((bad.code, keys(&bad.lines()[1])), (1, vec!["error", "code"]));
}
