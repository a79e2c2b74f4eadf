//! Tests which tokenizer files can be loaded, and which message a user gets about one that cannot.

#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use mobilebert::{Error, ErrorKind, Tokenizer, TokenizerFiles, WindowOptions};
use serde_json::{Value, json};

const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\ncafe\ncaf\n##e\n##s\n!\n";
const TEXT: &str = "Hello CAFÉs! [MASK] nothing";

fn from_vocab(vocab: &str, config: &Value) -> Result<Tokenizer, Error> {
    let files = TokenizerFiles::new("folder").vocab("vocab.txt", vocab.as_bytes());
    Tokenizer::from_files(&files.tokenizer_config("tokenizer_config.json", config.to_string().into_bytes()))
}

fn from_json(tokenizer: &Value) -> Result<Tokenizer, Error> {
    let bytes = tokenizer.to_string().into_bytes();
    Tokenizer::from_files(&TokenizerFiles::new("folder").tokenizer_json("tokenizer.json", bytes))
}

/// Returns the file that `transformers` writes for `VOCAB`.
fn tokenizer_json() -> Value {
    let vocab: serde_json::Map<_, _> =
        VOCAB.lines().zip(0..).map(|(t, id)| (t.to_owned(), json!(id))).collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let sequence = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    let token = |id: &str, type_id: u32| json!({"SpecialToken": {"id": id, "type_id": type_id}});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]"),
                         special(4, "[MASK]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]", 0), sequence("A", 0), token("[SEP]", 0)],
            "pair": [token("[CLS]", 0), sequence("A", 0), token("[SEP]", 0), sequence("B", 1), token("[SEP]", 1)],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab}
    })
}

/// Returns `tokenizer_json` with the value at a JSON pointer replaced.
fn changed(pointer: &str, value: Value) -> Value {
    let mut json = tokenizer_json();
    *json.pointer_mut(pointer).unwrap() = value;
    json
}

fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text).unwrap().tokens().map(str::to_owned).collect()
}

#[test]
fn vocab_txt_and_tokenizer_json_agree() {
    let expected = ["[CLS]", "hello", "cafe", "##s", "!", "[MASK]", "[UNK]", "[SEP]"];
    let vocab = from_vocab(VOCAB, &json!({})).unwrap();
    let mut old = tokenizer_json();
    old["model"].as_object_mut().unwrap().remove("type");
    for tokenizer in [&vocab, &from_json(&tokenizer_json()).unwrap(), &from_json(&old).unwrap()] {
        assert_eq!(tokens(tokenizer, TEXT), expected);
        assert_eq!(tokenizer.encode(TEXT).unwrap().spans(), vocab.encode(TEXT).unwrap().spans());
        assert_eq!(tokenizer.special_ids(), vocab.special_ids());
        assert_eq!(tokenizer.vocab_size(), 11);
        assert_eq!((tokenizer.token_to_id("##e"), tokenizer.id_to_token(8)), (Some(8), Some("##e")));
        assert_eq!((tokenizer.token_to_id("x"), tokenizer.id_to_token(11)), (None, None));
    }
}

#[test]
fn tokenizer_json_wins_and_the_configuration_overrides_it() {
    let files = TokenizerFiles::new("folder")
        .vocab("vocab.txt", &b"broken"[..])
        .tokenizer_json("tokenizer.json", tokenizer_json().to_string().into_bytes())
        .tokenizer_config(
            "tokenizer_config.json",
            &br#"{"do_lower_case": false, "model_max_length": 512}"#[..],
        );
    let tokenizer = Tokenizer::from_files(&files).unwrap();
    assert_eq!(tokens(&tokenizer, "Hello hello"), ["[CLS]", "[UNK]", "hello", "[SEP]"]);
    assert_eq!(tokenizer.model_max_length(), Some(512));
}

