//! WordPiece through the `tokenizers` crate. No other file names that crate.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

use super::breaks::Breaks;
use super::encoding::{Encoding, TokenizedText};
use super::files::{NamedBytes, Settings, TokenizerFiles};
use super::span::Span;
use super::special::AddedToken;
use super::tokenizer_json;
use super::vocabulary::{SpecialIds, TokenStrings, Vocabulary, parse_lines, problem};
use crate::error::{ErrorKind, Result};

/// A tokenizer that splits text into the word pieces of a BERT vocabulary, exactly as `transformers`' fast
/// `BertTokenizer` does.
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
    never_split: HashSet<String>,
    breaks: Breaks,
    model_max_length: Option<usize>,
    warnings: Vec<String>,
}

impl Tokenizer {
    /// Loads the tokenizer of a model folder; see [`TokenizerFiles::read`] and [`Tokenizer::from_files`].
    ///
    /// # Errors
    /// The errors of these two.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::from_files(&TokenizerFiles::read(folder)?)
    }

    /// Makes a tokenizer from the content of its files.
    ///
    /// `tokenizer.json` is preferred to `vocab.txt`. Its truncation and padding are ignored, and the settings
    /// of `tokenizer_config.json` for case, accents and CJK characters override its own, as in
    /// `transformers`. Without any of these settings text is lower-cased, accents are stripped and CJK
    /// characters are words.
    ///
    /// Words of `never_split` that stand between white space are looked up whole and as they are written.
    /// (The fast tokenizers of `transformers` ignore that setting; its older Python tokenizers define it.)
    ///
    /// # Errors
    /// [`ErrorKind::MissingFile`] without a vocabulary, [`ErrorKind::Json`] for a broken JSON file, and
    /// [`ErrorKind::Tokenizer`] for a vocabulary that is not UTF-8, is empty or lacks `[CLS]`, `[SEP]` or
    /// `[UNK]` (under the names that `tokenizer_config.json` gives them), or for a `tokenizer.json` that is
    /// not a WordPiece tokenizer with BERT's sequence format.
    pub fn from_files(files: &TokenizerFiles<'_>) -> Result<Self> {
        let settings = files.settings()?;
        let mut warnings = Vec::new();
        let (file, (mut inner, layout)) = match (&files.tokenizer_json, &files.vocab) {
            (Some(file), _) => (file, from_json(file, &settings)?),
            (None, Some(file)) => (file, (from_vocab(file, &settings, &mut warnings)?, None)),
            (None, None) => {
                return Err(ErrorKind::MissingFile {
                    folder: files.place.clone().into(),
                    expected: vec!["vocab.txt".to_owned(), "tokenizer.json".to_owned()],
                    hint: "copy the vocabulary that the model was trained with".to_owned(),
                }
                .into());
            }
        };
        add_tokens_with_ids(&file.name, &mut inner, &settings)?;
        special_ids(&file.name, &inner, &settings)?;
        let lacking = add_special_tokens(&file.name, &mut inner, &settings)?;
        let special = special_ids(&file.name, &inner, &settings)?;
        inner.set_encode_special_tokens(settings.split_special_tokens);
        if let Some(layout) = layout {
            tokenizer_json::check_layout(&file.name, &layout, &special)?;
        }

        let tokens = TokenStrings::new(inner.get_vocab(true)).map_err(|(id, one, other)| {
            problem(&file.name, format!("gives id {id} to both {one:?} and {other:?}"))
        })?;
        let size = rows(tokens.last_id());
        let required = match lacking.is_empty() {
            true => size,
            false => {
                rows(tokens.iter().filter(|(_, token)| !lacking.contains(*token)).map(|(id, _)| id).last())
            }
        };
        let vocabulary = Vocabulary { file: file.name.clone(), tokens, special, size, required };
        Ok(Self {
            breaks: breaks(&inner),
            inner,
            vocabulary: Arc::new(vocabulary),
            never_split: settings.never_split.into_iter().collect(),
            model_max_length: settings.model_max_length,
            warnings,
        })
    }

    /// Returns oddities of the files that do not keep the tokenizer from working but may be mistakes, such as
    /// a line that `vocab.txt` has twice. Each is a sentence that names its file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Sets whether special tokens that a text spells out become these tokens or are split like any other
    /// text. The default is `true`, as in `transformers`, unless `split_special_tokens` in
    /// `tokenizer_config.json` says otherwise. Pass `false` for texts from strangers, who could otherwise
    /// write `[SEP]`.
    #[must_use]
    pub fn special_tokens_in_text(mut self, matched: bool) -> Self {
        self.inner.set_encode_special_tokens(!matched);
        self
    }

    /// Encodes a text as `[CLS] text [SEP]`. A text without tokens gives `[CLS] [SEP]`, and a long one is not
    /// cut.
    ///
    /// # Errors
    /// [`ErrorKind::Tokenizer`] if the `tokenizers` crate fails. No text is known that makes it fail.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        let text = self.tokenize(text)?;
        Ok(Encoding::build((&text, 0..text.len()), None))
    }

    /// Encodes a pair as `[CLS] first [SEP] second [SEP]`, with segment 0 up to the first `[SEP]` and 1
    /// behind it. Nothing is cut.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::encode`].
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<Encoding> {
        let (first, second) = (self.tokenize(first)?, self.tokenize(second)?);
        Ok(Encoding::build((&first, 0..first.len()), Some((&second, 0..second.len()))))
    }

    /// Splits a text into its tokens alone, for [windows](TokenizedText::windows) and other uses of one text
    /// many times.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::encode`].
    pub fn tokenize(&self, text: &str) -> Result<TokenizedText> {
        let mut tokens = self.no_tokens();
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

    /// Returns the tokens of an empty text.
    pub(super) fn no_tokens(&self) -> TokenizedText {
        let vocabulary = self.vocabulary.clone();
        TokenizedText { vocabulary, ids: Vec::new(), spans: Vec::new(), words: Vec::new() }
    }

    /// Returns true if the tokens of a text are those of its [pieces](Self::first_piece), one after another.
    pub(super) fn allows_pieces(&self) -> bool {
        self.never_split.is_empty() && self.breaks.any()
    }

    /// Returns the length of a text's first piece.
    pub(super) fn first_piece(&self, text: &str) -> usize {
        self.breaks.first_piece(text.as_bytes())
    }

    /// Returns the tokens of one piece of a text. `word` is the number of its first word.
    pub(super) fn piece(&self, text: &str, piece: Span, word: u32) -> Result<TokenizedText> {
        let mut tokens = self.no_tokens();
        self.append_piece(text, piece, word, &mut tokens)?;
        Ok(tokens)
    }

    /// Appends the tokens of a part of the text, piece by piece where that makes no difference.
    fn append(&self, text: &str, part: Span, tokens: &mut TokenizedText) -> Result<()> {
        let mut start = part.start;
        while start < part.end {
            let end = start + self.first_piece(&text[start..part.end]);
            let word = tokens.words.last().map_or(0, |w| w + 1);
            self.append_piece(text, Span::new(start, end), word, tokens)?;
            start = end;
        }
        Ok(())
    }

    fn append_piece(&self, text: &str, piece: Span, word: u32, tokens: &mut TokenizedText) -> Result<()> {
        let encoded = self
            .inner
            .encode(&text[piece.range()], false)
            .map_err(|e| problem(&self.vocabulary.file, e.to_string()))?;
        let span = |&(start, end): &(usize, usize)| Span::new(piece.start + start, piece.start + end);
        tokens.ids.extend_from_slice(encoded.get_ids());
        tokens.spans.extend(encoded.get_offsets().iter().map(span));
        tokens.words.extend(encoded.get_word_ids().iter().map(|id| word + id.unwrap_or_default()));
        Ok(())
    }

    /// Returns the number of rows that an embedding table needs, which is the largest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.size
    }

    /// Checks that the model has an embedding for every token of the vocabulary. A table with more rows is
    /// fine, because many are padded. Special tokens that the files declare without an id do not count: a
    /// text without them needs no rows for them, and the engine refuses a batch with them.
    ///
    /// # Errors
    /// [`ErrorKind::Tokenizer`] if the vocabulary is larger than the table of `rows` rows.
    pub fn check_vocab_size(&self, rows: usize) -> Result<()> {
        if self.vocabulary.required > rows {
            let size = self.vocabulary.required;
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

    /// Returns the id of a token, spelt as in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the token with that id.
    pub fn id_to_token(&self, id: u32) -> Option<&str> {
        self.vocabulary.token(id)
    }

    /// Returns the ids of the tokens with a role.
    pub fn special_ids(&self) -> SpecialIds {
        self.vocabulary.special
    }

    /// Returns the `model_max_length` of `tokenizer_config.json`: the longest sequence, in tokens, that the
    /// model was meant for.
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    /// Returns the longest sequence, in tokens, for a model with so many positions. It is
    /// [`Self::model_max_length`] if that is less.
    pub fn sequence_limit(&self, positions: usize) -> usize {
        self.model_max_length.map_or(positions, |limit| limit.min(positions))
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

/// Returns the cuts that a tokenizer allows. Only those under BERT's normalisation and splitting are known to
/// be safe.
fn breaks(inner: &tokenizers::Tokenizer) -> Breaks {
    match (inner.get_normalizer(), inner.get_pre_tokenizer()) {
        (Some(NormalizerWrapper::BertNormalizer(bert)), Some(PreTokenizerWrapper::BertPreTokenizer(_))) => {
            let added: Vec<_> = inner.get_added_tokens_decoder().into_values().map(own_token).collect();
            Breaks::bert(&added, bert.handle_chinese_chars)
        }
        _ => Breaks::none(),
    }
}

fn own_token(token: tokenizers::AddedToken) -> AddedToken {
    let tokenizers::AddedToken { content, single_word, lstrip, rstrip, normalized, special } = token;
    AddedToken { content, single_word, lstrip, rstrip, normalized, special }
}

/// Returns the number of rows of an embedding table that has one for every id up to `last`.
fn rows(last: Option<u32>) -> usize {
    last.map_or(0, |id| id as usize + 1)
}

fn from_vocab(
    file: &NamedBytes<'_>,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<tokenizers::Tokenizer> {
    let failed = |e: tokenizers::Error| problem(&file.name, e.to_string());
    // The builder takes a map type that only the crate can name.
    let mut ids = WordPiece::read_bytes(&[]).map_err(failed)?;
    parse_lines(&file.name, &file.bytes, warnings, |token, id| ids.insert(token, id))?;
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
    Ok(inner)
}

/// Adds the tokens whose ids the files give, and checks that they get these.
fn add_tokens_with_ids(file: &str, inner: &mut tokenizers::Tokenizer, settings: &Settings) -> Result<()> {
    let in_file = inner.get_added_tokens_decoder();
    let added = settings.declared.added.iter();
    // Without ids in tokenizer_config.json, those of a tokenizer.json go before those of added_tokens.json.
    let added: Vec<_> =
        added.filter(|(id, _)| settings.declared.from_config || !in_file.contains_key(id)).collect();
    inner
        .add_tokens(added.iter().map(|(_, token)| crate_token(token)))
        .map_err(|e| problem(file, e.to_string()))?;
    for (id, token) in added {
        let found = inner.token_to_id(&token.content);
        if found != Some(*id) {
            let content = &token.content;
            let found = found.map_or("none".to_owned(), |id| id.to_string());
            let text = format!("gives token {content:?} id {found}; the added tokens say {id}");
            return Err(problem(file, text));
        }
    }
    Ok(())
}

/// Makes special tokens of those that have a role or are listed without an id. Those that the vocabulary
/// lacks get the ids behind it, in this order. Returns those that were lacking.
fn add_special_tokens(
    file: &str,
    inner: &mut tokenizers::Tokenizer,
    settings: &Settings,
) -> Result<HashSet<String>> {
    let known: HashSet<String> =
        inner.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let declared = &settings.declared;
    let named = declared.named.iter().map(|(_, token)| token);
    let mut tokens: Vec<&AddedToken> = Vec::new();
    for token in named.chain(&declared.extra) {
        if !known.contains(&token.content) && !tokens.iter().any(|other| other.content == token.content) {
            tokens.push(token);
        }
    }
    // A padding or mask token that the vocabulary lacks would have no embedding. It takes its id only where
    // the ids of tokens behind it count on from there.
    let is_role =
        |token: &AddedToken| [&settings.pad, &settings.mask].iter().any(|role| role.content == token.content);
    let is_lacking = |token: &AddedToken| inner.token_to_id(&token.content).is_none();
    let last = tokens.iter().rposition(|token| is_lacking(token) && !is_role(token));
    let mut position = 0;
    tokens.retain(|token| {
        position += 1;
        !is_role(token) || !is_lacking(token) || last.is_some_and(|last| position <= last)
    });
    let lacking =
        tokens.iter().filter(|token| is_lacking(token)).map(|token| token.content.clone()).collect();
    let tokens: Vec<_> = tokens.into_iter().map(crate_token).collect();
    inner.add_tokens(tokens).map_err(|e| problem(file, e.to_string()))?;
    Ok(lacking)
}

fn from_json(file: &NamedBytes<'_>, settings: &Settings) -> Result<(tokenizers::Tokenizer, Option<Value>)> {
    let (json, layout) = tokenizer_json::read(file, settings.declared.replaces_file)?;
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
    Ok((inner, layout))
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

    /// Makes texts that are dense in characters that the rules treat specially.
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
        fn pieces_change_nothing(
            text in text(),
            chunk in 1_usize..40,
            lower: bool,
            strip: Option<bool>,
            cjk: bool,
            added: bool,
        ) {
            let mut config = serde_json::json!({
                "do_lower_case": lower, "strip_accents": strip, "tokenize_chinese_chars": cjk
            });
            if added {
                // This token is matched in the normalised text, where all white space is spaces.
                config["added_tokens_decoder"] = serde_json::json!({
                    "20": {"content": "B a", "normalized": true},
                    "21": {"content": "b.", "normalized": true, "single_word": true},
                });
            }
            let mut tokenizer = tokenizer(&config.to_string());
            tokenizer.breaks.chunk = usize::MAX;
            let whole = tokenizer.tokenize(&text).unwrap();
            tokenizer.breaks.chunk = chunk;
            let pieces = tokenizer.tokenize(&text).unwrap();
            prop_assert_eq!((whole.ids, whole.spans, whole.words), (pieces.ids, pieces.spans, pieces.words));
        }
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
