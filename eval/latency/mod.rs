//! Latency and throughput in LoadGen-style scenarios.

pub(crate) mod early_stopping;
mod scenario;
mod stability;

use std::path::{Path, PathBuf};
use std::time::Instant;

use mobilebert::profile::machine;
use mobilebert::{Engine, Result};
use mobilebert_tools::outputs;
use mobilebert_tools::task::TaskOptions;
use serde::{Deserialize, Serialize};

use self::scenario::Bench;
pub(crate) use self::scenario::Measured;
pub(crate) use self::stability::Stability;
use crate::args::{self, Model, Scenario};
use crate::evaluate::Evaluation;
use crate::failure::{Failure, print};
use crate::inputs::{self, Input};
use crate::report::{self, Run};
use crate::{date, load, tasks};

/// How many real inputs are used, in rotation.
const INPUTS: usize = 512;
/// How many seconds SingleStream takes in the report of an accuracy run.
const BRIEF: f64 = 3.0;
/// The most queries of a run of Server.
const MOST_QUERIES: f64 = 1e6;
/// Share of what SingleStream could do that Server asks for, and its bound in medians of SingleStream.
const SERVER_LOAD: f64 = 0.6;
const SERVER_BOUND: f64 = 10.0;
/// The note that all results carry.
const NOTE: &str = "LoadGen-style, not an MLPerf result; tokenised inputs to logits, unpadded";

/// The measurements, and the model and machine that they were made on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) note: String,
    pub(crate) model: String,
    pub(crate) model_sha256: Option<String>,
    pub(crate) precision: String,
    pub(crate) backend: String,
    pub(crate) kernel: String,
    pub(crate) threads: usize,
    pub(crate) cpu: String,
    /// The source of the sequence lengths.
    pub(crate) sequences: String,
    pub(crate) mean_tokens: f64,
    /// Cold start: from files to a loaded engine, and its first forward pass.
    pub(crate) load_ms: f64,
    pub(crate) first_inference_ms: f64,
    pub(crate) peak_rss_mb: Option<f64>,
    pub(crate) stability: Stability,
    pub(crate) scenarios: Vec<Measured>,
}

pub(crate) fn run(args: &args::Latency) -> Result<(), Failure> {
    // One of both is there, because the command line asks for it.
    let Some(model) = &args.model else { return load::run(args) };
    let model = Model { model: model.clone(), how: args.how.clone() };
    report::check(&args.report)?;
    refuse_without_effect(args)?;
    let reports: Vec<&Path> = args.report.iter().map(PathBuf::as_path).collect();
    let real = match args.task.zip(args.data.as_deref()) {
        Some((task, data)) => Some((task, tasks::find(task.name(), data)?)),
        None => None,
    };
    let data: Vec<&Path> = real.iter().map(|(_, path)| path.as_path()).collect();
    outputs::check(&reports, &data, Some(&model.model))?;
    let wanted = match args.scenario.as_slice() {
        [] => vec![Scenario::SingleStream, Scenario::MultiStream, Scenario::Server, Scenario::Offline],
        some => some.to_vec(),
    };
    // The times of all queries are kept.
    if args.qps.is_some_and(|qps| qps * args.duration > MOST_QUERIES) {
        let problem =
            format!("--qps times --duration is more than {MOST_QUERIES} queries; lower one of them");
        return Err(Failure::Usage(problem));
    }
    let start = Instant::now();
    let engine = Engine::open(&model.model, model.engine())?;
    let load_ms = milliseconds(start);
    let (rule, inputs) = match real {
        Some((task, path)) => {
            let data = task.read(&path)?;
            // The tokenizer of the task's pipeline; the engine that is measured is the one above.
            let evaluator = TaskOptions::new(task).engine(model.engine()).open(&model.model)?;
            let inputs = inputs::encodings(&evaluator, &data, INPUTS)?;
            (format!("first {} of {}, cut to 384 tokens", inputs.len(), report::place(data.file())), inputs)
        }
        None => (format!("{} tokens each", args.seq_len), inputs::fixed(&engine, args.seq_len)),
    };
    let mut latency = measure(&engine, &model, &inputs, rule, load_ms, |bench, done| {
        let single = |done: &[Measured]| done.iter().find(|m| m.scenario == "SingleStream").cloned();
        for scenario in &wanted {
            let measured = match scenario {
                Scenario::SingleStream => bench.single_stream(args.duration)?,
                Scenario::MultiStream => bench.multi_stream(args.duration)?,
                Scenario::Offline => bench.offline(args.duration)?,
                Scenario::Server => {
                    let single = match single(done) {
                        Some(single) => single,
                        None => bench.single_stream(args.duration.min(BRIEF))?,
                    };
                    let qps = args.qps.unwrap_or(SERVER_LOAD * single.sequences_per_second);
                    let bound = args.latency_bound.unwrap_or(SERVER_BOUND * single.p50_ms);
                    bench.server(args.duration, qps, bound)?
                }
            };
            done.push(measured);
        }
        Ok(())
    })?;
    let weights = model.weights()?;
    latency.model_sha256 = weights.as_ref().map(|(hash, _)| hash.clone());
    let text = if args.json {
        format!("{}\n", serde_json::to_string(&latency).unwrap_or_default())
    } else {
        human(&latency)
    };
    if !args.report.is_empty() {
        let (model_sha256, model_bytes) = weights.unzip();
        let run = Run {
            model: latency.model.clone(),
            precision: latency.precision.clone(),
            kernel: latency.kernel.clone(),
            threads: latency.threads,
            cpu: latency.cpu.clone(),
            model_sha256,
            model_bytes,
            latency: Some(latency),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            date: date::now(),
            ..Run::default()
        };
        report::write_all(&args.report, &[run], &[])?;
    }
    print(&text)
}

