//! Tests properties of the tokens, offsets and windows of any text.

#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use std::sync::LazyLock;

use mobilebert::{Span, TokenizedText, Tokenizer, TokenizerFiles, WindowOptions};
use proptest::prelude::*;

fn tokenizer(config: &'static str) -> Tokenizer {
    let vocab = include_bytes!("../vocab/bert-base-uncased.txt");
    let files = TokenizerFiles::new("test").vocab("vocab.txt", &vocab[..]);
    Tokenizer::from_files(&files.tokenizer_config("config", config.as_bytes())).unwrap()
}

static UNCASED: LazyLock<Tokenizer> = LazyLock::new(|| tokenizer("{}"));
static CASED: LazyLock<Tokenizer> = LazyLock::new(|| tokenizer(r#"{"do_lower_case": false}"#));

fn any_text() -> impl Strategy<Value = String> {
    let chars = prop_oneof![
        any::<char>(),
        prop::char::range('a', 'z'),
        prop::char::range('\u{300}', '\u{36f}'),
        prop::char::range('\u{ac00}', '\u{d7a3}'),
        prop::char::range('\u{4e00}', '\u{9fff}'),
        prop::sample::select(vec![
            ' ', '\n', '\r', '\t', '\0', '.', 'É', 'İ', 'ß', 'ﬁ', '😀', '\u{200d}', '\u{fffd}'
        ]),
    ];
    let pieces = prop_oneof![
        9 => chars.prop_map(String::from),
        1 => prop::sample::select(vec!["[SEP]", "[MASK]", "[UNK", "hello world", "\r\n"]).prop_map(String::from),
    ];
    prop::collection::vec(pieces, 0..80).prop_map(|pieces| pieces.concat())
}

fn numbered(words: usize) -> TokenizedText {
    let text: Vec<String> = (0..words).map(|i| (i % 10).to_string()).collect();
    UNCASED.tokenize(&text.join(" ")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn spans_are_pieces_of_the_text_in_order(text in any_text(), cased: bool) {
        let tokenizer = if cased { &CASED } else { &UNCASED };
        let tokens = tokenizer.tokenize(&text).unwrap();
        prop_assert_eq!(tokens.spans().len(), tokens.len());
        prop_assert_eq!(tokens.word_ids().len(), tokens.len());
        for span in tokens.spans() {
            prop_assert!(text.get(span.range()).is_some_and(|piece| !piece.is_empty()), "{:?} of {:?}", span, text);
        }
        for (i, pair) in tokens.spans().windows(2).enumerate() {
            let (left, right) = (pair[0], pair[1]);
            prop_assert!(left.start <= right.start && left.end <= right.end, "{:?} {:?} of {:?}", left, right, text);
            // Only the parts of one character may share bytes.
            if left.end > right.start {
                prop_assert_eq!(tokens.word_ids()[i], tokens.word_ids()[i + 1]);
            }
        }
        for words in tokens.word_ids().windows(2) {
            prop_assert!(words[0] == words[1] || words[0] + 1 == words[1]);
        }
    }

    #[test]
    fn encodings_are_their_texts_between_special_tokens(first in any_text(), second in any_text()) {
        let (a, b) = (UNCASED.tokenize(&first).unwrap(), UNCASED.tokenize(&second).unwrap());
        let special = UNCASED.special_ids();
        let single = UNCASED.encode(&first).unwrap();
        prop_assert_eq!(single.ids(), [&[special.cls], a.ids(), &[special.sep]].concat());
        prop_assert!(single.type_ids().iter().all(|&t| t == 0));

        let pair = UNCASED.encode_pair(&first, &second).unwrap();
        prop_assert_eq!(pair.ids(), [single.ids(), b.ids(), &[special.sep]].concat());
        prop_assert_eq!(pair.type_ids(), [vec![0; a.len() + 2], vec![1; b.len() + 1]].concat());
        prop_assert_eq!(&pair.spans()[pair.positions(0)], a.spans());
        prop_assert_eq!(&pair.spans()[pair.positions(1)], b.spans());
        for position in 0..pair.len() {
            let sequence = pair.sequence(position);
            prop_assert_eq!(sequence.is_none(), pair.is_special(position));
            prop_assert_eq!(sequence.is_none(), pair.word_id(position).is_none());
            prop_assert!(sequence.is_some() || pair.span(position) == Span::default());
        }
    }

    #[test]
    fn windows_cover_every_token_and_share_doc_stride(
        text in 0_usize..120, question in 0_usize..12, max_seq_len in 3_usize..40, doc_stride in 0_usize..30,
    ) {
        let (text, question) = (numbered(text), numbered(question));
        let options = WindowOptions::new(max_seq_len).doc_stride(doc_stride);
        let single = text.windows(&options);
        let pair = text.windows_with_question(&question, &options);
        for (room, windows) in [
            (max_seq_len as i64 - 2, single),
            (max_seq_len as i64 - 3 - question.len() as i64, pair),
        ] {
            let fits = text.len() as i64 <= room;
            prop_assert_eq!(windows.is_ok(), room > 0 && (fits || (doc_stride as i64) < room));
            let Ok(windows) = windows else { continue };
            let room = room as usize;
            prop_assert_eq!(windows.len(), windows.clone().count());
            let windows: Vec<_> = windows.collect();
            prop_assert_eq!(windows[0].tokens().start, 0);
            prop_assert_eq!(windows[windows.len() - 1].tokens().end, text.len());
            for pair in windows.windows(2) {
                prop_assert_eq!(pair[0].tokens().len(), room);
                prop_assert_eq!(pair[1].tokens().start, pair[0].tokens().end - doc_stride);
                prop_assert!(pair[1].tokens().end > pair[0].tokens().end);
            }
            for window in &windows {
                prop_assert!(window.ids().len() <= max_seq_len);
                prop_assert_eq!(&window.ids()[window.positions()], &text.ids()[window.tokens()]);
                for position in 0..window.ids().len() {
                    let token = window.token(position);
                    prop_assert_eq!(token.is_some(), window.positions().contains(&position));
                    prop_assert_eq!(window.span(position), token.map(|t| text.spans()[t]));
                }
            }
        }
    }

    #[test]
    fn truncation_keeps_the_beginnings(a in 0_usize..40, b in 0_usize..40, max_seq_len in 4_usize..60) {
        let (a, b) = (numbered(a), numbered(b));
        let (single, truncated) = a.encode_truncated(None, max_seq_len).unwrap();
        prop_assert_eq!(single.len(), (a.len() + 2).min(max_seq_len));
        prop_assert_eq!(truncated, a.len() + 2 > max_seq_len);
        let (pair, truncated) = a.encode_truncated(Some(&b), max_seq_len).unwrap();
        prop_assert_eq!(pair.len(), (a.len() + b.len() + 3).min(max_seq_len));
        prop_assert_eq!(truncated, a.len() + b.len() + 3 > max_seq_len);
        let (first, second) = (pair.positions(0), pair.positions(1));
        prop_assert_eq!(&pair.ids()[first.clone()], &a.ids()[..first.len()]);
        prop_assert_eq!(&pair.ids()[second.clone()], &b.ids()[..second.len()]);
    }
}
