//! Special and added tokens that the JSON files beside a vocabulary declare.
//!
//! Versions of `transformers` have written them to four places: `tokenizer_config.json` (under their roles,
//! in lists, and with ids in `added_tokens_decoder`), `special_tokens_map.json`, `added_tokens.json`, and
//! `tokenizer.json`. This module joins them by the rules of `transformers` 5, which reads all of them, but
//! not always together.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A token that is matched in the text before it is split into words.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct AddedToken {
    pub(crate) content: String,
    pub(crate) single_word: bool,
    pub(crate) lstrip: bool,
    pub(crate) rstrip: bool,
    pub(crate) normalized: bool,
    pub(crate) special: bool,
}

impl AddedToken {
    pub(crate) fn special(content: &str) -> Self {
        Self { content: content.to_owned(), special: true, ..Self::default() }
    }
}

/// A token as an object of JSON.
#[derive(Deserialize)]
struct TokenFields {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

impl<'de> Deserialize<'de> for AddedToken {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let TokenFields { content, single_word, lstrip, rstrip, normalized, special } =
            TokenFields::deserialize(reader)?;
        // This is the default of the `tokenizers` library: words are normalised like the text, and markers
        // are not.
        Ok(Self { content, single_word, lstrip, rstrip, normalized: normalized.unwrap_or(!special), special })
    }
}

/// The tokens that the files declare. Tokens without an id get theirs in this order.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// The tokens with fixed ids, in ascending order.
    pub(crate) added: BTreeMap<u32, AddedToken>,
    /// True if the ids are those of `tokenizer_config.json`.
    pub(crate) from_config: bool,
    /// True if [`Declared::added`] replaces the added tokens of a `tokenizer.json`.
    pub(crate) replaces_file: bool,
    /// The tokens that have a name, such as `bos_token`.
    pub(crate) named: Vec<(String, AddedToken)>,
    /// The special tokens without a name.
    pub(crate) extra: Vec<AddedToken>,
}

/// The roles that every tokenizer of `transformers` knows, in its order, and the default names of BERT's
/// tokens in these roles.
const ROLES: [(&str, Option<&str>); 7] = [
    ("bos_token", None),
    ("eos_token", None),
    ("unk_token", Some("[UNK]")),
    ("sep_token", Some("[SEP]")),
    ("pad_token", Some("[PAD]")),
    ("cls_token", Some("[CLS]")),
    ("mask_token", Some("[MASK]")),
];

const DECODER: &str = "added_tokens_decoder";
const ADDITIONAL: &str = "additional_special_tokens";
const EXTRA: &str = "extra_special_tokens";

