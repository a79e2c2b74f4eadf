//! The inputs of the vectors.

use serde_json::{Map, Value, json};

/// A file of vectors.
pub(crate) struct File {
    /// The name of the file, without its folder and `.json`.
    pub(crate) name: &'static str,
    /// What the file is about, for its readers.
    pub(crate) about: &'static str,
    /// The folder of the model, from the root of the repository. `None` if no case needs one.
    pub(crate) model: Option<&'static str>,
    /// The cases.
    pub(crate) cases: Vec<Case>,
}

/// One call.
pub(crate) struct Case {
    /// The operation.
    pub(crate) op: &'static str,
    /// The options of the call that differ from the defaults.
    pub(crate) options: Map<String, Value>,
    /// The input.
    pub(crate) input: Value,
}

fn case(op: &'static str, options: Value, input: Value) -> Case {
    Case { op, options: options.as_object().cloned().unwrap_or_default(), input }
}

/// A context with characters of every length in every unit, CRLF, NUL, and a combining mark.
const STRANGE: &str = "😀 Cafe\u{301} «Zoë»\r\n東京で。 The lamp\0 was built by Zoë Müller in 1880, 𠮷.";

/// Returns all files.
pub(crate) fn files() -> Vec<File> {
    vec![text(), answers(), answers_within(), answer_errors(), classify(), tag(), fill(), embed()]
}

fn text() -> File {
    let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let mut cut = units("é😀x");
    cut.remove(2);
    let cases = vec![
        case("text", json!({}), json!({ "utf16": units(STRANGE) })),
        case("text", json!({}), json!({ "utf16": cut })),
        case("text", json!({}), json!({ "utf16": [0xDC00] })),
        case("text", json!({}), json!({ "utf16": [0x61, 0x10, 0xD83D] })),
        case("offsets", json!({}), json!({ "text": STRANGE, "byte": boundaries(STRANGE) })),
        case("offsets", json!({}), json!({ "text": "plain", "byte": [5, 0, 2, 2] })),
        case("offsets", json!({}), json!({ "text": "é", "byte": [1] })),
        case("offsets", json!({}), json!({ "text": "é", "byte": [3] })),
    ];
    File { name: "text", about: "Offsets in all units, and input that is not Unicode.", model: None, cases }
}

fn boundaries(text: &str) -> Vec<usize> {
    (0..=text.len()).filter(|&byte| text.is_char_boundary(byte)).collect()
}

fn answers() -> File {
    let simple = json!({ "question": "Who built it?", "context": "It was built by Ada." });
    let strange = json!({ "question": "Who built the lamp?", "context": STRANGE });
    let twice = "Ada built the engine in London. Later she wrote about it. ADA built it alone, they say.";
    let long = "The harbour was quiet that year, and nothing was written down. ".repeat(60)
        + "In 1911 the keeper Émile Dubois – a Breton 😀 – repaired the lantern. "
        + &"Ships came and went, and the wind was cold. ".repeat(40);
    let cases = vec![
        case("answers", json!({}), simple.clone()),
        case("answers", json!({ "top_k": 3 }), strange.clone()),
        case("answers", json!({ "top_k": 3, "max_answer_len": 1 }), strange),
        case("answers", json!({ "top_k": 2 }), json!({ "question": "Who built it?", "context": twice })),
        case(
            "answers",
            json!({ "top_k": 2, "merge_equal_texts": false }),
            json!({ "question": "Who built it?", "context": twice }),
        ),
        case("answers", json!({ "handle_impossible_answer": true }), simple.clone()),
        case("answers", json!({ "null_competes": true }), simple),
        case("answers", json!({}), json!({ "question": "Who repaired the lantern?", "context": long })),
        case(
            "answers",
            json!({ "max_seq_len": 64, "doc_stride": 16 }),
            json!({ "question": "Who repaired the lantern?", "context": long }),
        ),
        case(
            "answers",
            json!({}),
            json!({ "questions": ["Who built the lamp?", "When was it built?"], "context": STRANGE }),
        ),
        case(
            "answers",
            json!({}),
            json!({
                "questions": ["Who built it?", "When?", "Where?"],
                "contexts": ["It was built by Ada.", STRANGE, STRANGE]
            }),
        ),
        case("answers", json!({}), json!({ "questions": [], "contexts": [] })),
        case("answers", json!({}), json!({ "questions": [], "context": "" })),
    ];
    let about = "Answers, with places in all units.";
    File { name: "answers", about, model: Some("models/qa"), cases }
}

