//! WordPiece, through the `tokenizers` crate: the only file that names it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{ModelWrapper, NormalizerWrapper, PostProcessor, PreTokenizerWrapper};

use super::encoding::{Encoding, TokenizedText};
use super::files::{AddedToken, NamedBytes, Settings, TokenizerFiles, parse};
use super::span::Span;
use super::vocabulary::{SpecialIds, Vocabulary, parse_lines, problem};
use crate::error::{ErrorKind, Result};

/// Texts above this many bytes are tokenised piece by piece: the crate below needs some 100 bytes of memory for each
/// byte it is given at once.
const CHUNK: usize = 16 << 10;

/// Splits text into the word pieces of a BERT vocabulary, exactly as `transformers`' fast `BertTokenizer`.
///
/// A special token that a text spells out, such as `[SEP]`, becomes that token, as in `transformers`; see
/// [`Tokenizer::special_tokens_in_text`]. Words of more than 100 characters become one `[UNK]`.
///
/// ```
/// use mobilebert::{Span, Tokenizer, TokenizerFiles};
///
/// let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncafe\n##s\n!\n";
/// let tokenizer = Tokenizer::from_files(&TokenizerFiles::new("doc").vocab("vocab.txt", vocab.as_bytes()))?;
/// let text = "Two CAFÉs!";
/// let encoding = tokenizer.encode(text)?;
/// assert_eq!(encoding.ids(), [2, 1, 5, 6, 7, 3]);
/// assert_eq!(encoding.tokens().collect::<Vec<_>>(), ["[CLS]", "[UNK]", "cafe", "##s", "!", "[SEP]"]);
/// assert_eq!(&text[encoding.span(2)], "CAFÉ");
/// # Ok::<(), mobilebert::Error>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary: Arc<Vocabulary>,
    ids: HashMap<Box<str>, u32>,
    never_split: HashSet<String>,
    /// Bytes from which on a text is cut into pieces; [`usize::MAX`] if a cut could change its tokens.
    chunk: usize,
    model_max_length: Option<usize>,
}