#[test]
fn settings_of_the_configuration() {
    let config = json!({"model_max_length": 1e30, "strip_accents": false, "never_split": ["CAFÉs!"]});
    let tokenizer = from_vocab(VOCAB, &config).unwrap();
    assert_eq!(tokenizer.model_max_length(), None);
    assert_eq!(tokens(&tokenizer, "CAFÉ CAFÉs!"), ["[CLS]", "[UNK]", "[UNK]", "[SEP]"]);

    let renamed = VOCAB.replace("[CLS]", "<s>").replace("[SEP]", "</s>");
    let object = json!({"__type": "AddedToken", "content": "</s>", "lstrip": false, "normalized": false});
    let tokenizer = from_vocab(&renamed, &json!({"cls_token": "<s>", "sep_token": object})).unwrap();
    assert_eq!(tokens(&tokenizer, "hello</s>"), ["<s>", "hello", "</s>", "</s>"]);

    let files = TokenizerFiles::new("folder")
        .vocab("vocab.txt", renamed.as_bytes())
        .special_tokens_map("special_tokens_map.json", &br#"{"cls_token": "<s>", "sep_token": "</s>"}"#[..]);
    assert_eq!(tokens(&Tokenizer::from_files(&files).unwrap(), "!"), ["<s>", "!", "</s>"]);
}

#[test]
fn tokens_behind_the_vocabulary() {
    let decoder = json!({"added_tokens_decoder": {
        "12": {"content": "<b>", "special": true, "normalized": false, "lstrip": true, "rstrip": false, "single_word": false},
        "11": {"content": "<a>", "special": false, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false},
        "4": {"content": "[MASK]", "special": true, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false},
    }});
    let tokenizer = from_vocab(VOCAB, &decoder).unwrap();
    let encoding = tokenizer.encode("hello<a>hello <b>").unwrap();
    assert_eq!(encoding.ids(), [2, 5, 11, 5, 12, 3]);
    assert_eq!(tokenizer.vocab_size(), 13);
    assert!(tokenizer.check_vocab_size(13).is_ok());
    let error = tokenizer.check_vocab_size(12).unwrap_err().to_string();
    assert!(error.starts_with("vocab.txt: needs 13 embeddings and the model has 12"), "{error}");
}

#[test]
fn special_tokens_in_text_can_be_plain_text() {
    let tokenizer = from_vocab(VOCAB, &json!({})).unwrap().special_tokens_in_text(false);
    assert_eq!(tokens(&tokenizer, "hello [SEP]").len(), 6);
}

#[test]
fn a_text_without_tokens_is_encoded() {
    let tokenizer = from_vocab(VOCAB, &json!({})).unwrap();
    for text in ["", " \r\n\t", "\0\u{200d}\u{fffd}"] {
        assert_eq!(tokens(&tokenizer, text), ["[CLS]", "[SEP]"], "{text:?}");
        assert!(tokenizer.tokenize(text).unwrap().is_empty());
    }
}

#[test]
fn broken_vocabularies() {
    let cases = [
        ("", "vocab.txt: is empty; expected one token a line"),
        ("[CLS]\na\n", "vocab.txt: has no [SEP], [UNK]; add them"),
    ];
    for (vocab, expected) in cases {
        let error = from_vocab(vocab, &json!({})).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Tokenizer { file, .. } if file == "vocab.txt"));
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let error = Tokenizer::from_files(&TokenizerFiles::new("folder")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::MissingFile { .. }));
    assert!(
        error.to_string().starts_with("folder has none of these files: vocab.txt, tokenizer.json"),
        "{error}"
    );
}

