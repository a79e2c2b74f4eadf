//! Runs a task: predicts, scores, and writes the files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mobilebert::profile::machine;
use mobilebert::{Error, ErrorKind};
use mobilebert_tools::dataset::TableOptions;
use mobilebert_tools::metrics::squad::Version;
use mobilebert_tools::outputs;
use mobilebert_tools::task::{Dataset, Evaluator, Prediction, Scores, Task, TaskOptions};
use serde_json::{Map, Value, json};

use crate::args::{Classify, Command, Common, Squad};
use crate::failure::{Failure, print, write};
use crate::interrupt::Interrupt;
use crate::log::Log;
use crate::report::{self, Run, breakdown, confusion, examples};
use crate::{date, latency, predictions, tasks};

/// The seed of all intervals.
pub(crate) const SEED: u64 = 20_261_122;

/// A finished run.
pub(crate) struct Evaluation {
    pub(crate) evaluator: Evaluator,
    pub(crate) data: Dataset,
    pub(crate) predictions: Vec<Prediction>,
    /// `None` if the data has no labels.
    pub(crate) scores: Option<Scores>,
    pub(crate) run: Run,
    /// The log of the predictions, while something may still fail.
    log: Option<Log>,
}

impl Evaluation {
    /// All results are written, so nobody needs the predictions again.
    pub(crate) fn finish(self) {
        if let Some(log) = self.log {
            log.finish();
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    let Some((task, common)) = command.task() else { return Ok(()) };
    report::check(&common.report)?;
    let data = read(command, task, common)?;
    let mut options = TaskOptions::new(task);
    let mut null_threshold = 0.0;
    let mut more: Vec<&Path> = Vec::new();
    if let Command::Squad(args) | Command::Squad2(args) = command {
        options = squad_options(args, options);
        null_threshold = threshold(args, &data)?;
        more.extend(args.n_best.iter().chain(&args.null_odds).map(PathBuf::as_path));
    }
    check_outputs(common, &more, &[Path::new(data.file())])?;
    let mut evaluation = evaluate(task, common, options, data, null_threshold)?;
    write_outputs(&mut evaluation, common, null_threshold)?;
    if let (Command::Squad(args) | Command::Squad2(args), Dataset::Squad(data)) = (command, &evaluation.data)
    {
        if let Some(path) = &args.n_best {
            write(path, &predictions::n_best(data, &evaluation.predictions))?;
        }
        if let Some(path) = &args.null_odds {
            write(path, &predictions::null_odds(data, &evaluation.predictions))?;
        }
    }
    print(&text(&evaluation, common.json))?;
    evaluation.finish();
    Ok(())
}

/// Checks the outputs of a run, `more` ones included: a problem has to be reported before hours of work, not
/// after.
pub(crate) fn check_outputs(common: &Common, more: &[&Path], inputs: &[&Path]) -> Result<(), Failure> {
    report::check(&common.report)?;
    let paths = common.predictions.iter().chain(&common.report).chain(&common.log).map(PathBuf::as_path);
    let paths: Vec<&Path> = paths.chain(more.iter().copied()).collect();
    Ok(outputs::check(&paths, inputs, Some(&common.model.model))?)
}

/// Writes the files of `--predictions` and `--report`.
pub(crate) fn write_outputs(
    evaluation: &mut Evaluation,
    common: &Common,
    null_threshold: f32,
) -> Result<(), Failure> {
    let task = evaluation.evaluator.task();
    if let Some(path) = &common.predictions {
        write(path, &predictions::official(task, &evaluation.data, &evaluation.predictions, null_threshold))?;
    }
    if common.report.is_empty() {
        return Ok(());
    }
    breakdown::add(evaluation)?;
    if evaluation.scores.is_some() {
        let (data, predictions) = (&evaluation.data, &evaluation.predictions);
        evaluation.run.confusion = confusion::confusion(data, predictions);
        evaluation.run.wrong = examples::wrong(data, predictions, null_threshold);
    }
    latency::add(evaluation, &common.model)?;
    report::write_all(&common.report, std::slice::from_ref(&evaluation.run), &[])
}

fn read(command: &Command, task: Task, common: &Common) -> Result<Dataset, Failure> {
    let name = if let Command::Squad2(_) = command { "squad-v2" } else { task.name() };
    let path = tasks::find(name, &common.data)?;
    let mut data = match command {
        Command::Classify(args) => {
            let mut options = TableOptions::new().text(&args.text_column).label(&args.label_column);
            if let Some(column) = &args.pair_column {
                options = options.pair(column);
            }
            Dataset::Labelled(options.read(&path).map_err(|error| with_flags(error, args))?)
        }
        _ => task.read(&path)?,
    };
    data.truncate(common.limit.unwrap_or(usize::MAX));
    Ok(data)
}

/// Adds to an error about a missing column how a column is chosen.
fn with_flags(error: Error, args: &Classify) -> Failure {
    match error.kind() {
        ErrorKind::Input { problem, .. } if problem.starts_with("no column") => {
            let (text, label) = (&args.text_column, &args.label_column);
            let flags =
                format!("name the columns with --text-column (now {text}) and --label-column (now {label})");
            Failure::Input(format!("{error}; {flags}"))
        }
        _ => error.into(),
    }
}

/// The null threshold. One that would have no effect is refused.
fn threshold(args: &Squad, data: &Dataset) -> Result<f32, Failure> {
    let is_v1 = matches!(data, Dataset::Squad(squad) if squad.version == Version::V1);
    match args.null_threshold {
        Some(_) if is_v1 => {
            let problem = "is SQuAD v1.1, where every question has an answer; leave out --null-threshold";
            Err(Failure::Usage(format!("{} {problem}", data.file())))
        }
        given => Ok(given.unwrap_or(0.0)),
    }
}

fn squad_options(args: &Squad, mut options: TaskOptions) -> TaskOptions {
    if args.n_best.is_some() {
        options = options.n_best(args.n_best_size);
    }
    if let Some(tokens) = args.doc_stride {
        options = options.doc_stride(tokens);
    }
    if let Some(tokens) = args.max_question_len {
        options = options.max_question_len(tokens);
    }
    if let Some(tokens) = args.max_answer_len {
        options = options.max_answer_len(tokens);
    }
    options
}

/// Predicts the examples that are not in the log yet, and scores all of them.
pub(crate) fn evaluate(
    task: Task,
    common: &Common,
    mut options: TaskOptions,
    data: Dataset,
    null_threshold: f32,
) -> Result<Evaluation, Failure> {
    if let Some(tokens) = common.model.how.max_seq_len {
        options = options.max_seq_len(tokens);
    }
    let evaluator = options.clone().engine(common.model.engine()).open(&common.model.model)?;
    let weights = common.model.weights()?;
    let engine = evaluator.engine();
    let key = json!({
        "task": task.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "model_sha256": weights.as_ref().map(|(hash, _)| hash),
        "backend": engine.backend().name(),
        "kernel": engine.backend().kernel(),
        "precision": engine.backend().precision().to_string(),
        "data_sha256": data.sha256(),
        "options": format!("{options:?}"),
    });
    let mut log = if common.no_resume { Log::none() } else { Log::open(common.log.as_deref(), &key)? };
    // The log may have more predictions than this run asks for; then a later run still needs it.
    let is_done = log.predictions.len() <= data.len();
    log.predictions.truncate(data.len());
    let resumed = log.predictions.len();
    let progress = progress(&data, resumed, common.quiet);
    let (start, before) = (Instant::now(), log.seconds);
    let mut seconds = before;
    let interrupt = Interrupt::new();
    for prediction in evaluator.predictions(&data, resumed..data.len()) {
        let prediction = prediction?;
        seconds = before + start.elapsed().as_secs_f64();
        log.push(&prediction, seconds)?;
        log.predictions.push(prediction);
        progress.inc(1);
        if interrupt.is_pressed() && log.predictions.len() < data.len() {
            progress.finish_and_clear();
            return Err(Failure::Interrupted(log.stopped(data.len())));
        }
    }
    drop(interrupt);
    progress.finish_and_clear();
    let predictions = std::mem::take(&mut log.predictions);
    let labelled = !matches!(&data, Dataset::Labelled(l) if l.examples.iter().any(|e| e.gold.is_none()));
    let scores = labelled.then(|| Scores::new(task, &data, &predictions, null_threshold)).transpose()?;
    let (model_sha256, model_bytes) = weights.unzip();
    let run = Run {
        scores: scores.as_ref().map_or_else(Map::new, named),
        total: data.len(),
        seconds,
        model: common.model.model.clone(),
        precision: engine.backend().precision().to_string(),
        task: task.name().to_owned(),
        metric: task.metrics()[0].to_owned(),
        interval: scores.as_ref().and_then(|s| s.items.interval(SEED)).map(|i| [i.low, i.high]),
        model_sha256,
        model_bytes,
        backend: engine.backend().name().to_owned(),
        kernel: engine.backend().kernel().to_owned(),
        threads: engine.threads(),
        cpu: machine::cpu(),
        data: data.file().to_owned(),
        data_official: tasks::is_official(task.name(), data.sha256()),
        data_sha256: data.sha256().to_owned(),
        resumed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date: date::now(),
        ..Run::default()
    };
    Ok(Evaluation { evaluator, data, predictions, scores, run, log: is_done.then_some(log) })
}

/// The scores under their official names.
fn named(scores: &Scores) -> Map<String, Value> {
    let mut map = Map::new();
    // SQuAD's script prints `exact` first.
    let mut values = scores.values.clone();
    values.sort_by_key(|(name, _)| *name != "exact");
    for (name, value) in values {
        map.insert(name.to_owned(), json!(value));
    }
    if let Some(Value::Object(parts)) =
        scores.parts.as_ref().and_then(|parts| serde_json::to_value(parts).ok())
    {
        map.extend(parts.into_iter().filter(|(name, _)| name.contains("Ans_")));
    }
    if let Some((exact, f1)) = &scores.best {
        map.insert("best_exact".to_owned(), json!(exact.score));
        map.insert("best_exact_thresh".to_owned(), json!(exact.threshold));
        map.insert("best_f1".to_owned(), json!(f1.score));
        map.insert("best_f1_thresh".to_owned(), json!(f1.threshold));
    }
    if let Some(auroc) = scores.auroc {
        map.insert("auroc".to_owned(), json!(auroc));
    }
    if let Some(entities) = &scores.entities {
        map.insert("types".to_owned(), json!(entities.types));
    }
    map
}

fn progress(data: &Dataset, done: usize, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len}, {per_sec}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(data.len() as u64), ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(done as u64);
    bar.reset_eta();
    bar
}

fn text(evaluation: &Evaluation, json: bool) -> String {
    let run = evaluation.run.without_details();
    if json {
        return format!("{}\n", serde_json::to_string(&run).unwrap_or_default());
    }
    let mut text = format!("{} on {}, {} examples\n", run.model, run.data, run.total);
    for (name, value) in &run.scores {
        if let Some(value) = value.as_f64() {
            let interval = run.interval.filter(|_| *name == run.metric);
            let interval =
                interval.map_or_else(String::new, |[low, high]| format!("  ({low:.2} to {high:.2})"));
            text += &format!("{name:<18} {value:>8.2}{interval}\n");
        }
    }
    if evaluation.scores.is_none() {
        text += "no scores: the data has no labels\n";
    }
    text + &format!(
        "{:.1} s, {}, {} {}, {} threads, {}\n",
        run.seconds, run.precision, run.backend, run.kernel, run.threads, run.cpu
    )
}