impl Tokenizer {
    /// Loads the tokenizer of a model folder; see [`TokenizerFiles::read`] and [`Tokenizer::from_files`].
    ///
    /// # Errors
    /// As those two.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::from_files(&TokenizerFiles::read(folder)?)
    }

    /// Makes a tokenizer from the content of its files.
    ///
    /// `tokenizer.json` is preferred to `vocab.txt`; its truncation and padding are ignored, and what
    /// `tokenizer_config.json` says about case, accents and CJK characters overrides it, as in `transformers`. Without
    /// any of these settings text is lower-cased, accents are stripped and CJK characters are words.
    ///
    /// Words of `never_split` that stand between white space are looked up whole and as they are written. (The fast
    /// tokenizers of `transformers` ignore that setting; its older Python tokenizers define it.)
    ///
    /// # Errors
    /// [`ErrorKind::MissingFile`] without a vocabulary, [`ErrorKind::Json`] for a broken JSON file, and
    /// [`ErrorKind::Tokenizer`] for a vocabulary that is not UTF-8, empty, has an entry twice or lacks `[CLS]`,
    /// `[SEP]` or `[UNK]` (under the names that `tokenizer_config.json` gives them), or for a `tokenizer.json` that is
    /// not a WordPiece tokenizer with BERT's sequence format.
    pub fn from_files(files: &TokenizerFiles<'_>) -> Result<Self> {
        let settings = files.settings()?;
        let (file, mut inner) = match (&files.tokenizer_json, &files.vocab) {
            (Some(file), _) => (file, from_json(file, &settings)?),
            (None, Some(file)) => (file, from_vocab(file, &settings)?),
            (None, None) => {
                return Err(ErrorKind::MissingFile {
                    folder: files.place.clone().into(),
                    expected: vec!["vocab.txt".to_owned(), "tokenizer.json".to_owned()],
                    hint: "copy the vocabulary that the model was trained with".to_owned(),
                }
                .into());
            }
        };
        let special = special_ids(&file.name, &inner, &settings)?;
        let mut roles = vec![&settings.unk, &settings.sep, &settings.pad, &settings.cls, &settings.mask];
        roles.retain(|token| inner.token_to_id(&token.content).is_some());
        inner
            .add_special_tokens(roles.into_iter().map(crate_token))
            .map_err(|e| problem(&file.name, e.to_string()))?;
        check_format(&file.name, &inner, &special)?;

        let ids: HashMap<Box<str>, u32> =
            inner.get_vocab(true).into_iter().map(|(token, id)| (token.into_boxed_str(), id)).collect();
        let mut tokens = HashMap::with_capacity(ids.len());
        for (token, &id) in &ids {
            if let Some(other) = tokens.insert(id, token.clone()) {
                return Err(problem(&file.name, format!("gives id {id} to both {other:?} and {token:?}")));
            }
        }
        let size = tokens.keys().max().map_or(0, |&id| id as usize + 1);
        let vocabulary = Vocabulary { file: file.name.clone(), tokens, special, size };
        Ok(Self {
            chunk: if can_chunk(&inner) { CHUNK } else { usize::MAX },
            inner,
            vocabulary: Arc::new(vocabulary),
            ids,
            never_split: settings.never_split.into_iter().collect(),
            model_max_length: settings.model_max_length,
        })
    }

    /// Whether special tokens that a text spells out become these tokens (the default, as in `transformers`) or are
    /// split like any other text. Say `false` for texts from strangers, who could otherwise write `[SEP]`.
    #[must_use]
    pub fn special_tokens_in_text(mut self, matched: bool) -> Self {
        self.inner.set_encode_special_tokens(!matched);
        self
    }

    /// `[CLS] text [SEP]`. A text without tokens gives `[CLS] [SEP]`; a long one is not cut.
    ///
    /// # Errors
    /// [`ErrorKind::Tokenizer`] if the crate below fails, which no known text makes it do.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        let text = self.tokenize(text)?;
        Ok(Encoding::build((&text, 0..text.len()), None))
    }

    /// `[CLS] first [SEP] second [SEP]`, segment 0 up to the first `[SEP]` and 1 behind it. Nothing is cut.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<Encoding> {
        let (first, second) = (self.tokenize(first)?, self.tokenize(second)?);
        Ok(Encoding::build((&first, 0..first.len()), Some((&second, 0..second.len()))))
    }

    /// The tokens of a text alone, for [windows](TokenizedText::windows) and other uses of one text many times.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokenize(&self, text: &str) -> Result<TokenizedText> {
        let vocabulary = self.vocabulary.clone();
        let mut tokens = TokenizedText { vocabulary, ids: Vec::new(), spans: Vec::new(), words: Vec::new() };
        let mut start = 0;
        if !self.never_split.is_empty() {
            for word in text.split_whitespace().filter(|word| self.never_split.contains(*word)) {
                let at = word.as_ptr() as usize - text.as_ptr() as usize;
                self.append(text, Span::new(start, at), &mut tokens)?;
                tokens.ids.push(self.token_to_id(word).unwrap_or(self.vocabulary.special.unk));
                tokens.spans.push(Span::new(at, at + word.len()));
                tokens.words.push(tokens.words.last().map_or(0, |w| w + 1));
                start = at + word.len();
            }
        }
        self.append(text, Span::new(start, text.len()), &mut tokens)?;
        Ok(tokens)
    }

    /// Appends the tokens of a part of the text, piece by piece where that makes no difference.
    fn append(&self, text: &str, part: Span, tokens: &mut TokenizedText) -> Result<()> {
        let mut start = part.start;
        while start < part.end {
            let end = cut(text, start, part.end, self.chunk);
            let piece = self
                .inner
                .encode(&text[start..end], false)
                .map_err(|e| problem(&self.vocabulary.file, e.to_string()))?;
            let first_word = tokens.words.last().map_or(0, |w| w + 1);
            tokens.ids.extend_from_slice(piece.get_ids());
            tokens.spans.extend(piece.get_offsets().iter().map(|&(s, e)| Span::new(start + s, start + e)));
            tokens
                .words
                .extend(piece.get_word_ids().iter().map(|word| first_word + word.unwrap_or_default()));
            start = end;
        }
        Ok(())
    }

    /// Number of rows that an embedding table needs: the largest id and one.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.size
    }

    /// Checks that the model has an embedding for every token. A table with more rows is fine: many are padded.
    ///
    /// # Errors
    /// [`ErrorKind::Tokenizer`] if the vocabulary is larger than the table of `rows` rows.
    pub fn check_vocab_size(&self, rows: usize) -> Result<()> {
        if self.vocab_size() > rows {
            let size = self.vocab_size();
            let advice = "is this the vocabulary that the model was trained with?";
            return Err(problem(
                &self.vocabulary.file,
                format!(
                    "needs {size} embeddings and the model has {rows} (`vocab_size` in config.json); {advice}"
                ),
            ));
        }
        Ok(())
    }

    /// The id of a token, spelt as in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The token with that id.
    pub fn id_to_token(&self, id: u32) -> Option<&str> {
        self.vocabulary.token(id)
    }

    /// Ids of the tokens with a role.
    pub fn special_ids(&self) -> SpecialIds {
        self.vocabulary.special
    }

    /// `model_max_length` of `tokenizer_config.json`: the longest sequence, in tokens, that the model was meant for.
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("file", &self.vocabulary.file)
            .field("vocab_size", &self.vocab_size())
            .field("special_ids", &self.special_ids())
            .finish_non_exhaustive()
    }
}