#[test]
fn broken_configurations() {
    let config = |text: &str| {
        let files = TokenizerFiles::new("folder").vocab("vocab.txt", VOCAB.as_bytes());
        Tokenizer::from_files(&files.tokenizer_config("tokenizer_config.json", text.as_bytes().to_vec()))
            .unwrap_err()
    };
    for text in ["{", "[]", "{\"do_lower_case\": \"yes\"}", "{\"cls_token\": 7}", "\u{feff}", ""] {
        let error = config(text);
        assert!(
            matches!(error.kind(), ErrorKind::Json { file, .. } if file == "tokenizer_config.json"),
            "{error}"
        );
    }
    let japanese = config(r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#).to_string();
    assert!(japanese.contains("BertJapaneseTokenizer"), "{japanese}");
    let shifted = config(r#"{"added_tokens_decoder": {"40": {"content": "<a>"}}}"#).to_string();
    assert_eq!(shifted, "vocab.txt: gives token \"<a>\" id 11; the added tokens say 40");
}

#[test]
fn broken_tokenizer_json() {
    let unigram = json!({"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0});
    let roberta = json!({"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    let swapped = json!({"type": "BertProcessing", "sep": ["[CLS]", 2], "cls": ["[SEP]", 3]});
    let cases = [
        (json!(7), "tokenizer.json: is not a JSON object"),
        (json!({}), "tokenizer.json: has no `model`"),
        (changed("/model", unigram), "tokenizer.json: `model` is Unigram; expected WordPiece"),
        (
            changed("/model", json!({"vocab": {}})),
            "tokenizer.json: `model` is of no type; expected WordPiece",
        ),
        (changed("/model/vocab", json!({})), "tokenizer.json: `model.vocab` is empty"),
        (
            changed("/model/vocab/hello", json!(-1)),
            "tokenizer.json: `model.vocab` gives \"hello\" the id -1;",
        ),
        (
            changed("/model/vocab/hello", json!(u32::MAX)),
            "tokenizer.json: `model.vocab` gives \"hello\" the id 429",
        ),
        (changed("/model/vocab/hello", json!(6)), "tokenizer.json: gives id 6 to both "),
        (changed("/model/unk_token", json!("[PAD]")), "tokenizer.json: `model.unk_token` is \"[PAD]\""),
        (
            changed("/normalizer", json!({"type": "Precompiled"})),
            "tokenizer.json: `normalizer` is Precompiled",
        ),
        (
            changed("/pre_tokenizer", json!({"type": "Metaspace"})),
            "tokenizer.json: `pre_tokenizer` is Metaspace",
        ),
        (changed("/post_processor", roberta), "tokenizer.json: `post_processor` is RobertaProcessing"),
        (changed("/post_processor", swapped), "tokenizer.json: `post_processor` differs from BERT's"),
        (
            changed("/post_processor/single", json!([])),
            "tokenizer.json: `post_processor` differs from BERT's",
        ),
        (changed("/version", json!("9")), "tokenizer.json: Unknown tokenizer version '9'"),
        (changed("/added_tokens", json!([{"id": 0}])), "tokenizer.json: missing field"),
    ];
    let same = json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    assert!(from_json(&changed("/post_processor", same)).is_ok());
    assert!(from_json(&changed("/post_processor", Value::Null)).is_ok());
    for (json, expected) in cases {
        let error = from_json(&json).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\nexpected {expected}");
    }
    let text = tokenizer_json().to_string();
    for length in (0..text.len()).step_by(17) {
        let bytes = text.as_bytes()[..length].to_vec();
        let files = TokenizerFiles::new("folder").tokenizer_json("tokenizer.json", bytes);
        let error = Tokenizer::from_files(&files).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Json { file, .. } if file == "tokenizer.json"), "{error}");
    }
}

/// Collects all JSON pointers into a value.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| pointers(value, format!("{at}/{key}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| pointers(value, format!("{at}/{i}"), found));
        }
        _ => {}
    }
    found.push(at);
}

#[test]
fn no_value_in_a_tokenizer_json_makes_it_panic() {
    let mut all = Vec::new();
    pointers(&tokenizer_json(), String::new(), &mut all);
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("A"),
        json!("B"),
        json!("\u{301}"),
        json!("hello"),
        json!("[SEP]"),
        json!([]),
        json!([0]),
        json!({}),
        json!([{}]),
        json!({"type": "Sequence", "normalizers": [], "pretokenizers": []}),
    ];
    let mut loaded = 0;
    for pointer in &all {
        for value in &values {
            if let Ok(tokenizer) = from_json(&changed(pointer, value.clone())) {
                loaded += 1;
                let encoding = tokenizer.encode_pair(TEXT, "\u{301}\0 helloo [SEP]").unwrap();
                assert!(
                    encoding.ids().iter().all(|&id| (id as usize) < tokenizer.vocab_size()),
                    "{pointer} {value}"
                );
            }
        }
    }
    assert!(
        loaded > 100 && loaded < all.len() * values.len(),
        "{loaded} of {} loaded",
        all.len() * values.len()
    );
}

