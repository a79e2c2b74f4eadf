//! The files that make up a tokenizer, and the settings in them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::special::{AddedToken, Declared};
use super::vocabulary::problem;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{self, json};

/// The names of the files that can make up a tokenizer.
pub const TOKENIZER_FILES: [&str; 5] =
    ["vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// The files of one tokenizer, as bytes that were read from a folder or compiled into the program.
///
/// `tokenizer.json` wins over `vocab.txt`, as in `transformers`. At least one of them is needed.
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
    /// Makes an empty set of files. Error messages say that files are missing in `place`, a folder or a
    /// model's name.
    pub fn new(place: impl Into<String>) -> Self {
        Self { place: place.into(), ..Self::default() }
    }

    /// Collects the files that `read` has. Given a file name, `read` returns the content, or `None`.
    ///
    /// # Errors
    /// Every error that `read` returns.
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

    /// Reads the files that a model folder has.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if a file exists and cannot be read.
    pub fn read(folder: impl AsRef<Path>) -> Result<TokenizerFiles<'static>> {
        let folder = folder.as_ref();
        TokenizerFiles::collect(folder.display().to_string(), |name| {
            Ok(files::read_small(&folder.join(name))?.map(Cow::Owned))
        })
    }

    setters! {
        /// Sets `vocab.txt`, which has one token a line.
        vocab,
        /// Sets `tokenizer.json`, which has everything in one file, as the `tokenizers` library writes it.
        tokenizer_json,
        /// Sets `tokenizer_config.json`, which has case, accents, special tokens and the maximum length.
        tokenizer_config,
        /// Sets `special_tokens_map.json`, which has special tokens that `tokenizer_config.json` does not
        /// name.
        special_tokens_map,
        /// Sets `added_tokens.json`, which has ids of tokens behind the end of `vocab.txt`.
        added_tokens,
    }

    pub(crate) fn settings(&self) -> Result<Settings> {
        let object = |file: &Option<NamedBytes<'_>>| -> Result<Map<String, Value>> {
            file.as_ref().map_or_else(|| Ok(Map::new()), parse)
        };
        let config: ConfigFile =
            self.tokenizer_config.as_ref().map_or_else(|| Ok(ConfigFile::default()), parse)?;
        let (fields, map) = (object(&self.tokenizer_config)?, object(&self.special_tokens_map)?);
        let ids: BTreeMap<String, u32> =
            self.added_tokens.as_ref().map_or_else(|| Ok(BTreeMap::new()), parse)?;
        fn name<'f>(file: &'f Option<NamedBytes<'_>>) -> &'f str {
            file.as_ref().map_or("", |file| file.name.as_str())
        }
        let (config_file, map_file) = (name(&self.tokenizer_config), name(&self.special_tokens_map));
        if config.tokenizer_class.as_deref() == Some("BertJapaneseTokenizer") {
            let expected = "expected BertTokenizer or another plain WordPiece tokenizer";
            let problem_found = format!("`tokenizer_class` is \"BertJapaneseTokenizer\"; {expected}");
            return Err(problem(config_file, problem_found));
        }
        let mut declared = Declared::join((config_file, &fields), (map_file, &map), ids)
            .map_err(|(file, source)| ErrorKind::Json { file: file.to_owned(), source })?;
        // The general class takes a tokenizer.json as it is. BERT's class rebuilds it from the settings
        // beside it.
        let general = ["PreTrainedTokenizerFast", "TokenizersBackend"];
        let is_general = config.tokenizer_class.is_some_and(|class| general.contains(&class.as_str()));
        declared.replaces_file &= !is_general;
        let counts = !is_general || self.tokenizer_json.is_none();
        Ok(Settings {
            do_lower_case: config.do_lower_case.filter(|_| counts),
            strip_accents: config.strip_accents.filter(|_| counts),
            tokenize_chinese_chars: config.tokenize_chinese_chars.filter(|_| counts),
            split_special_tokens: config.split_special_tokens.unwrap_or_default(),
            never_split: config.never_split.unwrap_or_default(),
            model_max_length: model_max_length(config_file, fields.get("model_max_length"))?,
            cls: declared.role("cls_token"),
            sep: declared.role("sep_token"),
            unk: declared.role("unk_token"),
            mask: declared.role("mask_token"),
            pad: declared.role("pad_token"),
            declared,
        })
    }
}

/// Reads a limit of tokens. Some tools write it as a string, and `transformers` writes 1e30 for "no limit".
fn model_max_length(file: &str, value: Option<&Value>) -> Result<Option<usize>> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    let Some(number) = number else {
        let found: String = value.to_string().chars().take(100).collect();
        return Err(problem(file, format!("`model_max_length` is {found}; expected a number of tokens")));
    };
    Ok((1.0..1e9).contains(&number).then_some(number as usize))
}

/// The settings in the JSON files beside the vocabulary. They are `None` where the files say nothing.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) do_lower_case: Option<bool>,
    pub(crate) strip_accents: Option<bool>,
    pub(crate) tokenize_chinese_chars: Option<bool>,
    /// True if special tokens in a text are split as other text is.
    pub(crate) split_special_tokens: bool,
    pub(crate) never_split: Vec<String>,
    pub(crate) model_max_length: Option<usize>,
    pub(crate) cls: AddedToken,
    pub(crate) sep: AddedToken,
    pub(crate) unk: AddedToken,
    pub(crate) mask: AddedToken,
    pub(crate) pad: AddedToken,
    pub(crate) declared: Declared,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    tokenizer_class: Option<String>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    split_special_tokens: Option<bool>,
    never_split: Option<Vec<String>>,
}

pub(crate) fn parse<T: DeserializeOwned>(file: &NamedBytes<'_>) -> Result<T> {
    json::parse(&file.name, &file.bytes)
}