/// Where to end the piece that begins at `start`: in front of the last ASCII white space within `chunk` bytes, or the
/// first one behind. There BERT's rules look no further: white space ends a word, no rule joins it to its neighbours,
/// and it composes with nothing.
fn cut(text: &str, start: usize, end: usize, chunk: usize) -> usize {
    let bytes = &text.as_bytes()[start..end];
    if bytes.len() <= chunk {
        return end;
    }
    let white = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
    match bytes[1..chunk].iter().rposition(white) {
        Some(i) => start + 1 + i,
        None => bytes[chunk..].iter().position(white).map_or(end, |i| start + chunk + i),
    }
}

/// White space separates pieces under BERT's normalisation and splitting, unless an added token reaches over it.
fn can_chunk(inner: &tokenizers::Tokenizer) -> bool {
    matches!(inner.get_normalizer(), Some(NormalizerWrapper::BertNormalizer(_)))
        && matches!(inner.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)))
        && inner
            .get_added_tokens_decoder()
            .values()
            .all(|t| !t.lstrip && !t.rstrip && !t.content.contains(char::is_whitespace))
}

fn from_vocab(file: &NamedBytes<'_>, settings: &Settings) -> Result<tokenizers::Tokenizer> {
    let failed = |e: tokenizers::Error| problem(&file.name, e.to_string());
    // The builder takes a map type that only the crate can name.
    let mut ids = WordPiece::read_bytes(&[]).map_err(failed)?;
    ids.extend(parse_lines(&file.name, &file.bytes)?);
    let model =
        WordPiece::builder().vocab(ids).unk_token(settings.unk.content.clone()).build().map_err(failed)?;
    let mut inner = tokenizers::Tokenizer::new(model);
    let normalizer = BertNormalizer::new(
        true,
        settings.tokenize_chinese_chars.unwrap_or(true),
        settings.strip_accents,
        settings.do_lower_case.unwrap_or(true),
    );
    inner.with_normalizer(Some(normalizer)).map_err(failed)?.with_pre_tokenizer(Some(BertPreTokenizer));
    for (id, token) in &settings.added {
        inner.add_tokens([crate_token(token)]).map_err(failed)?;
        let found = inner.token_to_id(&token.content);
        if found != Some(*id) {
            let content = &token.content;
            let found = found.map_or("none".to_owned(), |id| id.to_string());
            return Err(problem(
                &file.name,
                format!("gives token {content:?} id {found}; the added tokens say {id}"),
            ));
        }
    }
    Ok(inner)
}