#[test]
fn a_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Tokenizer::open(folder.path()).unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::MissingFile { .. }), "{missing}");
    std::fs::write(folder.path().join("vocab.txt"), VOCAB).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), "{\"do_lower_case\": false}").unwrap();
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    assert_eq!(tokens(&tokenizer, "Hello"), ["[CLS]", "[UNK]", "[SEP]"]);
    std::fs::write(folder.path().join("tokenizer_config.json"), "{\n  oops").unwrap();
    let error = Tokenizer::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json: key must be a string at line 2"), "{error}");
}

#[test]
fn impossible_windows_are_refused() {
    let tokenizer = from_vocab(VOCAB, &json!({})).unwrap();
    let text = tokenizer.tokenize(&"hello ".repeat(50)).unwrap();
    let question = |words: usize| tokenizer.tokenize(&"hello ".repeat(words)).unwrap();
    let options = WindowOptions::new(20).doc_stride(8);
    let windows = |words: usize, options: &WindowOptions| {
        text.windows_with_question(&question(words), options).map(|w| w.len()).map_err(|e| e.to_string())
    };
    assert_eq!(windows(8, &options), Ok(42));
    let too_long = windows(9, &options).unwrap_err();
    assert!(too_long.starts_with("the question has 9 tokens; the limit is 8: "), "{too_long}");
    let no_room = windows(17, &options.doc_stride(0)).unwrap_err();
    assert!(no_room.starts_with("the question has 17 tokens; the limit is 16: "), "{no_room}");
    let limit = windows(5, &options.max_question_len(4)).unwrap_err();
    assert!(limit.starts_with("the question has 5 tokens; the limit is 4: "), "{limit}");
    let stride = windows(1, &options.doc_stride(17)).unwrap_err();
    assert!(stride.starts_with("`doc_stride` is 17; expected less than 17"), "{stride}");
    let stride = text.windows(&options.doc_stride(18)).unwrap_err().to_string();
    assert!(stride.starts_with("`doc_stride` is 18; expected less than 18"), "{stride}");
    for length in 0..3 {
        let short = text.windows(&WindowOptions::new(length)).unwrap_err().to_string();
        assert_eq!(short, format!("`max_seq_len` is {length}; expected at least 3"));
    }
    // One window is enough, so no overlap is needed.
    assert_eq!(question(3).windows(&options.doc_stride(19)).unwrap().len(), 1);
}

#[test]
fn ten_megabytes_of_text() {
    let tokenizer = from_vocab(VOCAB, &json!({})).unwrap();
    let line = "Hello CAFÉs! [MASK] nothing 字\r\n";
    let lines = 10_000_000 / line.len();
    let text = tokenizer.tokenize(&line.repeat(lines)).unwrap();
    let once = tokenizer.tokenize(line).unwrap();
    assert_eq!(text.len(), lines * once.len());
    let (last, token) = (text.spans()[text.len() - 1], once.spans()[once.len() - 1]);
    assert_eq!(last.start, (lines - 1) * line.len() + token.start);
    let windows = text.windows(&WindowOptions::new(512)).unwrap();
    assert_eq!(windows.get(windows.len() - 1).unwrap().tokens().end, text.len());
}
