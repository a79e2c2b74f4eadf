//! A reader of GLUE (Wang et al. 2019): the official TSV files, and tables with Hugging Face's column names.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;

use super::labelled::{Example, Gold, Labelled};
use super::table::{Row, Table};
use mobilebert::{Error, Result};

/// A task of GLUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GlueTask {
    /// The task of telling whether a film review is positive, measured by accuracy.
    Sst2,
    /// The task of telling whether two sentences say the same, measured by F1 and accuracy.
    Mrpc,
    /// The task of telling whether two questions ask the same, measured by F1 and accuracy.
    Qqp,
    /// The task of telling whether a sentence answers a question, measured by accuracy.
    Qnli,
    /// The task of telling whether one text follows from another, measured by accuracy.
    Rte,
    /// The task of telling whether a sentence is grammatical, measured by Matthews' correlation.
    Cola,
    /// The task of telling how similar two sentences are, from 0 to 5, measured by Pearson's and Spearman's
    /// correlations.
    StsB,
    /// The task of telling whether a text entails another, contradicts it, or neither, measured by accuracy.
    Mnli,
}

/// The columns and classes of a task.
struct Form {
    text: &'static [&'static str],
    pair: &'static [&'static str],
    label: &'static [&'static str],
    /// The names of each class, the one for submissions first. The order is that of Hugging Face's copy.
    classes: &'static [&'static [&'static str]],
}

const FIRST: &[&str] = &["sentence1", "premise", "question1", "#1 String"];
const SECOND: &[&str] = &["sentence2", "hypothesis", "question2", "#2 String"];
const LABEL: &[&str] = &["gold_label", "label", "is_duplicate", "Quality"];
const ENTAILMENT: &[&[&str]] = &[&["entailment"], &["not_entailment"]];

/// The columns of the official CoLA files, which have no header: source, label, mark of the author, sentence.
const COLA: &[&str] = &["source", "label", "mark", "sentence"];

impl GlueTask {
    /// All tasks.
    pub const ALL: [GlueTask; 8] = [
        GlueTask::Sst2,
        GlueTask::Mrpc,
        GlueTask::Qqp,
        GlueTask::Qnli,
        GlueTask::Rte,
        GlueTask::Cola,
        GlueTask::StsB,
        GlueTask::Mnli,
    ];

    /// Returns the name on command lines: `sst2`, `mrpc`, `qqp`, `qnli`, `rte`, `cola`, `stsb`, `mnli`.
    pub fn name(self) -> &'static str {
        match self {
            GlueTask::Sst2 => "sst2",
            GlueTask::Mrpc => "mrpc",
            GlueTask::Qqp => "qqp",
            GlueTask::Qnli => "qnli",
            GlueTask::Rte => "rte",
            GlueTask::Cola => "cola",
            GlueTask::StsB => "stsb",
            GlueTask::Mnli => "mnli",
        }
    }

    fn form(self) -> Form {
        let pairs = |classes| Form { text: FIRST, pair: SECOND, label: LABEL, classes };
        let singles = |classes| Form { text: &["sentence"], pair: &[], label: LABEL, classes };
        match self {
            GlueTask::Sst2 => singles(&[&["0", "negative"], &["1", "positive"]]),
            GlueTask::Cola => singles(&[&["0", "unacceptable"], &["1", "acceptable"]]),
            GlueTask::Mrpc => pairs(&[&["0", "not_equivalent"], &["1", "equivalent"]]),
            GlueTask::Qqp => pairs(&[&["0", "not_duplicate"], &["1", "duplicate"]]),
            GlueTask::Rte => pairs(ENTAILMENT),
            GlueTask::Mnli => pairs(&[&["entailment"], &["neutral"], &["contradiction"]]),
            GlueTask::Qnli => Form { text: &["question"], pair: &["sentence"], ..pairs(ENTAILMENT) },
            GlueTask::StsB => Form { label: &["score", "label"], ..pairs(&[]) },
        }
    }

    /// Reads a .tsv, .csv or .jsonl file. The examples of test files, which have no labels, are without
    /// [`Example::gold`].
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("dev.tsv");
    /// std::fs::write(&path, "sentence\tlabel\na joy to watch\t1\n")?;
    /// use mobilebert_tools::dataset::{GlueTask, Gold};
    ///
    /// let data = GlueTask::Sst2.read(&path)?;
    /// assert_eq!(data.examples[0].gold, Some(Gold::Class(1)));
    /// assert_eq!(data.classes[1], ["1", "positive"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Io`] if the file cannot be read, and [`mobilebert::ErrorKind::Input`] for a
    /// column that is missing, a row of another width, an unknown label, an empty text or an index that
    /// occurs twice.
    pub fn read(self, path: &Path) -> Result<Labelled> {
        let form = self.form();
        let table = Table::open(path, |first| {
            let is_data =
                self == GlueTask::Cola && first.len() == COLA.len() && ["0", "1"].contains(&first[1]);
            is_data.then_some(COLA)
        })?;
        let text = table.column(form.text)?;
        let pair = (!form.pair.is_empty()).then(|| table.column(form.pair)).transpose()?;
        let label = table.find(form.label)?;
        let index = table.find(&["index", "idx"])?;
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let examples = table.rows.iter().map(|row| {
            let index = index.map(|column| table.cell(row, column)).transpose()?;
            if let Some(index) = index
                && let Some(before) = seen.insert(index, row.line)
            {
                let problem = format!("index {index} occurs a second time; the first is in line {before}");
                return Err(table.source.error(row.line, problem));
            }
            Ok(Example {
                line: row.line,
                text: table.cell(row, text)?.to_owned(),
                pair: pair.map(|column| table.cell(row, column).map(str::to_owned)).transpose()?,
                gold: label.map(|column| gold(&table, row, column, form.classes)).transpose()?.flatten(),
                index: index.map(str::to_owned),
            })
        });
        let examples = examples.collect::<Result<_>>()?;
        let names = |class: &&[&str]| class.iter().map(|&name| name.to_owned()).collect();
        let classes = form.classes.iter().map(names).collect();
        Ok(Labelled {
            file: table.source.name.clone(),
            sha256: table.source.sha256.clone(),
            classes,
            examples,
        })
    }
}

/// Returns the label of a row, or `None` for -1, which stands for a label that is not public.
fn gold(table: &Table, row: &Row, column: usize, classes: &[&[&str]]) -> Result<Option<Gold>> {
    let found = table.cell(row, column)?.trim();
    let bad =
        |expected: String| table.source.error(row.line, format!("label `{found}`; expected {expected}"));
    if found == "-1" {
        return Ok(None);
    }
    if classes.is_empty() {
        let value = found.parse().ok().filter(|value| (0.0..=5.0).contains(value));
        return value
            .map(|value| Some(Gold::Value(value)))
            .ok_or_else(|| bad("a number from 0 to 5".to_owned()));
    }
    let named = classes.iter().position(|names| names.contains(&found));
    let numbered = || found.parse().ok().filter(|&class: &usize| class < classes.len());
    named.or_else(numbered).map(|class| Some(Gold::Class(class))).ok_or_else(|| {
        bad(classes
            .iter()
            .flat_map(|names| names.iter())
            .map(|n| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(", "))
    })
}

impl FromStr for GlueTask {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|task| task.name() == name);
        found.ok_or_else(|| Error::option("task", format!("one of {}", names()), format!("`{name}`")))
    }
}