/// Parts of a `tokenizer.json` that follow from the text alone and that no file can make fail.
const NORMALIZERS: [&str; 9] =
    ["BertNormalizer", "Sequence", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Strip"];
const PRE_TOKENIZERS: [&str; 6] =
    ["BertPreTokenizer", "Sequence", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits"];
const POST_PROCESSORS: [&str; 2] = ["TemplateProcessing", "BertProcessing"];

fn from_json(file: &NamedBytes<'_>, settings: &Settings) -> Result<tokenizers::Tokenizer> {
    let mut json: Value = parse(file)?;
    let Some(object) = json.as_object_mut() else {
        return Err(problem(&file.name, "is not a JSON object; expected a file that `tokenizers` wrote"));
    };
    // Lengths are this engine's business: a cut here would be silent.
    object.remove("truncation");
    object.remove("padding");
    object.remove("decoder");
    let Some(model) = object.get_mut("model").and_then(Value::as_object_mut) else {
        return Err(problem(&file.name, "has no `model`; expected a WordPiece tokenizer"));
    };
    // Files from before the type was written.
    if !model.contains_key("type") && model.contains_key("continuing_subword_prefix") {
        model.insert("type".to_owned(), "WordPiece".into());
    }
    match model.get("type").and_then(Value::as_str) {
        Some("WordPiece") => {}
        found => {
            let found = found.unwrap_or("of no type");
            return Err(problem(&file.name, format!("`model` is {found}; expected WordPiece")));
        }
    }
    if model.get("vocab").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty) {
        return Err(problem(&file.name, "`model.vocab` is empty; expected tokens and their ids"));
    }
    check_types(file, object.get("normalizer"), "normalizer", "normalizers", &NORMALIZERS)?;
    check_types(file, object.get("pre_tokenizer"), "pre_tokenizer", "pretokenizers", &PRE_TOKENIZERS)?;
    check_types(file, object.get("post_processor"), "post_processor", "processors", &POST_PROCESSORS)?;

    let mut inner: tokenizers::Tokenizer =
        serde_json::from_value(json).map_err(|source| ErrorKind::Json { file: file.name.clone(), source })?;
    if let Some(NormalizerWrapper::BertNormalizer(normalizer)) = inner.get_normalizer() {
        let mut normalizer = *normalizer;
        normalizer.lowercase = settings.do_lower_case.unwrap_or(normalizer.lowercase);
        normalizer.strip_accents = settings.strip_accents.or(normalizer.strip_accents);
        normalizer.handle_chinese_chars =
            settings.tokenize_chinese_chars.unwrap_or(normalizer.handle_chinese_chars);
        inner.with_normalizer(Some(normalizer)).map_err(|e| problem(&file.name, e.to_string()))?;
    }
    Ok(inner)
}

fn check_types(
    file: &NamedBytes<'_>,
    part: Option<&Value>,
    name: &str,
    list: &str,
    known: &[&str],
) -> Result<()> {
    let Some(part) = part.filter(|part| !part.is_null()) else { return Ok(()) };
    let found = part.get("type").and_then(Value::as_str).unwrap_or("of no type");
    if !known.contains(&found) {
        return Err(problem(
            &file.name,
            format!("`{name}` is {found}; expected one of {}", known.join(", ")),
        ));
    }
    let parts = part.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    parts.iter().try_for_each(|part| check_types(file, Some(part), name, list, known))
}

fn special_ids(file: &str, inner: &tokenizers::Tokenizer, settings: &Settings) -> Result<SpecialIds> {
    let required = [&settings.cls, &settings.sep, &settings.unk];
    let missing: Vec<&str> = required
        .into_iter()
        .map(|token| token.content.as_str())
        .filter(|content| inner.token_to_id(content).is_none())
        .collect();
    if !missing.is_empty() {
        let advice = "add them to the vocabulary, or name the tokens it has in tokenizer_config.json";
        return Err(problem(file, format!("has no {}; {advice}", missing.join(", "))));
    }
    if let ModelWrapper::WordPiece(model) = inner.get_model()
        && model.unk_token != settings.unk.content
    {
        let (found, expected) = (&model.unk_token, &settings.unk.content);
        return Err(problem(
            file,
            format!("`model.unk_token` is {found:?}; the configuration says {expected:?}"),
        ));
    }
    let id = |token: &AddedToken| inner.token_to_id(&token.content);
    Ok(SpecialIds {
        cls: id(&settings.cls).unwrap_or_default(),
        sep: id(&settings.sep).unwrap_or_default(),
        unk: id(&settings.unk).unwrap_or_default(),
        mask: id(&settings.mask),
        pad: id(&settings.pad),
    })
}

/// [`Encoding::build`] lays sequences out itself, so that windows can share a text. A `tokenizer.json` that asks for
/// another layout is refused.
fn check_format(file: &str, inner: &tokenizers::Tokenizer, special: &SpecialIds) -> Result<()> {
    let Some(processor) = inner.get_post_processor() else { return Ok(()) };
    let failed = |e: tokenizers::Error| problem(file, format!("`post_processor` fails: {e}"));
    let text = |type_id| {
        tokenizers::Encoding::from_tokens(
            vec![tokenizers::Token::new(special.unk, String::new(), (0, 0))],
            type_id,
        )
    };
    let (cls, sep, unk) = (special.cls, special.sep, special.unk);
    let single = processor.process(text(0), None, true).map_err(failed)?;
    let pair = processor.process(text(0), Some(text(1)), true).map_err(failed)?;
    if single.get_ids() != [cls, unk, sep]
        || pair.get_ids() != [cls, unk, sep, unk, sep]
        || single.get_type_ids() != [0, 0, 0]
        || pair.get_type_ids() != [0, 0, 0, 1, 1]
    {
        return Err(problem(
            file,
            "`post_processor` differs from BERT's; expected `[CLS] a [SEP]` with segment 0 and \
             `[CLS] a [SEP] b [SEP]` with segments 0 and 1",
        ));
    }
    Ok(())
}

fn crate_token(token: &AddedToken) -> tokenizers::AddedToken {
    tokenizers::AddedToken::from(token.content.clone(), token.special)
        .single_word(token.single_word)
        .lstrip(token.lstrip)
        .rstrip(token.rstrip)
        .normalized(token.normalized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKENS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\n##\u{302}\n\u{302}\ne\n##e\ni\n##i\n.\n字\nss\n1\n##1\n";

    fn tokenizer(config: &str) -> Tokenizer {
        let files = TokenizerFiles::new("test").vocab("vocab.txt", TOKENS.as_bytes());
        Tokenizer::from_files(&files.tokenizer_config("config", config.as_bytes())).unwrap()
    }

    /// Texts that are dense in what the rules treat specially.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just(" "),
            Just("\n"),
            Just("\r\n"),
            Just("\t"),
            Just("\u{a0}"),
            Just("\u{2028}"),
            Just("\0"),
            Just("\u{ad}"),
            Just("\u{301}"),
            Just("\u{302}"),
            Just("\u{323}"),
            Just("a"),
            Just("B"),
            Just("É"),
            Just("ệ"),
            Just("İ"),
            Just("ß"),
            Just("ﬁ"),
            Just("字"),
            Just("가"),
            Just("각"),
            Just("😀"),
            Just("."),
            Just("[SEP]"),
            Just("[MASK]"),
            Just("[sep]"),
            Just("\u{fffd}"),
            Just("\u{1d15e}"),
            Just("\u{fb1d}"),
            Just("ab1"),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn pieces_change_nothing(text in text(), chunk in 1_usize..40, lower: bool, strip: Option<bool>) {
            let config = serde_json::json!({"do_lower_case": lower, "strip_accents": strip}).to_string();
            let mut tokenizer = tokenizer(&config);
            tokenizer.chunk = usize::MAX;
            let whole = tokenizer.tokenize(&text).unwrap();
            tokenizer.chunk = chunk;
            let pieces = tokenizer.tokenize(&text).unwrap();
            prop_assert_eq!((whole.ids, whole.spans, whole.words), (pieces.ids, pieces.spans, pieces.words));
        }
    }

    #[test]
    fn pieces_end_at_white_space() {
        assert_eq!(cut("aa bb cc", 0, 8, 7), 5);
        assert_eq!(cut("aa bb cc", 0, 8, 8), 8);
        assert_eq!(cut("aaaa bb", 0, 7, 2), 4);
        assert_eq!(cut("aaaa", 0, 4, 2), 4);
        assert_eq!(cut(" aaaa", 0, 5, 2), 5);
    }

    #[test]
    fn an_added_token_with_white_space_forbids_pieces() {
        let config = r#"{"mask_token": {"content": "[MASK]", "lstrip": true}}"#;
        assert_eq!(tokenizer(config).chunk, usize::MAX);
        assert_eq!(tokenizer("{}").chunk, CHUNK);
    }

    #[test]
    fn words_of_never_split_stay_whole() {
        let tokenizer = tokenizer(&serde_json::json!({"never_split": ["ab1", "A.B", "##e"]}).to_string());
        let text = "ab1 A.B e##e ##e\tab1.";
        let tokens = tokenizer.tokenize(text).unwrap();
        let found: Vec<_> =
            (0..tokens.len()).map(|i| (tokens.token(i).unwrap(), &text[tokens.spans()[i]])).collect();
        let unknown = "[UNK]";
        assert_eq!(
            found,
            [
                (unknown, "ab1"),
                (unknown, "A.B"),
                ("e", "e"),
                (unknown, "#"),
                (unknown, "#"),
                ("e", "e"),
                ("##e", "##e"),
                ("a", "a"),
                ("##b", "b"),
                ("##1", "1"),
                (".", "."),
            ]
        );
        assert_eq!(tokens.word_ids(), [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8]);
    }
}
