//! Reads `tasks.toml`, which says where to find the data of each task.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::failure::{Failure, print};

#[derive(Deserialize)]
struct Tasks {
    task: Vec<Entry>,
}

/// A task's files.
#[derive(Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) metrics: String,
    pub(crate) licence: String,
    pub(crate) url: String,
    /// Names below the folder of `--data`. The first one that exists is taken.
    pub(crate) files: Vec<String>,
    /// SHA-256 of official files.
    #[serde(default)]
    pub(crate) sha256: Vec<String>,
    pub(crate) sample: String,
}

fn all() -> Result<Vec<Entry>, Failure> {
    let tasks: Result<Tasks, _> = toml::from_str(include_str!("tasks.toml"));
    tasks.map(|tasks| tasks.task).map_err(|e| Failure::Input(format!("tasks.toml: {e}")))
}

/// The entries of a task. SQuAD has two, of which the one that is named comes first.
fn of(task: &str) -> Result<Vec<Entry>, Failure> {
    let family = |name: &str| name.trim_end_matches("-v2").to_owned();
    let is_meant = |entry: &Entry| family(&entry.name) == family(task);
    let mut entries: Vec<Entry> = all()?.into_iter().filter(is_meant).collect();
    entries.sort_by_key(|entry| entry.name != task);
    Ok(entries)
}

/// The file that `--data` stands for.
pub(crate) fn find(task: &str, data: &Path) -> Result<PathBuf, Failure> {
    if !data.is_dir() {
        return Ok(data.to_owned());
    }
    let files: Vec<String> = of(task)?.into_iter().flat_map(|entry| entry.files).collect();
    let found = files.iter().map(|file| data.join(file)).find(|path| path.is_file());
    let samples: Vec<String> = of(task)?.into_iter().map(|entry| format!("eval/{}", entry.sample)).collect();
    let expected = || {
        let sample = format!("give a file, such as {} of the repository", samples.join(" or "));
        match files.is_empty() {
            true => sample,
            false => format!("expected one of {}, or {sample}", files.join(", ")),
        }
    };
    found.ok_or_else(|| Failure::Input(format!("{}: no file for {task}; {}", data.display(), expected())))
}

/// Whether a file is an official one; `None` if no official sum is known for the task.
pub(crate) fn is_official(task: &str, sha256: &str) -> Option<bool> {
    let sums: Vec<String> = of(task).ok()?.into_iter().flat_map(|entry| entry.sha256).collect();
    (!sums.is_empty()).then(|| sums.iter().any(|sum| sum == sha256))
}

/// `mobilebert-eval tasks`
pub(crate) fn run() -> Result<(), Failure> {
    let mut text = String::new();
    for entry in all()? {
        text += &format!("{:<10} {}\n", entry.name, entry.metrics);
        text += &format!("{:<10} files    {}\n", "", entry.files.join(", "));
        text += &format!("{:<10} source   {}\n{:<10} licence  {}\n", "", entry.url, "", entry.licence);
        text += &format!("{:<10} sample   eval/{}\n", "", entry.sample);
    }
    print(&text)
}
