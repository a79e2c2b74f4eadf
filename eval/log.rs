//! The log of predictions, which a stopped run is continued from. It is a file of JSON lines that is only
//! appended to: a head, then one line for each prediction. A later run of the same model, data and options
//! continues after the last whole line.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use mobilebert::format::sha256;
use mobilebert_tools::task::Prediction;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

/// The predictions so far, and the file that the next ones are appended to.
pub(crate) struct Log {
    file: Option<File>,
    path: PathBuf,
    /// Whether the file outlives the run.
    keep: bool,
    /// Whether a later run could not continue from the file.
    is_empty: bool,
    /// Predictions of earlier runs.
    pub(crate) predictions: Vec<Prediction>,
    /// Seconds that they took.
    pub(crate) seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    seconds: f64,
    prediction: Prediction,
}

impl Log {
    /// Keeps no log.
    pub(crate) fn none() -> Self {
        Self {
            file: None,
            path: PathBuf::new(),
            keep: true,
            is_empty: true,
            predictions: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Opens the log of the run that `key` describes: the given file, which has to belong to such a run, or a
    /// file in the user's cache.
    pub(crate) fn open(path: Option<&Path>, key: &Value) -> Result<Self, Failure> {
        let head = format!("{key}\n");
        let Some(cached) = path.map(Path::to_owned).or_else(|| cache_file(&head)) else {
            return Ok(Self::none());
        };
        let failed = |source| Failure::output(&cached, source);
        if path.is_none()
            && let Some(folder) = cached.parent()
            && fs::create_dir_all(folder).is_err()
        {
            // A cache folder that cannot be written to is no reason to stop.
            return Ok(Self::none());
        }
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = match options.open(&cached) {
            Ok(file) => file,
            Err(_) if path.is_none() => return Ok(Self::none()),
            Err(source) => return Err(failed(source)),
        };
        if file.try_lock().is_err() {
            return match path {
                Some(path) => {
                    Err(Failure::Input(format!("{}: another run is writing to it", path.display())))
                }
                None => Ok(Self::none()),
            };
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let mut log = Self::none();
        (log.path, log.keep) = (cached.clone(), path.is_some());
        let end = match text.strip_prefix(head.as_bytes()) {
            Some(lines) => head.len() + log.read(lines),
            None if text.is_empty() || head.as_bytes().starts_with(&text) => {
                file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(failed)?;
                file.write_all(head.as_bytes()).map_err(failed)?;
                head.len()
            }
            None => {
                let problem = "is the log of another model, data set or choice of options; give another file";
                return Err(Failure::Input(format!("{}, line 1: {problem}", cached.display())));
            }
        };
        // A line that the end of a run cut short.
        file.set_len(end as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        log.file = Some(file);
        Ok(log)
    }

    /// Takes the whole lines, and says how many bytes they are.
    fn read(&mut self, lines: &[u8]) -> usize {
        let mut end = 0;
        for line in lines.split_inclusive(|&b| b == b'\n') {
            let whole = line.ends_with(b"\n").then(|| serde_json::from_slice::<Line>(line).ok()).flatten();
            let Some(Line { seconds, prediction }) = whole else { break };
            self.predictions.push(prediction);
            self.seconds = seconds;
            self.is_empty = false;
            end += line.len();
        }
        end
    }

    /// Appends a prediction. `seconds`: since the beginning, those of earlier runs included.
    pub(crate) fn push(&mut self, prediction: &Prediction, seconds: f64) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = Line { seconds, prediction: prediction.clone() };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        self.is_empty = false;
        file.write_all(text.as_bytes()).map_err(|source| Failure::output(&self.path, source))
    }

    /// What to tell the user when a run is stopped before it has all of `total` predictions.
    pub(crate) fn stopped(&self, total: usize) -> String {
        let made = self.predictions.len();
        let next = match (&self.file, self.keep) {
            (None, _) => "they are not kept".to_owned(),
            (Some(_), true) => {
                format!("the same command goes on from there; they are in {}", self.path.display())
            }
            (Some(_), false) => "the same command goes on from there".to_owned(),
        };
        format!("stopped after {made} of {total} predictions; {next}")
    }

    /// All predictions are made: a log in the cache has done its work.
    pub(crate) fn finish(mut self) {
        self.is_empty = true;
    }
}

impl Drop for Log {
    /// Removes a log in the cache from which no run can continue.
    fn drop(&mut self) {
        if !self.keep && self.is_empty {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn cache_file(head: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("mobilebert-eval").join(format!("{}.jsonl", &sha256([&head])[..16])))
}
