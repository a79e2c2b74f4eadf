//! A call in a plan: what it says, and whom it refuses.

use std::path::Path;

use arrow_schema::DataType;
use mobilebert_sql_core::{Call, Error, Function, Models, OnError, Options};

use crate::support::{models, root};

fn copy(from: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(root(from)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_call_survives_a_plan() {
    let models = models();
    let mut options = Options::default();
    options.on_error = OnError::Fail;
    let call = Call::plan(&models, Function::Embed, Some("tiny"), options).unwrap();
    let read = Call::decode(&call.encode().unwrap()).unwrap();
    assert_eq!(read, call);
    assert_eq!(read.data_type(), call.data_type());
    assert!(matches!(read.data_type(), DataType::FixedSizeList(_, n) if n > 0));
    assert_eq!(read.options().on_error, OnError::Fail);
    assert!(read.to_string().starts_with("embed(tiny@"), "{read}");
    assert_eq!(read.model().sha().len(), 64);
}

#[test]
fn calls_of_other_versions_and_broken_ones_are_refused() {
    let call = Call::plan(&models(), Function::Classify, Some("tiny"), Options::default()).unwrap();
    let text = String::from_utf8(call.encode().unwrap()).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let other = text.replace(&format!("\"{version}\""), "\"0.0.1\"");
    assert_ne!(other, text);
    let message = Call::decode(other.as_bytes()).unwrap_err().to_string();
    assert!(message.contains("0.0.1") && message.contains(version), "{message}");
    let huge = text.replace("\"dimensions\":0", "\"dimensions\":2147483647");
    assert_ne!(huge, text);
    assert!(Call::decode(huge.as_bytes()).unwrap_err().to_string().contains("2147483647"));
    for end in 0..text.len() {
        assert!(matches!(Call::decode(&text.as_bytes()[..end]), Err(Error::Encoded { .. })), "{end}");
    }
}

#[test]
fn other_content_under_the_same_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = |content: &str| {
        copy(content, folder.path());
        let models = Models::new();
        models.add("m", folder.path());
        models
    };
    let call = Call::plan(
        &place("tests/golden/checkpoints/bert-f32"),
        Function::Tokens,
        Some("m"),
        Options::default(),
    )
    .unwrap();
    // The same content elsewhere is the same model.
    place("tests/golden/checkpoints/bert-f32").check(call.model()).unwrap();
    // One more character in the vocabulary, with the same weights.
    let mut vocabulary = std::fs::read_to_string(folder.path().join("vocab.txt")).unwrap();
    vocabulary.insert(vocabulary.len() - 1, 'x');
    std::fs::write(folder.path().join("vocab.txt"), vocabulary).unwrap();
    let changed = Models::new();
    changed.add("m", folder.path());
    let error = changed.check(call.model()).unwrap_err();
    assert!(matches!(error, Error::OtherModel { .. }));
    let message = error.to_string();
    assert!(message.contains("expected sha") && message.contains(call.model().sha()), "{message}");
    let evaluator = mobilebert_sql_core::Evaluator::new(changed, call);
    let text = mobilebert_sql_core::Argument::Literal(Some("x".to_owned()));
    assert!(matches!(evaluator.evaluate(&[text], 1), Err(Error::OtherModel { .. })));
}

/// Every file that says how vectors are made counts: the prompt, and the settings of a pooling folder of any
/// name.
#[test]
fn files_of_sentence_transformers_are_content() {
    let folder = tempfile::tempdir().unwrap();
    copy("tests/golden/checkpoints/bert-f32", folder.path());
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let sha = || {
        let models = Models::new();
        models.add("m", folder.path());
        let call = Call::plan(&models, Function::Similarity, Some("m"), Options::default()).unwrap();
        call.model().sha().to_owned()
    };
    let mut known = vec![sha()];
    let mut changes = |what: &str| {
        let now = sha();
        assert!(!known.contains(&now), "{what}");
        assert_eq!(sha(), now);
        known.push(now);
    };
    let module = |kind: &str, path: &str| {
        format!(r#"{{"path": "{path}", "type": "sentence_transformers.models.{kind}"}}"#)
    };
    let modules = [module("Transformer", ""), module("Pooling", "my_pooling")].join(", ");
    write("my_pooling/config.json", r#"{"pooling_mode": "mean"}"#);
    write("modules.json", &format!("[{modules}]"));
    changes("modules.json");
    write("my_pooling/config.json", r#"{"pooling_mode": "cls"}"#);
    changes("my_pooling/config.json");
    let prompt = |text: &str| format!(r#"{{"prompts": {{"q": "{text}"}}, "default_prompt_name": "q"}}"#);
    write("config_sentence_transformers.json", &prompt("query: "));
    changes("config_sentence_transformers.json");
    write("config_sentence_transformers.json", &prompt("passage: "));
    changes("the prompt");
    write("sentence_bert_config.json", r#"{"max_seq_length": 16}"#);
    changes("sentence_bert_config.json");
    // Modules that the library does not run are an error of vectors, and not of counting tokens.
    write("modules.json", &format!("[{modules}, {}]", module("Dense", "2_Dense")));
    assert_eq!(sha(), known[0]);
}

/// A model is loaded by the first row, which may be long after the query was planned.
#[test]
fn weights_that_were_replaced_after_planning_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy("tests/golden/checkpoints/bert-f32", folder.path());
    let models = Models::new();
    models.add("m", folder.path());
    let call = Call::plan(&models, Function::Classify, Some("m"), Options::default()).unwrap();
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let new = folder.path().join("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, weights).unwrap();
    let expected = call.model().sha().to_owned();
    let evaluator = mobilebert_sql_core::Evaluator::new(models, call);
    for _ in 0..2 {
        let text = mobilebert_sql_core::Argument::Literal(Some("x".to_owned()));
        match evaluator.evaluate(&[text], 1) {
            Err(Error::OtherModel { expected: told, found, .. }) => {
                assert!(told == expected && found != told)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_model_has_to_be_there_and_fit() {
    let models = models();
    let plan = |function, model| Call::plan(&models, function, model, Options::default());
    let message = |function, model| plan(function, model).unwrap_err().to_string();
    assert!(matches!(plan(Function::FillMask, None), Err(Error::NoModel { .. })));
    assert!(message(Function::FillMask, None).contains("fill_mask(…, 'MODEL')"));
    let unknown = message(Function::Classify, Some("/no/such/folder"));
    assert!(unknown.contains("/no/such/folder"), "{unknown}");
    let wrong = message(Function::Classify, Some("qa"));
    assert!(wrong.contains("model `qa`") && wrong.contains("question answering"), "{wrong}");
    for (function, model) in [
        (Function::Classify, "sentiment"),
        (Function::Scores, "sentiment"),
        (Function::Answer, "qa"),
        (Function::Tokens, "sentiment"),
        (Function::Tag, "ner"),
        (Function::Embed, "embed"),
        (Function::Similarity, "embed"),
    ] {
        assert_eq!(plan(function, None).unwrap().model().name(), model);
    }
    // Every model has vectors.
    assert!(plan(Function::Similarity, Some("qa")).is_ok());
}

#[test]
fn options_are_read_by_name() {
    assert_eq!("fail".parse::<OnError>().unwrap(), OnError::Fail);
    assert_eq!(OnError::Null.to_string().parse::<OnError>().unwrap(), OnError::Null);
    let message = "maybe".parse::<OnError>().unwrap_err().to_string();
    assert!(message.contains("mobilebert.on_error") && message.contains("maybe"), "{message}");
}
