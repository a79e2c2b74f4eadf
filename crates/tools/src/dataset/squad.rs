//! A reader of SQuAD's JSON, v1.1 and v2.0.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use super::source::Source;
use crate::metrics::squad::Version;
use mobilebert::files::json;
use mobilebert::{Error, Result};

/// A reference answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GoldAnswer {
    /// The text of the answer.
    pub text: String,
    /// The position in the context where it begins, in code points.
    pub answer_start: usize,
}

/// A question on a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The question's name, which is unique in a file.
    pub id: String,
    /// The title of the article.
    pub title: String,
    /// The text of the question.
    pub question: String,
    /// The context, as an index into [`Squad::contexts`].
    pub context: usize,
    /// The reference answers; none in v2.0 where the context does not hold an answer.
    pub answers: Vec<GoldAnswer>,
}

impl Question {
    /// Returns the texts of the reference answers.
    pub fn references(&self) -> Vec<&str> {
        self.answers.iter().map(|answer| answer.text.as_str()).collect()
    }
}

/// A file of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Squad {
    /// The name of the file, for messages.
    pub file: String,
    /// The SHA-256 of the file as it was read.
    pub sha256: String,
    /// The version: v2.0 if a question says whether it `is_impossible`, else v1.1.
    pub version: Version,
    /// The paragraphs.
    pub contexts: Vec<String>,
    /// The questions, in the order of the file; those of one context are neighbours.
    pub questions: Vec<Question>,
}

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    #[serde(default)]
    title: String,
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    question: String,
    answers: Vec<GoldAnswer>,
    is_impossible: Option<bool>,
}

impl Squad {
    /// Reads a file in the official format.
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Io`] if the file cannot be read, and [`mobilebert::ErrorKind::Input`] for
    /// malformed JSON, a missing field, an id that occurs twice, an empty question or context, an answer that
    /// is not where the file says in the context, and a question of v1.1 without answers.
    pub fn read(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let file: File = json::from_slice(source.text.as_bytes()).map_err(|e| {
            let message = e.to_string();
            let place = format!(" at line {} column {}", e.line(), e.column());
            let problem = message.strip_suffix(&place).unwrap_or(&message);
            source.error(e.line(), format!("column {}: {problem}", e.column()))
        })?;
        let entries = || file.data.iter().flat_map(|a| &a.paragraphs).flat_map(|p| &p.qas);
        let version = if entries().any(|e| e.is_impossible.is_some()) { Version::V2 } else { Version::V1 };
        if entries().next().is_none() {
            return Err(source.error(1, "there are no questions in it"));
        }
        let mut ids = HashSet::new();
        for entry in entries() {
            if !ids.insert(&entry.id) {
                return Err(at_id(&source, &entry.id, 1, "the id occurs a second time"));
            }
        }
        let (mut contexts, mut questions) = (Vec::new(), Vec::new());
        for article in file.data {
            for paragraph in article.paragraphs {
                for entry in paragraph.qas {
                    if let Err(problem) = check(&entry, &paragraph.context, version) {
                        return Err(at_id(&source, &entry.id, 0, &problem));
                    }
                    questions.push(Question {
                        id: entry.id,
                        title: article.title.clone(),
                        question: entry.question,
                        context: contexts.len(),
                        answers: entry.answers,
                    });
                }
                contexts.push(paragraph.context);
            }
        }
        Ok(Self { file: source.name, sha256: source.sha256, version, contexts, questions })
    }

    /// Returns the context of a question.
    ///
    /// # Panics
    /// Panics if the question is not from this file.
    pub fn context(&self, question: &Question) -> &str {
        &self.contexts[question.context]
    }

    /// Keeps only the first `questions` questions.
    pub fn truncate(&mut self, questions: usize) {
        self.questions.truncate(questions);
    }
}

fn check(entry: &Entry, context: &str, version: Version) -> Result<(), String> {
    if entry.question.trim().is_empty() || context.trim().is_empty() {
        return Err("the question or its context is empty".to_owned());
    }
    match (entry.answers.is_empty(), entry.is_impossible) {
        (true, Some(false)) => return Err("has no answers, and `is_impossible` is false".to_owned()),
        (false, Some(true)) => return Err("has answers, and `is_impossible` is true".to_owned()),
        (true, None) if version == Version::V1 => return Err("has no answers".to_owned()),
        _ => {}
    }
    for GoldAnswer { text, answer_start } in &entry.answers {
        let behind = context.char_indices().map(|(byte, _)| byte).chain([context.len()]).nth(*answer_start);
        if behind.is_some_and(|byte| context[byte..].starts_with(text.as_str())) {
            continue;
        }
        let instead = match context.find(text.as_str()) {
            Some(byte) => format!("the first one is at {}", context[..byte].chars().count()),
            None => "the context does not hold it".to_owned(),
        };
        return Err(format!("answer `{text}` is not at character {answer_start} of the context; {instead}"));
    }
    Ok(())
}

/// Returns an error at the `nth` place where the file has this id, counted from 0.
fn at_id(source: &Source, id: &str, nth: usize, problem: &str) -> Error {
    let quoted = serde_json::Value::from(id).to_string();
    let byte = source.text.match_indices(&quoted).nth(nth).map_or(0, |(byte, _)| byte);
    source.error(source.line_of(byte), format!("question `{id}`: {problem}"))
}
