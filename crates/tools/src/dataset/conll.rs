//! A reader of CoNLL files, which have a word and its tag on each line and a blank line between sentences.

use std::path::Path;

use super::source::Source;
use mobilebert::Result;

/// A sentence of tagged words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The line of the first word, counted from 1.
    pub line: usize,
    /// The words of the sentence.
    pub words: Vec<String>,
    /// The tag of each word: `O`, `B-PER`, `I-PER` and the like.
    pub tags: Vec<String>,
}

/// A file of tagged sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The name of the file, for messages.
    pub file: String,
    /// The sentences, in order.
    pub sentences: Vec<Sentence>,
}

impl Tagged {
    /// Reads words from the first column and tags from the last one. Columns are separated by tabs, or by
    /// blanks in a line without tabs; lines that begin with `-DOCSTART-` are skipped.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("dev.conll");
    /// std::fs::write(&path, "Ada\tB-person\nwrites\tO\n\nYes\tO\n")?;
    /// let data = mobilebert_tools::dataset::Tagged::read(&path)?;
    /// assert_eq!(data.sentences[0].words, ["Ada", "writes"]);
    /// assert_eq!((data.sentences.len(), data.sentences[1].line), (2, 4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Io`] if the file cannot be read, and [`mobilebert::ErrorKind::Input`] for a
    /// line without a tag, or with one that is not BIO or IOBES.
    pub fn read(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let mut sentences: Vec<Sentence> = Vec::new();
        let mut open = false;
        for (line, text) in source.lines() {
            if text.trim().is_empty() || text.starts_with("-DOCSTART-") {
                open = false;
                continue;
            }
            let columns: Vec<&str> = match text.contains('\t') {
                true => text.split('\t').collect(),
                false => text.split_ascii_whitespace().collect(),
            };
            let &[word, .., tag] = columns.as_slice() else {
                return Err(
                    source.error(line, format!("`{text}` has one column; expected a word and its tag"))
                );
            };
            if word.trim().is_empty() {
                return Err(source.error(line, "the word is empty"));
            }
            if !is_tag(tag) {
                let expected = "expected `O` or a type behind `B-`, `I-`, `E-` or `S-`";
                return Err(source.error(line, format!("tag `{tag}`; {expected}")));
            }
            if !open {
                sentences.push(Sentence { line, words: Vec::new(), tags: Vec::new() });
                open = true;
            }
            if let Some(sentence) = sentences.last_mut() {
                sentence.words.push(word.to_owned());
                sentence.tags.push(tag.to_owned());
            }
        }
        match sentences.is_empty() {
            true => Err(source.error(1, "there are no words")),
            false => Ok(Self { file: source.name, sentences }),
        }
    }
}

fn is_tag(tag: &str) -> bool {
    tag == "O"
        || tag
            .split_once('-')
            .is_some_and(|(mark, kind)| "BIES".contains(mark) && mark.len() == 1 && !kind.is_empty())
}
