//! The four scenarios of MLPerf's LoadGen, on one engine.

use std::time::{Duration, Instant};

use mobilebert::profile::{Summary, summarize};
use mobilebert::{Batch, Engine, Result};
use mobilebert_tools::metrics::interval::Random;
use serde::{Deserialize, Serialize};

use super::early_stopping;
use crate::inputs::Input;

/// The number of sequences in a query of MultiStream.
const STREAMS: usize = 8;
/// The number of sequences in a forward pass of Offline and, if so many are waiting, of Server.
const LARGEST_BATCH: usize = 16;
/// Time between two probes of the machine.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Tokens of a probe.
const PROBE_TOKENS: usize = 64;

/// The measurements of a scenario. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) scenario: String,
    pub(crate) queries: usize,
    pub(crate) sequences_per_second: f64,
    /// The percentile that the scenario is about; `None` for Offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) percentile: Option<f64>,
    /// Early-stopping estimate of that percentile; `None` with too few queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claimed_ms: Option<f64>,
    /// How many higher latencies the estimate leaves out.
    pub(crate) discarded: usize,
    pub(crate) min_ms: f64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Server: arrivals a second, and the bound of the 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_qps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bound_ms: Option<f64>,
    /// Server: whether few enough queries were above the bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
    /// The number to quote, or why there is none.
    pub(crate) headline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    /// Latencies at 0, 1, ..., 100 %.
    pub(crate) quantiles_ms: Vec<f64>,
}

/// Runs scenarios and, between queries, a fixed piece of work (a probe) that shows whether other programs use
/// the machine.
pub(crate) struct Bench<'e> {
    engine: &'e Engine,
    inputs: &'e [Input],
    next: usize,
    probe: Batch,
    probed: Instant,
    /// Milliseconds of each probe.
    pub(crate) probes: Vec<f64>,
}

impl<'e> Bench<'e> {
    pub(crate) fn new(engine: &'e Engine, inputs: &'e [Input]) -> Result<Self> {
        let vocabulary = engine.config().vocab_size;
        let mut random = Random::new(0);
        let tokens = PROBE_TOKENS.min(engine.config().max_position_embeddings);
        let ids: Vec<u32> = (0..tokens).map(|_| random.below(vocabulary) as u32).collect();
        let probe = Batch::single(&ids, &vec![0; tokens])?;
        Ok(Self { engine, inputs, next: 0, probe, probed: Instant::now(), probes: Vec::new() })
    }

    /// Milliseconds of one pass, the first one of the engine if nothing ran before.
    pub(crate) fn first(&mut self) -> Result<f64> {
        let batch = self.query(1)?;
        let start = Instant::now();
        self.engine.forward(&batch)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    /// Warms up until caches, clock rates and the allocator have settled.
    pub(crate) fn warm_up(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            let batch = self.query(1)?;
            self.engine.forward(&batch)?;
        }
        self.engine.forward(&self.probe).map(drop)
    }

    fn query(&mut self, sequences: usize) -> Result<Batch> {
        let mut batch = Batch::new();
        for _ in 0..sequences {
            let input = &self.inputs[self.next % self.inputs.len()];
            self.next += 1;
            batch.push(&input.ids, &input.type_ids)?;
        }
        Ok(batch)
    }

    fn probe_if_due(&mut self) -> Result<()> {
        if self.probes.is_empty() || self.probed.elapsed() >= PROBE_EVERY {
            let start = Instant::now();
            self.engine.forward(&self.probe)?;
            self.probes.push(start.elapsed().as_secs_f64() * 1e3);
            self.probed = Instant::now();
        }
        Ok(())
    }

    /// Runs one query after another, each of the given number of sequences.
    fn stream(&mut self, sequences: usize, percentile: f64, seconds: f64) -> Result<(Vec<f64>, f64)> {
        let (mut latencies, mut busy) = (Vec::new(), 0.0);
        let start = Instant::now();
        // At most twice the time, if the minimum number of queries takes so long.
        let enough = |done: usize, elapsed: f64| {
            elapsed >= seconds && (done >= early_stopping::fewest(percentile) || elapsed >= 2.0 * seconds)
        };
        while !enough(latencies.len(), start.elapsed().as_secs_f64()) {
            self.probe_if_due()?;
            let batch = self.query(sequences)?;
            let began = Instant::now();
            self.engine.forward(&batch)?;
            let took = began.elapsed().as_secs_f64();
            busy += took;
            latencies.push(took * 1e3);
        }
        Ok((latencies, busy))
    }

    pub(crate) fn single_stream(&mut self, seconds: f64) -> Result<Measured> {
        let (latencies, busy) = self.stream(1, 0.9, seconds)?;
        Ok(Measured::new("SingleStream", Some(0.9), &latencies, latencies.len() as f64 / busy))
    }

    pub(crate) fn multi_stream(&mut self, seconds: f64) -> Result<Measured> {
        let (latencies, busy) = self.stream(STREAMS, 0.99, seconds)?;
        Ok(Measured::new("MultiStream", Some(0.99), &latencies, (STREAMS * latencies.len()) as f64 / busy))
    }