fn answers_within() -> File {
    let ask = |question: &str, context: &str| json!({ "question": question, "context": context });
    let limited = |question: &str, context: &str, most: usize| json!({ "question": question, "context": context, "most_windows": most });
    let short = "It was built by Ada.";
    let padding = "Ships 🚢 came and went,\r\nand the wind was cold\0 – très froid. ".repeat(20);
    let long = format!("{padding}In 1911 the keeper Émile Dubois repaired the lantern. {padding}");
    let question = "Who repaired the lantern?";
    let narrow = json!({ "max_seq_len": 64, "doc_stride": 16, "top_k": 2 });
    let cases = vec![
        case("answers_within", json!({}), ask("Who built it?", short)),
        case("answers_within", json!({}), limited("Who built it?", short, 1)),
        case("answers_within", narrow.clone(), ask(question, &long)),
        case("answers_within", narrow.clone(), limited(question, &long, 1)),
        case("answers_within", narrow, limited(question, &long, 4)),
        case("answers_within", json!({}), limited(" ", short, 1)),
        case("answers_within", json!({ "topk": 1 }), ask("Who built it?", short)),
    ];
    let about = "Answers in the windows of a context that were read, and what was left unread.";
    File { name: "within", about, model: Some("models/qa"), cases }
}

fn answer_errors() -> File {
    let ask = |question: &str, context: &str| json!({ "question": question, "context": context });
    let cases = vec![
        case("answers", json!({}), ask("", "It was built by Ada.")),
        case("answers", json!({}), ask("Who?", " \t\r\n")),
        case("answers", json!({}), ask(&"who ".repeat(65), "It was built by Ada.")),
        case("answers", json!({ "top_k": 0 }), ask("Who?", "Ada.")),
        case("answers", json!({ "top_k": "many" }), ask("Who?", "Ada.")),
        case("answers", json!({ "max_seq_len": 100_000 }), ask("Who?", "Ada.")),
        case("answers", json!({ "max_seq_len": 64, "doc_stride": 64 }), ask("Who?", "Ada.")),
        case("answers", json!({ "topk": 1 }), ask("Who?", "Ada.")),
        case("answers", json!({}), json!({ "questions": ["Who?", " ", ""], "context": "Ada." })),
        case("answers", json!({}), json!({ "questions": ["Who?", "When?"], "contexts": ["Ada.", ""] })),
        case("answers", json!({}), json!({ "questions": ["Who?", "When?"], "contexts": ["Ada."] })),
        case("classify", json!({}), json!({ "text": "a joy to watch" })),
        case("tag", json!({}), json!({ "text": "Ada lives in London" })),
        case("fill", json!({}), json!({ "text": "a [MASK]" })),
    ];
    let about = "Calls that fail, by code, message and place.";
    File { name: "errors", about, model: Some("models/qa"), cases }
}

fn classify() -> File {
    let long = "a joy to watch, and then again ".repeat(120);
    let cases = vec![
        case("classify", json!({}), json!({ "text": "a joy to watch" })),
        case("classify", json!({ "top_k": null }), json!({ "text": "two hours of nothing 😞" })),
        case("classify", json!({ "threshold": 0.999 }), json!({ "text": "fine" })),
        case("classify", json!({ "function_to_apply": "none", "top_k": 2 }), json!({ "text": "fine" })),
        case("classify", json!({ "function_to_apply": "sigmoid", "top_k": 2 }), json!({ "text": "fine" })),
        case("classify", json!({ "labels": ["negative"] }), json!({ "text": "fine" })),
        case("classify", json!({}), json!({ "text": long })),
        case("classify", json!({ "long_text": "windows-mean" }), json!({ "text": long })),
        case("classify", json!({ "long_text": "windows-max" }), json!({ "text": long })),
        case("classify", json!({ "long_text": "refuse" }), json!({ "text": long })),
        case("classify", json!({}), json!({ "text": "a joy", "text_pair": "a bore" })),
        case("classify", json!({}), json!({ "texts": ["a joy", "a bore", "東京 é\u{301}\r\n\0"] })),
        case("classify", json!({}), json!({ "texts": ["a joy", ""] })),
        case("classify", json!({}), json!({ "texts": ["a", "b"], "text_pairs": ["c"] })),
        case("classify", json!({}), json!({ "texts": [] })),
        case("classify", json!({ "labels": ["happy"] }), json!({ "text": "fine" })),
        case("classify", json!({ "long_text": "cut" }), json!({ "text": "fine" })),
    ];
    let about = "Labels of texts and pairs.";
    File { name: "classify", about, model: Some("models/sentiment"), cases }
}

