//! Tests what encodings, windows and vocabularies say of themselves.

use mobilebert::text::TextIndex;
use mobilebert::{
    AnswerOptions, ErrorKind, QuestionAnswering, Result, Span, TagOptions, TokenClassification, Tokenizer,
    TokenizerFiles, WindowOptions,
};

const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\nword\n";
/// The number of its lines.
const LINES: usize = 9;

fn tokenizer(vocabulary: &str, config: &str) -> Result<Tokenizer> {
    let files = TokenizerFiles::new("test").vocab("vocab.txt", vocabulary.as_bytes());
    Tokenizer::from_files(&files.tokenizer_config("tokenizer_config.json", config.as_bytes()))
}

fn plain() -> Tokenizer {
    tokenizer(VOCABULARY, "{}").unwrap()
}

#[test]
fn an_encoding_describes_each_token() {
    let encoding = plain().encode_pair("a ba", "b").unwrap();
    let expected = [
        ("[CLS]", None, None),
        ("a", Some(0), Some(0)),
        ("b", Some(0), Some(1)),
        ("##a", Some(0), Some(1)),
        ("[SEP]", None, None),
        ("b", Some(1), Some(0)),
        ("[SEP]", None, None),
    ];
    assert_eq!((encoding.len(), encoding.is_empty()), (expected.len(), false));
    for (position, (token, sequence, word)) in expected.into_iter().enumerate() {
        assert_eq!(encoding.token(position), Some(token));
        assert_eq!((encoding.sequence(position), encoding.word_id(position)), (sequence, word));
        assert_eq!(encoding.is_special(position), sequence.is_none());
    }
    assert_eq!((encoding.token(7), encoding.sequence(7)), (None, None));
    assert_eq!(encoding.special_tokens_mask(), [1, 0, 0, 0, 1, 0, 1]);
    assert_eq!(encoding.type_ids(), [0, 0, 0, 0, 0, 1, 1]);
}

#[test]
fn spans_are_ranges_and_convert_to_code_points() {
    assert_eq!(std::ops::Range::from(Span::new(2, 5)), 2..5);
    let index = TextIndex::new("aé😀b");
    assert_eq!(index.text(), "aé😀b");
    // The emoji has the bytes 3 to 7.
    assert_eq!(index.chars_span(Span::new(3, 7)), Some(Span::new(2, 3)));
    assert_eq!((index.chars_span(Span::new(2, 7)), index.chars_span(Span::new(3, 6))), (None, None));
}

#[test]
fn windows_are_counted_before_they_are_made() {
    let tokenizer = plain();
    let (text, question) = (tokenizer.tokenize(&"a ".repeat(20)).unwrap(), tokenizer.tokenize("b").unwrap());
    let options = WindowOptions::new(10).doc_stride(2);
    let mut windows = text.windows_with_question(&question, &options).unwrap();
    let count = windows.len();
    for left in (0..count).rev() {
        let window = windows.next().unwrap();
        assert_eq!(windows.size_hint(), (left, Some(left)));
        assert_eq!(window.type_ids(), window.encoding().type_ids());
        assert_eq!(window.type_ids()[..4], [0, 0, 0, 1]);
    }
    assert!(windows.next().is_none());
}

/// Windows have to advance, unless one holds the whole text.
#[test]
fn a_stride_may_be_as_long_as_the_room_if_there_is_one_window() {
    let tokenizer = plain();
    let question = tokenizer.tokenize("b").unwrap();
    let count = |tokens: usize, stride: usize| {
        let text = tokenizer.tokenize(&"a ".repeat(tokens)).unwrap();
        // Both have room for six tokens.
        let alone = text.windows(&WindowOptions::new(8).doc_stride(stride)).map(|windows| windows.len());
        let options = WindowOptions::new(10).doc_stride(stride);
        let beside = text.windows_with_question(&question, &options).map(|windows| windows.len());
        (alone.ok(), beside.ok())
    };
    assert_eq!(count(6, 5), (Some(1), Some(1)));
    assert_eq!(count(6, 6), (Some(1), Some(1)));
    assert_eq!(count(7, 5), (Some(2), Some(2)));
    assert_eq!(count(7, 6), (None, None));
}

/// A pipeline refuses options with which the windows of a long text could not advance.
#[test]
fn pipelines_check_the_stride_before_there_is_a_text() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let model =
        TokenClassification::open(folder.join("tests/golden/checkpoints/mobilebert-ner-f32")).unwrap();
    let with_stride = |stride| {
        let options = TagOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(10), Some(stride)));
        TokenClassification::from_parts(model.model().clone(), options)
    };
    with_stride(7).unwrap();
    let error = with_stride(8).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Option { option: "doc_stride", .. }), "{error:?}");
}

/// A question has at least one token, and so has a window.
#[test]
fn a_question_and_a_window_need_five_tokens() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = QuestionAnswering::open(folder.join("tests/golden/checkpoints/mobilebert-f32")).unwrap();
    let with_length = |n| {
        let options = AnswerOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(n), Some(0)));
        QuestionAnswering::from_parts(model.model().clone(), options)
    };
    assert_eq!(with_length(5).unwrap().answer("who", "anna").unwrap().answer, "anna");
    let error = with_length(4).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Option { option: "max_seq_len", .. }), "{error:?}");
}