    /// Queries arrive by a Poisson process, and those that are waiting run together. Latency counts from the
    /// arrival.
    pub(crate) fn server(&mut self, seconds: f64, qps: f64, bound_ms: f64) -> Result<Measured> {
        let mut random = Random::new(1);
        let mut arrivals = Vec::new();
        let mut at = 0.0;
        while at < seconds {
            at -= (1.0 - random.unit()).ln() / qps;
            arrivals.push(at);
        }
        let mut latencies = Vec::with_capacity(arrivals.len());
        self.probe_if_due()?;
        let start = Instant::now();
        while latencies.len() < arrivals.len() {
            let now = start.elapsed().as_secs_f64();
            let waiting = arrivals[latencies.len()..].iter().take_while(|&&arrival| arrival <= now).count();
            if waiting == 0 {
                let wait = arrivals[latencies.len()] - now;
                // A probe fits into a long pause. In a short one, or if it takes long, it would delay the next query.
                let probe_ms = self.probes.last().copied().unwrap_or(0.0);
                if self.probed.elapsed() >= PROBE_EVERY && wait > (2.0 * probe_ms / 1e3).max(0.05) {
                    self.probe_if_due()?;
                } else {
                    std::thread::sleep(Duration::from_secs_f64(wait));
                }
                continue;
            }
            let batch = self.query(waiting.min(LARGEST_BATCH))?;
            self.engine.forward(&batch)?;
            let done = start.elapsed().as_secs_f64();
            let first = latencies.len();
            latencies.extend(arrivals[first..first + batch.sequences()].iter().map(|a| (done - a) * 1e3));
        }
        let rate = arrivals.len() as f64 / start.elapsed().as_secs_f64();
        let over = latencies.iter().filter(|&&latency| latency > bound_ms).count();
        let measured = Measured::new("Server", Some(0.99), &latencies, rate);
        let met = Some(early_stopping::passes(latencies.len(), over.max(1), 0.99));
        Ok(Measured { target_qps: Some(qps), bound_ms: Some(bound_ms), met, ..measured })
    }

    /// Runs all sequences at once, sorted by length, which is fastest.
    pub(crate) fn offline(&mut self, seconds: f64) -> Result<Measured> {
        let mut order: Vec<&Input> = self.inputs.iter().collect();
        order.sort_by_key(|input| input.ids.len());
        let (mut latencies, mut busy, mut sequences) = (Vec::new(), 0.0, 0);
        'time: loop {
            for chunk in order.chunks(LARGEST_BATCH) {
                self.probe_if_due()?;
                let mut batch = Batch::new();
                chunk.iter().try_for_each(|input| batch.push(&input.ids, &input.type_ids))?;
                let began = Instant::now();
                self.engine.forward(&batch)?;
                let took = began.elapsed().as_secs_f64();
                busy += took;
                sequences += chunk.len();
                latencies.push(took * 1e3);
                if busy >= seconds && sequences >= order.len() {
                    break 'time;
                }
            }
        }
        Ok(Measured::new("Offline", None, &latencies, sequences as f64 / busy))
    }
}

impl Measured {
    fn new(scenario: &str, percentile: Option<f64>, latencies: &[f64], sequences_per_second: f64) -> Self {
        let mut sorted = latencies.to_vec();
        sorted.sort_by(f64::total_cmp);
        let claim = percentile.and_then(|p| early_stopping::estimate(&sorted, p));
        let of = |field: fn(&Summary) -> f64| summarize(latencies).map_or(0.0, |s| field(&s));
        let quantile = |percent: usize| sorted.get(percent * sorted.len().saturating_sub(1) / 100).copied();
        Self {
            scenario: scenario.to_owned(),
            queries: latencies.len(),
            sequences_per_second,
            percentile,
            claimed_ms: claim.map(|c| c.latency),
            discarded: claim.map_or(0, |c| c.discarded),
            min_ms: of(|s| s.min),
            mean_ms: of(|s| s.mean),
            p50_ms: of(|s| s.p50),
            p90_ms: of(|s| s.p90),
            p99_ms: of(|s| s.p99),
            max_ms: of(|s| s.max),
            target_qps: None,
            bound_ms: None,
            met: None,
            headline: None,
            refused: None,
            quantiles_ms: (0..=100).filter_map(quantile).collect(),
        }
    }

    /// Sets the headline, or the reason why there is none: `unstable` says what disturbed the machine.
    pub(crate) fn conclude(&mut self, unstable: Option<&str>) {
        let too_few = || {
            let fewest = self.percentile.map_or(0, early_stopping::fewest);
            format!("{} queries; {fewest} are needed: raise --duration", self.queries)
        };
        let number = match (self.percentile, self.claimed_ms, self.met) {
            (Some(_), None, _) => Err(too_few()),
            (Some(_), _, Some(false)) => Err(format!(
                "the 99th percentile is above {:.1} ms at {:.1} queries a second",
                self.bound_ms.unwrap_or_default(),
                self.target_qps.unwrap_or_default()
            )),
            (Some(_), _, Some(true)) => Ok(format!(
                "{:.1} queries a second, 99 % within {:.1} ms",
                self.target_qps.unwrap_or_default(),
                self.bound_ms.unwrap_or_default()
            )),
            (Some(p), Some(ms), None) => Ok(format!("{ms:.2} ms at the {:.0}th percentile", 100.0 * p)),
            (None, ..) => Ok(format!("{:.1} sequences a second", self.sequences_per_second)),
        };
        match (unstable, number) {
            (Some(reason), _) => self.refused = Some(reason.to_owned()),
            (None, Ok(headline)) => self.headline = Some(headline),
            (None, Err(reason)) => self.refused = Some(reason),
        }
    }
}
