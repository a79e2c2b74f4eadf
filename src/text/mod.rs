//! TEXT -> TOKENS.
//!
//! [`Tokenizer::tokenize`] splits a text into [`TokenizedText`]; [`Tokenizer::encode`] and
//! [`Tokenizer::encode_pair`] put special tokens around one or two ([`Encoding`]); [`TokenizedText::windows`]
//! and [`TokenizedText::windows_with_question`] cut long ones into [`Window`]s. A [`Batch`] collects
//! sequences for the model. Every token knows the bytes of the original text that it came from ([`Span`]);
//! [`OffsetUnit`] and [`TextIndex`] convert these to code points and UTF-16 units.

mod batch;
mod breaks;
mod encoding;
mod files;
mod long;
mod offsets;
mod span;
mod special;
mod tokenizer;
mod tokenizer_json;
mod vocabulary;
mod window;

pub use batch::Batch;
pub use encoding::{Encoding, TokenizedText};
pub use files::TOKENIZER_FILES;
pub use files::TokenizerFiles;
pub use offsets::OffsetUnit;
pub use span::{Span, TextIndex};
pub use tokenizer::Tokenizer;
pub use vocabulary::SpecialIds;
pub use window::{Window, WindowOptions, Windows};

pub(crate) use long::TextTokens;