fn tag() -> File {
    let text = "😀 Ada lives in London, and Zoë\r\nin 東京.";
    let cases = vec![
        case("tag", json!({}), json!({ "text": text })),
        case("tag", json!({ "aggregation_strategy": "none" }), json!({ "text": text })),
        case("tag", json!({ "aggregation_strategy": "first", "ignore_labels": [] }), json!({ "text": text })),
        case("tag", json!({ "aggregation_strategy": "average" }), json!({ "text": text })),
        case("tag", json!({ "aggregation_strategy": "max" }), json!({ "text": text })),
        case("tag", json!({}), json!({ "text": "Ada lives in London. ".repeat(40) })),
        case("tag", json!({}), json!({ "texts": ["Ada", "London is old"] })),
        case("tag", json!({}), json!({ "texts": ["Ada", ""] })),
        case("tag", json!({ "aggregation_strategy": "most" }), json!({ "text": text })),
    ];
    let about = "Labelled pieces of texts. The model is tiny and untrained.";
    File { name: "tag", about, model: Some("bindings/vectors/models/ner"), cases }
}

fn fill() -> File {
    let cases = vec![
        case("fill", json!({}), json!({ "text": "paris is the [MASK] of france." })),
        case("fill", json!({ "top_k": 2 }), json!({ "text": "😀 the [MASK] of [MASK]" })),
        case("fill", json!({ "targets": ["of", "the"] }), json!({ "text": "paris is [MASK]" })),
        case("fill", json!({ "top_k": 1 }), json!({ "texts": ["the [MASK]", "a [MASK]"] })),
        case("fill", json!({}), json!({ "text": "no mask" })),
        case("fill", json!({ "targets": ["zzzz"] }), json!({ "text": "paris is [MASK]" })),
        case("fill", json!({}), json!({ "text": "of ".repeat(600) + "[MASK]" })),
    ];
    let about = "Words for masks. The model is tiny and untrained.";
    File { name: "fill", about, model: Some("bindings/vectors/models/mlm"), cases }
}

fn embed() -> File {
    let long = "a joy to watch ".repeat(200);
    let each =
        |pooling: &str| case("embed", json!({ "pooling": pooling }), json!({ "text": "how old are you?" }));
    let cases = vec![
        case("embed", json!({}), json!({ "text": "how old are you?" })),
        case("embed", json!({ "normalize": false }), json!({ "text": "how old are you?" })),
        each("cls"),
        each("max"),
        each("mean_sqrt_len"),
        each("weighted_mean"),
        each("last_token"),
        case("embed", json!({}), json!({ "text": long })),
        case("embed", json!({}), json!({ "texts": ["a", "é😀\r\n\0", long] })),
        case("embed", json!({}), json!({ "texts": [] })),
        case("embed", json!({}), json!({ "texts": ["a", "", "b"] })),
        case("embed", json!({ "pooling": "median" }), json!({ "text": "a" })),
        case("states", json!({}), json!({ "text": "how old" })),
        case("states", json!({ "max_seq_len": 4 }), json!({ "texts": ["how old are you?", "a"] })),
    ];
    let about = "Vectors of texts and hidden states of tokens. The model is tiny and untrained.";
    File { name: "embed", about, model: Some("bindings/vectors/models/ner"), cases }
}