impl Declared {
    /// Joins the objects of `tokenizer_config.json` and `special_tokens_map.json` and the ids of
    /// `added_tokens.json`. An error comes with the name of the file that it is in.
    pub(crate) fn join<'n>(
        (config_file, config): (&'n str, &Map<String, Value>),
        (map_file, map): (&'n str, &Map<String, Value>),
        ids: BTreeMap<String, u32>,
    ) -> Result<Self, (&'n str, serde_json::Error)> {
        let in_config = |e| (config_file, e);
        let mut added = BTreeMap::new();
        let decoder = config.get(DECODER).filter(|decoder| !decoder.is_null());
        if let Some(decoder) = decoder {
            added = BTreeMap::<u32, AddedToken>::deserialize(decoder).map_err(in_config)?;
        }
        // The ids in `tokenizer_config.json` are the newer form. If it has them, the older files are not
        // read.
        let empty = Map::new();
        let map = if decoder.is_some() { &empty } else { map };

        let mut named: Vec<(String, Value, &str)> = Vec::new();
        let mut name = |key: &str, value: &Value, file: &'n str| match named.iter_mut().find(|n| n.0 == key) {
            Some(found) => (found.1, found.2) = (value.clone(), file),
            None => named.push((key.to_owned(), value.clone(), file)),
        };
        let is_token = |(key, value): &(&String, &Value)| {
            let known = ROLES.iter().any(|(role, _)| role == key);
            !value.is_null() && (known || key.ends_with("_token") && (value.is_string() || value.is_object()))
        };
        config.iter().filter(is_token).for_each(|(key, value)| name(key, value, config_file));
        let by_name = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
        by_name(config.get(EXTRA)).iter().for_each(|(key, value)| name(key, value, config_file));
        map.iter().filter(is_token).for_each(|(key, value)| name(key, value, map_file));
        by_name(map.get(EXTRA)).iter().for_each(|(key, value)| name(key, value, map_file));

        let list = |file: &'n str, object: &Map<String, Value>, key: &str| match object.get(key) {
            None | Some(Value::Null | Value::Object(_)) => Ok(Vec::new()),
            Some(value) => Vec::<Token>::deserialize(value).map_err(|e| (file, e)),
        };
        // `additional_special_tokens` is the older name of `extra_special_tokens`.
        let mut extra: Vec<AddedToken> = Vec::new();
        let mut decided = config.contains_key(EXTRA) && !config[EXTRA].is_object();
        extra.extend(list(config_file, config, EXTRA)?.into_iter().map(Token::into_token));
        if extra.is_empty() && config.contains_key(ADDITIONAL) {
            decided = true;
            extra.extend(list(config_file, config, ADDITIONAL)?.into_iter().map(Token::into_token));
        }
        for token in list(map_file, map, EXTRA)?.into_iter().map(Token::into_special) {
            decided = true;
            if !extra.iter().any(|other| other.content == token.content) {
                extra.push(token);
            }
        }
        let mut named_tokens = Vec::new();
        for (key, value, file) in named {
            let token = Token::deserialize(&value).map_err(|e| (file, e))?;
            named_tokens.push((key, token.into_special()));
        }
        if decoder.is_none() {
            for (content, id) in ids {
                let role = |(key, token): &(String, AddedToken)| {
                    token.content == content
                        && ROLES.iter().any(|(role, default)| {
                            role == key
                                && (default.is_none() || config.contains_key(key) || map.contains_key(key))
                        })
                };
                let special =
                    named_tokens.iter().any(role) || extra.iter().any(|token| token.content == content);
                added.insert(
                    id,
                    AddedToken { content, special, normalized: !special, ..AddedToken::default() },
                );
            }
        }
        if !decided {
            extra.extend(list(map_file, map, ADDITIONAL)?.into_iter().map(Token::into_special));
        }

        let from_config = decoder.is_some();
        let mut declared = Self { added, from_config, replaces_file: from_config, named: Vec::new(), extra };
        for (role, default) in ROLES {
            let found = named_tokens.iter().position(|(key, _)| key == role);
            let token = found.map(|i| named_tokens.remove(i).1);
            if let Some(token) = token.or_else(|| default.map(AddedToken::special)) {
                declared.named.push((role.to_owned(), token));
            }
        }
        declared.named.extend(named_tokens);
        // A token with an id of its own says better than its role how it is matched.
        for (_, token) in &mut declared.named {
            if let Some(with_id) =
                declared.added.values_mut().find(|with_id| with_id.content == token.content)
            {
                with_id.special = true;
                *token = with_id.clone();
            }
        }
        Ok(declared)
    }

    /// Returns the token that has one of BERT's roles.
    pub(crate) fn role(&self, role: &str) -> AddedToken {
        self.named.iter().find(|(name, _)| name == role).map(|(_, token)| token.clone()).unwrap_or_default()
    }
}

/// A token in a file, which is a string alone or a string and how to match it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Full(AddedToken),
}

impl Token {
    fn into_token(self) -> AddedToken {
        match self {
            Token::Text(content) => AddedToken::special(&content),
            Token::Full(token) => token,
        }
    }

    fn into_special(self) -> AddedToken {
        AddedToken { special: true, ..self.into_token() }
    }
}
