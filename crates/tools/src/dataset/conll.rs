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
    /// The SHA-256 of the file as it was read.
    pub sha256: String,
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
        let (mut open, mut ends) = (false, EndMarks::default());
        for (line, text) in source.lines() {
            if text.trim().is_empty() || text.starts_with("-DOCSTART-") {
                open = false;
                continue;
            }
            let columns =
                word_and_tag(text).and_then(|columns| ends.check(line, columns.1).map(|()| columns));
            let (word, tag) = columns.map_err(|problem| source.error(line, problem))?;
            if !open {
                sentences.push(Sentence { line, words: Vec::new(), tags: Vec::new() });
                open = true;
            }
            if let Some(sentence) = sentences.last_mut() {
                sentence.words.push(word.to_owned());
                sentence.tags.push(tag.to_owned());
            }
        }
        if sentences.is_empty() {
            return Err(source.error(1, "there are no words"));
        }
        let tags: Vec<&str> = sentences.iter().flat_map(|s| &s.tags).map(String::as_str).collect();
        Ok(Self {
            scheme: TagScheme::of(&tags),
            file: source.name.clone(),
            sha256: source.sha256.clone(),
            sentences,
        })
    }

    /// Returns the type of a tag: `PER` of `B-PER`, and `O` of `O`. Every tag of a file but `O` has a mark,
    /// also where the file has too few tags to tell its scheme: one with `S-PER` and `O` alone is
    /// [`TagScheme::Bio`], in which [`TagScheme::split`] takes `S-PER` for a type.
    pub fn kind(tag: &str) -> &str {
        tag.split_once('-').map_or(tag, |(_, kind)| kind)
    }
}

/// Returns the first and the last column of a line, or what is wrong with it.
fn word_and_tag(text: &str) -> std::result::Result<(&str, &str), String> {
    let columns: Vec<&str> = match text.contains('\t') {
        true => text.split('\t').collect(),
        false => text.split_ascii_whitespace().collect(),
    };
    let &[word, .., tag] = columns.as_slice() else {
        return Err(format!("`{text}` has one column; expected a word and its tag"));
    };
    if word.trim().is_empty() {
        return Err("the word is empty".to_owned());
    }
    if !is_tag(tag) {
        let expected = "expected `O` or a type behind `B-`, `I-`, `E-`, `S-`, `L-` or `U-`";
        return Err(format!("tag `{tag}`; {expected}"));
    }
    Ok((word, tag))
}

/// The first tag of a file that only one of BIOES and BILOU has: its line and the marks of that scheme.
#[derive(Debug, Default)]
struct EndMarks(Option<(usize, &'static str)>);

impl EndMarks {
    /// Checks that a tag is of the same scheme as those before it.
    fn check(&mut self, line: usize, tag: &str) -> std::result::Result<(), String> {
        let Some(marks) = end_marks(tag) else { return Ok(()) };
        let (first, known) = *self.0.get_or_insert((line, marks));
        if known == marks {
            return Ok(());
        }
        let found = format!("tag `{tag}`, but line {first} has a tag with one of {known}");
        let expected = "expected one scheme: BIOES has `E-` and `S-`, BILOU has `L-` and `U-`";
        Err(format!("{found}; {expected}"))
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
