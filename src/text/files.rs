//! The files a tokenizer is made of, and the settings in them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::vocabulary::problem;
use crate::error::{Error, ErrorKind, Result};

/// Names of the files that a tokenizer may be made of.
pub const TOKENIZER_FILES: [&str; 5] =
    ["vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// The files of one tokenizer, as bytes: read from a folder, or compiled into the program.
///
/// `tokenizer.json` wins over `vocab.txt`, as in `transformers`; at least one of them is needed.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles<'a> {
    pub(crate) place: String,
    pub(crate) vocab: Option<NamedBytes<'a>>,
    pub(crate) tokenizer_json: Option<NamedBytes<'a>>,
    pub(crate) tokenizer_config: Option<NamedBytes<'a>>,
    pub(crate) special_tokens_map: Option<NamedBytes<'a>>,
    pub(crate) added_tokens: Option<NamedBytes<'a>>,
}

/// A file's content and the name that error messages call it by.
#[derive(Debug, Clone)]
pub(crate) struct NamedBytes<'a> {
    pub(crate) name: String,
    pub(crate) bytes: Cow<'a, [u8]>,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, name: impl Into<String>, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
            self.$field = Some(NamedBytes { name: name.into(), bytes: bytes.into() });
            self
        }
    )*};
}

impl<'a> TokenizerFiles<'a> {
    /// No files yet. `place` is where error messages say that files are missing: a folder or a model's name.
    pub fn new(place: impl Into<String>) -> Self {
        Self { place: place.into(), ..Self::default() }
    }

    /// Collects those of the files that `read` has: given a file name, it returns the content, or `None`.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn collect(
        place: impl Into<String>,
        read: impl Fn(&str) -> Result<Option<Cow<'a, [u8]>>>,
    ) -> Result<Self> {
        let place = place.into();
        let file = |name: &str| {
            let path = Path::new(&place).join(name).display().to_string();
            Ok::<_, Error>(read(name)?.map(|bytes| NamedBytes { name: path, bytes }))
        };
        let [vocab, tokenizer_json, tokenizer_config, special_tokens_map, added_tokens] =
            TOKENIZER_FILES.map(file);
        Ok(Self {
            vocab: vocab?,
            tokenizer_json: tokenizer_json?,
            tokenizer_config: tokenizer_config?,
            special_tokens_map: special_tokens_map?,
            added_tokens: added_tokens?,
            place,
        })
    }

    /// Reads those of the files that a model folder has.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if a file exists and cannot be read.
    pub fn read(folder: impl AsRef<Path>) -> Result<TokenizerFiles<'static>> {
        let folder = folder.as_ref();
        TokenizerFiles::collect(folder.display().to_string(), |name| {
            let path = folder.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::io(path, e)),
            }
        })
    }

    setters! {
        /// `vocab.txt`: one token a line.
        vocab,
        /// `tokenizer.json`: everything in one file, as the `tokenizers` library writes it.
        tokenizer_json,
        /// `tokenizer_config.json`: case, accents, special tokens, maximum length.
        tokenizer_config,
        /// `special_tokens_map.json`: special tokens that `tokenizer_config.json` does not name.
        special_tokens_map,
        /// `added_tokens.json`: ids of tokens behind the end of `vocab.txt`.
        added_tokens,
    }

    pub(crate) fn settings(&self) -> Result<Settings> {
        let config: ConfigFile = parse_optional(self.tokenizer_config.as_ref())?;
        let map: Roles = parse_optional(self.special_tokens_map.as_ref())?;
        let file = self.tokenizer_config.as_ref().map_or("tokenizer_config.json", |f| &f.name);
        if config.tokenizer_class.as_deref() == Some("BertJapaneseTokenizer") {
            let expected = "expected BertTokenizer or another plain WordPiece tokenizer";
            return Err(problem(file, format!("`tokenizer_class` is \"BertJapaneseTokenizer\"; {expected}")));
        }
        let role = |set: Option<Token>, fallback: Option<Token>, default: &str| {
            set.or(fallback).map_or_else(|| AddedToken::special(default), Token::into_special)
        };
        let mut added = BTreeMap::new();
        if let Some(file) = &self.added_tokens {
            let ids: BTreeMap<String, u32> = parse(file)?;
            added.extend(
                ids.into_iter().map(|(content, id)| (id, AddedToken { content, ..AddedToken::default() })),
            );
        }
        added.extend(config.added_tokens_decoder.unwrap_or_default());
        Ok(Settings {
            do_lower_case: config.do_lower_case,
            strip_accents: config.strip_accents,
            tokenize_chinese_chars: config.tokenize_chinese_chars,
            never_split: config.never_split.unwrap_or_default(),
            // transformers writes 1e30 for "no limit".
            model_max_length: config
                .model_max_length
                .filter(|&l| (1.0..1e9).contains(&l))
                .map(|l| l as usize),
            cls: role(config.roles.cls_token, map.cls_token, "[CLS]"),
            sep: role(config.roles.sep_token, map.sep_token, "[SEP]"),
            unk: role(config.roles.unk_token, map.unk_token, "[UNK]"),
            mask: role(config.roles.mask_token, map.mask_token, "[MASK]"),
            pad: role(config.roles.pad_token, map.pad_token, "[PAD]"),
            added: added.into_iter().collect(),
        })
    }
}

/// What the JSON files next to the vocabulary say. `None` where they say nothing.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) do_lower_case: Option<bool>,
    pub(crate) strip_accents: Option<bool>,
    pub(crate) tokenize_chinese_chars: Option<bool>,
    pub(crate) never_split: Vec<String>,
    pub(crate) model_max_length: Option<usize>,
    pub(crate) cls: AddedToken,
    pub(crate) sep: AddedToken,
    pub(crate) unk: AddedToken,
    pub(crate) mask: AddedToken,
    pub(crate) pad: AddedToken,
    /// Tokens with fixed ids, ascending.
    pub(crate) added: Vec<(u32, AddedToken)>,
}

/// A token that is matched in the text before it is split into words.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AddedToken {
    pub(crate) content: String,
    pub(crate) single_word: bool,
    pub(crate) lstrip: bool,
    pub(crate) rstrip: bool,
    pub(crate) normalized: bool,
    pub(crate) special: bool,
}

impl AddedToken {
    fn special(content: &str) -> Self {
        Self { content: content.to_owned(), special: true, ..Self::default() }
    }
}

/// A special token in `tokenizer_config.json`: its string, or its string and how to match it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Full(AddedToken),
}

impl Token {
    fn into_special(self) -> AddedToken {
        match self {
            Token::Text(content) => AddedToken::special(&content),
            Token::Full(token) => AddedToken { special: true, ..token },
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    tokenizer_class: Option<String>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    never_split: Option<Vec<String>>,
    model_max_length: Option<f64>,
    added_tokens_decoder: Option<BTreeMap<u32, AddedToken>>,
    #[serde(flatten)]
    roles: Roles,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Roles {
    cls_token: Option<Token>,
    sep_token: Option<Token>,
    unk_token: Option<Token>,
    mask_token: Option<Token>,
    pad_token: Option<Token>,
}

fn parse_optional<T: Default + for<'de> Deserialize<'de>>(file: Option<&NamedBytes<'_>>) -> Result<T> {
    file.map_or_else(|| Ok(T::default()), parse)
}

pub(crate) fn parse<T: for<'de> Deserialize<'de>>(file: &NamedBytes<'_>) -> Result<T> {
    serde_json::from_slice(&file.bytes)
        .map_err(|source| ErrorKind::Json { file: file.name.clone(), source }.into())
}
