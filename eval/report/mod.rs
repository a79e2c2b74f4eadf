//! Results as files, and reports that join several of them.

pub(crate) mod breakdown;
pub(crate) mod confusion;
pub(crate) mod examples;
mod html;
mod markdown;
mod matrix;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert_tools::outputs;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::breakdown::{Calibration, Group};
use self::confusion::Confusion;
use self::examples::Wrong;
use crate::args;
use crate::failure::{Failure, write};
use crate::latency::Latency;
use crate::layers::LayerError;

/// The result of one model at one precision on one data set. `--json` prints it, and a report has further
/// fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The task's scores by their official names.
    #[serde(flatten)]
    pub(crate) scores: Map<String, Value>,
    pub(crate) total: usize,
    /// The time for all predictions, including earlier parts of a stopped run.
    pub(crate) seconds: f64,
    pub(crate) model: String,
    pub(crate) precision: String,
    pub(crate) task: String,
    /// Name of the main score.
    pub(crate) metric: String,
    /// 95 % interval of the main score.
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) model_sha256: Option<String>,
    pub(crate) model_bytes: Option<usize>,
    pub(crate) backend: String,
    pub(crate) kernel: String,
    pub(crate) threads: usize,
    pub(crate) cpu: String,
    pub(crate) data: String,
    pub(crate) data_sha256: String,
    /// Whether the data is the official file; `None` if its checksum is not known.
    pub(crate) data_official: Option<bool>,
    /// How many predictions were made by an earlier run.
    pub(crate) resumed: usize,
    pub(crate) version: String,
    /// When the result was made, in UTC; empty in results of earlier versions.
    #[serde(default)]
    pub(crate) date: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) calibration: Option<Calibration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confusion: Option<Confusion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wrong: Option<Wrong>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<LayerError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
}

impl Run {
    /// The result without the fields that only reports show.
    pub(crate) fn without_details(&self) -> Self {
        Self {
            groups: Vec::new(),
            calibration: None,
            confusion: None,
            wrong: None,
            layers: Vec::new(),
            latency: None,
            ..self.clone()
        }
    }

    /// The result as a report shows it: whoever reads a report need not learn the folders of a machine.
    fn without_folders(&self) -> Self {
        let mut run = self.clone();
        if let Some(latency) = &mut run.latency {
            latency.model = place(&latency.model);
        }
        (run.model, run.data) = (place(&run.model), place(&run.data));
        run
    }

    /// The main score.
    pub(crate) fn main(&self) -> Option<f64> {
        self.scores.get(&self.metric).and_then(Value::as_f64)
    }

    /// A short name: the model's folder and the precision.
    pub(crate) fn name(&self) -> String {
        let folder = self.model.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&self.model);
        format!("{folder} {}", self.precision)
    }

    /// Median latency of SingleStream in milliseconds.
    pub(crate) fn latency_ms(&self) -> Option<f64> {
        self.latency.as_ref()?.scenarios.iter().find(|s| s.scenario == "SingleStream").map(|s| s.p50_ms)
    }
}

/// Given numbers of another engine or model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) latency_ms: Option<f64>,
    pub(crate) bytes: Option<usize>,
    /// `f1`, `exact`, `accuracy`, ...
    #[serde(flatten)]
    pub(crate) scores: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    runs: Vec<Run>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    peers: Vec<Peer>,
}

enum Form {
    Html,
    Markdown,
    Json,
}

fn form(path: &Path) -> Result<Form, Failure> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("html" | "htm") => Ok(Form::Html),
        Some("md") => Ok(Form::Markdown),
        Some("json") => Ok(Form::Json),
        _ => Err(Failure::Usage(format!("{}: a report is .html, .md or .json", path.display()))),
    }
}

/// A path as a report shows it: a relative path as it is, and of an absolute one the last part.
pub(crate) fn place(path: &str) -> String {
    let has_drive = path.get(1..3).is_some_and(|rest| matches!(rest, ":\\" | ":/"));
    if !(Path::new(path).is_absolute() || path.starts_with(['/', '\\']) || has_drive) {
        return path.to_owned();
    }
    let last = path.rsplit(['/', '\\']).find(|part| !part.is_empty());
    last.unwrap_or("the root folder").to_owned()
}

/// Refuses names that are no report's, before work begins.
pub(crate) fn check(paths: &[PathBuf]) -> Result<(), Failure> {
    paths.iter().try_for_each(|path| form(path).map(drop))
}

/// Writes the runs in the form that each file name asks for.
pub(crate) fn write_all(paths: &[PathBuf], runs: &[Run], peers: &[Peer]) -> Result<(), Failure> {
    let runs: Vec<Run> = runs.iter().map(Run::without_folders).collect();
    let runs = runs.as_slice();
    for path in paths {
        let text = match form(path)? {
            Form::Html => html::page(runs, peers),
            Form::Markdown => markdown::page(runs, peers),
            Form::Json => {
                let document = Document { runs: runs.to_vec(), peers: peers.to_vec() };
                format!("{}\n", serde_json::to_string_pretty(&document).unwrap_or_default())
            }
        };
        write(path, &text)?;
    }
    Ok(())
}

/// `mobilebert-eval report`
pub(crate) fn run(args: &args::Report) -> Result<(), Failure> {
    check(&args.out)?;
    let inputs: Vec<&Path> = args.results.iter().chain(&args.peers).map(PathBuf::as_path).collect();
    outputs::check(&args.out.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &inputs, None)?;
    let mut peers = Vec::new();
    let mut all = Vec::new();
    for path in &args.results {
        let document: Document = read(path, "a .json of --report")?;
        peers.extend(document.peers);
        all.extend(document.runs);
    }
    // A result of `latency` belongs to the accuracy of the same weights at the same precision, in whatever order
    // the files are named.
    all.sort_by_key(|run: &Run| run.task.is_empty());
    let mut runs: Vec<Run> = Vec::new();
    for run in all {
        let same = |known: &&mut Run| {
            known.model_sha256.is_some()
                && (&known.model_sha256, &known.precision) == (&run.model_sha256, &run.precision)
        };
        match runs.iter_mut().find(same) {
            Some(known) if run.task.is_empty() => known.latency = run.latency,
            _ => runs.push(run),
        }
    }
    if let Some(path) = &args.peers {
        peers.extend(read::<Vec<Peer>>(path, "an array of objects with `name`")?);
    }
    write_all(&args.out, &runs, &peers)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path, expected: &str) -> Result<T, Failure> {
    let bad = |e: String| Failure::Input(format!("{}: {e}", path.display()));
    let text = fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| bad(format!("expected {expected}: {e}")))
}

/// Writes a number of bytes for people.
fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn reports_name_no_folders_of_a_machine() {
        for (path, expected) in [
            ("models/qa", "models/qa"),
            ("qa", "qa"),
            ("org/name@main", "org/name@main"),
            ("../data/dev.json", "../data/dev.json"),
            ("/home/ada/models/qa/", "qa"),
            ("/home/ada/dev.json", "dev.json"),
            ("C:\\Users\\Ada\\dev.json", "dev.json"),
            ("C:/Users/Ada/dev.json", "dev.json"),
            ("\\\\server\\share\\dev.json", "dev.json"),
            ("/", "the root folder"),
        ] {
            assert_eq!(place(path), expected, "{path}");
        }
    }
}
