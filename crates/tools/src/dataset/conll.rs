//! A reader of CoNLL files, which have a word and its tag on each line and a blank line between sentences.

use std::path::Path;

use super::source::Source;
use mobilebert::{Result, TagScheme};

/// A sentence of tagged words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The line of the first word, counted from 1.
    pub line: usize,
    /// The words of the sentence.
    pub words: Vec<String>,
    /// The tag of each word: `O`, `B-PER`, `I-PER` and the like, in the scheme of the file.
    pub tags: Vec<String>,
}

/// A file of tagged sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The name of the file, for messages.
    pub file: String,
    /// The scheme of the tags, chosen by all tags of the file; see [`TagScheme::of`].
    pub scheme: TagScheme,
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
    /// line without a tag, with one that is not BIO, BIOES or BILOU, or with one of BILOU in a file that has
    /// some of BIOES, or the other way round.
    pub fn read(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let mut sentences: Vec<Sentence> = Vec::new();
        let mut open = false;
        let mut ends: Option<(usize, &str)> = None;
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
                let expected = "expected `O` or a type behind `B-`, `I-`, `E-`, `S-`, `L-` or `U-`";
                return Err(source.error(line, format!("tag `{tag}`; {expected}")));
            }
            if let (Some(marks), before) = (end_marks(tag), ends) {
                match before {
                    Some((first, known)) if known != marks => {
                        let found = format!("tag `{tag}`, but line {first} has a tag with one of {known}");
                        let expected =
                            "expected one scheme: BIOES has `E-` and `S-`, BILOU has `L-` and `U-`";
                        return Err(source.error(line, format!("{found}; {expected}")));
                    }
                    Some(_) => {}
                    None => ends = Some((line, marks)),
                }
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
            false => {
                let tags: Vec<&str> = sentences.iter().flat_map(|s| &s.tags).map(String::as_str).collect();
                Ok(Self { scheme: TagScheme::of(&tags), file: source.name.clone(), sentences })
            }
        }
    }
}

fn is_tag(tag: &str) -> bool {
    tag == "O"
        || tag
            .split_once('-')
            .is_some_and(|(mark, kind)| "BIESLU".contains(mark) && mark.len() == 1 && !kind.is_empty())
}

/// Returns the marks of the scheme that alone has this tag, or `None` for a tag of all schemes.
fn end_marks(tag: &str) -> Option<&'static str> {
    match tag.split_once('-')?.0 {
        "E" | "S" => Some("`E-`, `S-`"),
        "L" | "U" => Some("`L-`, `U-`"),
        _ => None,
    }
}
