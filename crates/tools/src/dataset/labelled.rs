//! Texts or pairs of texts with their labels, and the options to read them from a table.

use std::path::Path;

use super::table::Table;
use mobilebert::{Error, Result};

/// The reference label of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gold {
    /// The class, as an index into [`Labelled::classes`].
    Class(usize),
    /// The number, where the task is regression.
    Value(f64),
}

/// A text or a pair of texts with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The line in the file, counted from 1.
    pub line: usize,
    /// The text.
    pub text: String,
    /// The second text, where the task is about pairs.
    pub pair: Option<String>,
    /// The reference label; `None` in test files, whose labels are not public.
    pub gold: Option<Gold>,
    /// The example's own number or name, of a column `index` or `idx` of GLUE.
    pub index: Option<String>,
}

/// A file of labelled texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// The name of the file, for messages.
    pub file: String,
    /// The SHA-256 of the file as it was read.
    pub sha256: String,
    /// The names that each class goes by in models and in data; empty where the task is regression.
    pub classes: Vec<Vec<String>>,
    /// The examples, in the order of the file.
    pub examples: Vec<Example>,
}

/// Options that name the columns of a table to read.
#[derive(Debug, Clone)]
#[must_use]
pub struct TableOptions {
    text: String,
    pair: Option<String>,
    label: String,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { text: "text".to_owned(), pair: None, label: "label".to_owned() }
    }
}

impl TableOptions {
    /// Makes options for the columns `text` and `label`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the column of the text.
    pub fn text(mut self, column: impl Into<String>) -> Self {
        self.text = column.into();
        self
    }

    /// Sets the column of a second text.
    pub fn pair(mut self, column: impl Into<String>) -> Self {
        self.pair = Some(column.into());
        self
    }

    /// Sets the column of the label.
    pub fn label(mut self, column: impl Into<String>) -> Self {
        self.label = column.into();
        self
    }

    /// Reads a .csv, .tsv or .jsonl file. The classes are the labels that occur, sorted.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("mail.csv");
    /// std::fs::write(&path, "text,label\n\"Dear, sir\",spam\nhello,ham\n")?;
    /// let data = mobilebert_tools::dataset::TableOptions::new().read(&path)?;
    /// assert_eq!((data.examples[0].text.as_str(), data.examples[1].line), ("Dear, sir", 3));
    /// assert_eq!(data.classes, [["ham"], ["spam"]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Io`] if the file cannot be read, and [`mobilebert::ErrorKind::Input`] for a
    /// column, field or row that is missing or malformed.
    pub fn read(&self, path: &Path) -> Result<Labelled> {
        let table = Table::open(path, |_| None)?;
        let (text, label) = (table.column(&[&self.text])?, table.column(&[&self.label])?);
        let pair = self.pair.as_deref().map(|name| table.column(&[name])).transpose()?;
        let labels = table.rows.iter().map(|row| table.cell(row, label)).collect::<Result<Vec<_>>>()?;
        let mut classes = labels.clone();
        classes.sort_unstable();
        classes.dedup();
        let examples = table.rows.iter().zip(&labels).map(|(row, label)| {
            Ok(Example {
                line: row.line,
                text: table.cell(row, text)?.to_owned(),
                pair: pair.map(|column| table.cell(row, column).map(str::to_owned)).transpose()?,
                gold: classes.binary_search(label).ok().map(Gold::Class),
                index: None,
            })
        });
        let examples = examples.collect::<Result<_>>()?;
        let classes = classes.iter().map(|&class| vec![class.to_owned()]).collect();
        Ok(Labelled {
            file: table.source.name.clone(),
            sha256: table.source.sha256.clone(),
            classes,
            examples,
        })
    }
}

impl Labelled {
    /// Returns an error about one of the examples.
    pub fn error(&self, example: &Example, problem: impl Into<String>) -> Error {
        super::source::error(&self.file, example.line, problem.into())
    }

    /// Returns the classes of all examples, or `None` if an example has none.
    pub fn gold_classes(&self) -> Option<Vec<usize>> {
        let class = |example: &Example| match example.gold {
            Some(Gold::Class(class)) => Some(class),
            _ => None,
        };
        self.examples.iter().map(class).collect()
    }

    /// Returns the numbers of all examples, or `None` if an example has none.
    pub fn gold_values(&self) -> Option<Vec<f64>> {
        let value = |example: &Example| match example.gold {
            Some(Gold::Value(value)) => Some(value),
            _ => None,
        };
        self.examples.iter().map(value).collect()
    }
}