/// A token that the vocabulary lacks gets the id behind it. A model without a row for it is accepted, since
/// the original implementation makes such tokens, too.
#[test]
fn special_tokens_that_a_vocabulary_lacks_come_behind_it() {
    let with = |config: &str| tokenizer(VOCABULARY, config).unwrap();
    assert_eq!(plain().vocab_size(), LINES);
    plain().check_vocab_size(LINES).unwrap();
    plain().check_vocab_size(LINES - 1).unwrap_err();

    let extra = with(r#"{"additional_special_tokens": ["[ONE]", "[TWO]", "[ONE]"]}"#);
    assert_eq!((extra.token_to_id("[ONE]"), extra.token_to_id("[TWO]")), (Some(9), Some(10)));
    assert_eq!((extra.id_to_token(10), extra.id_to_token(11)), (Some("[TWO]"), None));
    assert_eq!(extra.vocab_size(), LINES + 2);
    extra.check_vocab_size(LINES).unwrap();
    extra.check_vocab_size(LINES - 1).unwrap_err();
}

/// A padding or mask token that the vocabulary lacks gets no id, unless one of a token behind it counts on
/// from there.
#[test]
fn lacking_tokens_for_padding_and_masks_have_no_id_of_their_own() {
    let vocabulary = VOCABULARY.replace("[PAD]", "pad").replace("[MASK]", "mask");
    let ids = |config: &str| {
        let tokenizer = tokenizer(&vocabulary, config).unwrap();
        ["[PAD]", "[MASK]", "[BOS]", "[ONE]"].map(|token| tokenizer.token_to_id(token))
    };
    assert_eq!(ids("{}"), [None; 4]);
    assert_eq!(ids(r#"{"additional_special_tokens": ["a"]}"#), [None; 4], "the vocabulary has this one");
    assert_eq!(ids(r#"{"pad_token": "[PAD]", "mask_token": "[MASK]"}"#), [None; 4]);
    let with_extra =
        ids(r#"{"pad_token": "[PAD]", "mask_token": "[MASK]", "additional_special_tokens": ["[ONE]"]}"#);
    assert_eq!(with_extra, [Some(9), Some(10), None, Some(11)]);
    let with_first = ids(r#"{"bos_token": "[BOS]", "pad_token": "[PAD]", "mask_token": "[MASK]"}"#);
    assert_eq!(with_first, [None, None, Some(9), None]);
}

/// An added token that is no special one is normalised as the text is, and stays a token when special tokens
/// in a text are split.
#[test]
fn words_are_normalised_and_markers_are_not() {
    let vocabulary = format!("{VOCABULARY}Foo\n[X]\n");
    let config = r#"{"added_tokens_decoder": {
        "9": {"content": "Foo"}, "10": {"content": "[X]", "special": true}
    }}"#;
    let tokenizer = tokenizer(&vocabulary, config).unwrap();
    let ids = |tokenizer: &Tokenizer, text: &str| tokenizer.tokenize(text).unwrap().ids().to_vec();
    assert_eq!((ids(&tokenizer, "Foo"), ids(&tokenizer, "foo")), (vec![9], vec![9]));
    assert_eq!(ids(&tokenizer, "[X]"), [10]);
    assert_ne!(ids(&tokenizer, "[x]"), [10]);
    let split = tokenizer.special_tokens_in_text(false);
    assert_eq!(ids(&split, "foo"), [9]);
    assert_ne!(ids(&split, "[X]"), [10]);
}

/// The ids of `added_tokens.json` do not say which tokens are special. Those that have a role or are listed
/// are.
#[test]
fn added_tokens_are_special_if_they_have_a_role_or_are_listed() {
    let vocabulary = format!("{VOCABULARY}[ENT]\n[BOS]\nplain\n[M]\n[other]\n[EOS]\n");
    let ids = r#"{"[ENT]": 9, "[BOS]": 10, "plain": 11, "[M]": 12, "[other]": 13}"#;
    let map = r#"{
        "bos_token": "[BOS]", "mask_token": "[M]", "other_token": "[other]", "eos_token": {"content": "[EOS]"},
        "extra_special_tokens": ["[ENT]"]
    }"#;
    let files = TokenizerFiles::new("test")
        .vocab("vocab.txt", vocabulary.as_bytes())
        .added_tokens("added_tokens.json", ids.as_bytes())
        .special_tokens_map("special_tokens_map.json", map.as_bytes());
    let tokenizer = Tokenizer::from_files(&files).unwrap();
    let ids = |tokenizer: &Tokenizer, text: &str| tokenizer.tokenize(text).unwrap().ids().to_vec();
    let special = [("[ENT]", 9), ("[BOS]", 10), ("[M]", 12), ("[EOS]", 14)];
    // `other_token` is no role, so its token is normalised as the text is.
    let plain = [("plain", 11), ("PLAIN", 11), ("[other]", 13), ("[OTHER]", 13)];
    for (text, id) in special.into_iter().chain(plain) {
        assert_eq!(ids(&tokenizer, text), [id], "{text}");
    }
    // An object that does not say so is normalised (`[EOS]`).
    for (text, id) in &special[..3] {
        assert_ne!(ids(&tokenizer, &text.to_lowercase()), [*id], "{text}");
    }
    let split = tokenizer.special_tokens_in_text(false);
    for (text, id) in special {
        assert_ne!(ids(&split, text), [id], "{text}");
    }
    assert_eq!(ids(&split, "plain"), [11]);
}

#[test]
fn a_line_that_is_not_utf8_is_named() {
    let files = TokenizerFiles::new("test").vocab("vocab.txt", b"[PAD]\n[UNK]\n\xff\n".as_slice());
    let error = Tokenizer::from_files(&files).unwrap_err().to_string();
    assert!(error.contains("line 3 is not valid UTF-8 (byte 12)"), "{error}");
}