/// Refuses flags that would have no effect beside the others.
fn refuse_without_effect(args: &args::Latency) -> Result<(), Failure> {
    let has_server = args.scenario.is_empty() || args.scenario.contains(&Scenario::Server);
    let server = "is for the scenario server, which is not among those of --scenario";
    // Sequences of real inputs have the lengths that scenarios are compared at, so all models cut them alike.
    let cut = "has no effect here: --seq-len is the length, and real inputs are cut to 384 tokens";
    for (flag, is_idle, problem) in [
        ("--qps", args.qps.is_some() && !has_server, server),
        ("--latency-bound", args.latency_bound.is_some() && !has_server, server),
        ("--max-seq-len", args.how.max_seq_len.is_some(), cut),
    ] {
        if is_idle {
            return Err(Failure::Usage(format!("{flag} {problem}")));
        }
    }
    Ok(())
}

/// Adds a brief SingleStream on the inputs of an accuracy run.
pub(crate) fn add(evaluation: &mut Evaluation, model: &Model) -> Result<(), Failure> {
    let start = Instant::now();
    let engine = Engine::open(&model.model, model.engine())?;
    let load_ms = milliseconds(start);
    let inputs = inputs::encodings(&evaluation.evaluator, &evaluation.data, INPUTS)?;
    let file = report::place(evaluation.data.file());
    let rule = format!("first {} of {file}, cut to 384 tokens", inputs.len());
    let mut latency = measure(&engine, model, &inputs, rule, load_ms, |bench, done| {
        done.push(bench.single_stream(BRIEF)?);
        Ok(())
    })?;
    latency.model_sha256.clone_from(&evaluation.run.model_sha256);
    evaluation.run.latency = Some(latency);
    Ok(())
}

fn measure(
    engine: &Engine,
    model: &Model,
    inputs: &[Input],
    sequences: String,
    load_ms: f64,
    scenarios: impl FnOnce(&mut Bench<'_>, &mut Vec<Measured>) -> Result<()>,
) -> Result<Latency> {
    let mut bench = Bench::new(engine, inputs)?;
    let first_inference_ms = bench.first()?;
    bench.warm_up()?;
    let mut measured = Vec::new();
    scenarios(&mut bench, &mut measured)?;
    let stability = Stability::of(&bench.probes);
    let problem = stability.problem();
    measured.iter_mut().for_each(|m| m.conclude(problem.as_deref()));
    Ok(Latency {
        note: NOTE.to_owned(),
        model: model.model.clone(),
        model_sha256: None,
        precision: engine.backend().precision().to_string(),
        backend: engine.backend().name().to_owned(),
        kernel: engine.backend().kernel().to_owned(),
        threads: engine.threads(),
        cpu: machine::cpu(),
        sequences,
        mean_tokens: inputs.iter().map(|i| i.ids.len()).sum::<usize>() as f64 / inputs.len() as f64,
        load_ms,
        first_inference_ms,
        peak_rss_mb: machine::peak_rss_mb(),
        stability,
        scenarios: measured,
    })
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn human(l: &Latency) -> String {
    let hash = l.model_sha256.as_deref().map_or("formula", |hash| &hash[..12]);
    let mut text = format!(
        "{} ({hash}), {} {}, {}, {} threads, {}\n{}; {:.1} tokens on average\n{}\n",
        l.model, l.backend, l.precision, l.kernel, l.threads, l.cpu, l.sequences, l.mean_tokens, l.note
    );
    text += &format!(
        "cold start: {:.1} ms to load, {:.2} ms for the first pass\n",
        l.load_ms, l.first_inference_ms
    );
    for m in &l.scenarios {
        let result = match (&m.headline, &m.refused) {
            (Some(headline), _) => headline.clone(),
            (None, Some(reason)) => format!("no headline: {reason}"),
            (None, None) => String::new(),
        };
        text += &format!("\n{:<13} {result}\n", m.scenario);
        text += &format!(
            "              {} queries, {:.1} sequences/s; min {:.2}  p50 {:.2}  p90 {:.2}  p99 {:.2}  max {:.2} ms\n",
            m.queries, m.sequences_per_second, m.min_ms, m.p50_ms, m.p90_ms, m.p99_ms, m.max_ms
        );
    }
    let s = &l.stability;
    text += &format!(
        "\nmachine: {} probes, quartiles {:.0} % apart, drift {:+.0} %\n",
        s.probes,
        100.0 * s.spread,
        100.0 * s.drift
    );
    text
}
