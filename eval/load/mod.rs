//! The latency of a server under load that does not wait for it: requests are sent at the times of a Poisson
//! process, whatever became of those before.

mod client;
mod processor;
mod request;
mod row;
mod search;

use std::time::Duration;

use mobilebert::profile::machine;
use serde::Serialize;

use self::client::Run;
use self::processor::Reading;
use self::request::Target;
pub(crate) use self::row::Row;
use self::search::Found;
use crate::args;
use crate::failure::{Failure, print};
use crate::latency::early_stopping;
use crate::{report, tasks};

/// The percentile that the bound is about.
const PERCENTILE: f64 = 0.99;
/// A run has at least as many requests as a claim takes, and some more, so that one or two may be slow.
const FEWEST: usize = 1000;
/// A run may take so many times its duration for that.
const LONGEST: f64 = 5.0;
/// The most requests of a run, whose times are all kept.
const MOST: f64 = 1e6;
/// The requests of the run on one connection.
const ALONE: (usize, usize) = (50, 1000);
/// The most rates that are tried until one holds twice.
const CONFIRMATIONS: usize = 6;
/// How often a rate is tried if other programs, or the generator itself, disturb a run that fails.
const DISTURBED: usize = 2;
/// The rest between two runs, for what a server still does.
const PAUSE: Duration = Duration::from_millis(300);

/// All runs on a server.
#[derive(Debug, Serialize)]
struct Load {
    url: String,
    /// Where the texts are from.
    requests: String,
    connections: usize,
    seed: u64,
    cpu: String,
    processors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_ms: Option<f64>,
    /// The highest rate at which the bound was kept in a run to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    highest_qps: Option<f64>,
    /// True if no rate above it was measured.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    at_least: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_peak_mb: Option<f64>,
    /// The number to quote, or why there is none.
    headline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    runs: Vec<Row>,
}

/// Measures a server.
pub(crate) fn run(args: &args::Latency) -> Result<(), Failure> {
    let load = &args.load;
    let Some(url) = &load.url else {
        return Err(Failure::Usage("pass --model or --url".to_owned()));
    };
    if args.qps.is_none() && load.p99_ms.is_none() {
        return Err(Failure::Usage(
            "--url needs --qps, the rate of requests, or --p99-ms to find the highest one".to_owned(),
        ));
    }
    if args.qps.is_some_and(|qps| qps * args.duration > MOST) {
        let problem = format!("--qps times --duration is more than {MOST} requests; lower one of them");
        return Err(Failure::Usage(problem));
    }
    let target = Target::find(url)?;
    let headers = load.header.iter().map(|text| request::header(text)).collect::<Result<Vec<_>, _>>()?;
    let data = match args.task.zip(args.data.as_deref()) {
        Some((task, path)) => Some(task.read(&tasks::find(task.name(), path)?)?),
        None => None,
    };
    let requests = request::requests(&target, &headers, load.body.as_deref(), data.as_ref())?;
    let bench = Bench { url, target: &target, requests: &requests, args };
    let mut runs = vec![bench.alone()?];
    let highest = match (args.qps, load.p99_ms) {
        (Some(qps), _) => {
            runs.push(bench.at("given", qps, 0, false)?);
            None
        }
        (None, bound) => bench.search(bound.unwrap_or_default(), &mut runs)?,
    };
    // Equal texts at the same time are work that a server may do once, so they say little about others.
    let different = match requests.len() >= load.connections {
        true => Ok(()),
        false => Err(format!(
            "there are {} different requests for {} connections, and equal ones may be computed once",
            requests.len(),
            load.connections
        )),
    };
    let (headline, refused) = match different.and_then(|()| conclude(args, highest, &runs)) {
        Ok(headline) => (Some(headline), None),
        Err(reason) => (None, Some(reason)),
    };
    let found = Load {
        url: url.clone(),
        requests: data.map_or_else(
            || "one body".to_owned(),
            |data| format!("first {} of {}", requests.len(), report::place(data.file())),
        ),
        connections: load.connections,
        seed: load.seed,
        cpu: machine::cpu(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        bound_ms: load.p99_ms,
        highest_qps: highest.map(|found| found.rate),
        at_least: highest.is_some_and(|found| found.at_least),
        server_peak_mb: load.server_pid.and_then(processor::peak_mb),
        headline,
        refused,
        runs,
    };
    match args.json {
        true => print(&format!("{}\n", serde_json::to_string(&found).unwrap_or_default())),
        false => print(&human(&found)),
    }
}

/// A server, and what is sent to it.
struct Bench<'b> {
    url: &'b str,
    target: &'b Target,
    requests: &'b [Vec<u8>],
    args: &'b args::Latency,
}

impl Bench<'_> {
    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::Input(format!("{}: {error}", self.url))
    }

    /// Asks on one connection, one request after the other.
    fn alone(&self) -> Result<Row, Failure> {
        let pid = self.args.load.server_pid;
        let before = Reading::now(pid);
        let time = Duration::from_secs_f64(self.args.duration.min(3.0));
        let times = client::alone(self.target.address, self.requests, ALONE, time);
        let times = times.map_err(|error| self.failed(&error))?;
        Ok(Row::alone(&times, Reading::now(pid).since(&before)))
    }

    /// Sends requests at a rate. With `hopeless`, a run that cannot keep the bound any more is ended.
    fn at(&self, name: &'static str, rate: f64, seed: u64, hopeless: bool) -> Result<Row, Failure> {
        let (duration, load) = (self.args.duration, &self.args.load);
        let count = (rate * duration).max((FEWEST as f64).min(rate * duration * LONGEST)).clamp(1.0, MOST);
        let arrivals = client::arrivals(rate, count as usize, load.seed.wrapping_add(seed));
        let bound = load.p99_ms.or(self.args.latency_bound);
        let most_over = bound.filter(|_| hopeless).map(|bound| (most_over(arrivals.len()), bound));
        let run = Run {
            address: self.target.address,
            requests: self.requests,
            arrivals: &arrivals,
            connections: load.connections,
            most_over,
        };
        let before = Reading::now(load.server_pid);
        let start = std::time::Instant::now();
        let sent = run.go().map_err(|error| self.failed(&error))?;
        let (seconds, shares) = (start.elapsed().as_secs_f64(), Reading::now(load.server_pid).since(&before));
        std::thread::sleep(PAUSE);
        Ok(Row::new(name, rate, bound, arrivals.len(), &sent, seconds, shares))
    }

    /// Finds the highest rate, and measures around it.
    fn search(&self, bound: f64, runs: &mut Vec<Row>) -> Result<Option<Found>, Failure> {
        let alone = runs.first().map_or(f64::NAN, |alone| alone.p50_ms);
        let start = 500.0 / alone.max(1e-3);
        let least = (0.2 / self.args.duration).min(start);
        // Of a run of a million requests all times are kept; a generator on one thread sends far fewer.
        let most = MOST / self.args.duration / LONGEST;
        let mut seed = 0;
        let mut holds = |rate: f64| {
            seed += 1;
            let mut held = false;
            // A run that something else disturbed says little, so there is another one.
            for _ in 0..DISTURBED {
                let row = self.at("search", rate, seed, true)?;
                held = row.met == Some(true);
                let disturbed = !held && row.problem().is_some();
                runs.push(row);
                if !disturbed {
                    break;
                }
            }
            Ok::<_, Failure>(held)
        };
        if alone > bound {
            return Ok(None);
        }
        let Some(found) = search::highest(start, least, most, &mut holds)? else { return Ok(None) };
        let mut seed = 1000;
        let confirmed = search::confirmed(found, CONFIRMATIONS, |rate| {
            seed += 1;
            let row = self.at("highest", rate, seed, false)?;
            let held = row.met == Some(true);
            runs.push(row);
            Ok::<_, Failure>(held)
        })?;
        let Some(found) = confirmed else { return Ok(None) };
        for (name, share) in [("half", 0.5), ("80 %", 0.8), ("twice", 2.0)] {
            runs.push(self.at(name, found.rate * share, 2000, false)?);
        }
        Ok(Some(found))
    }
}

/// How many of the requests may be above the bound.
fn most_over(requests: usize) -> usize {
    let passes = |over: usize| early_stopping::passes(requests, over.max(1), PERCENTILE);
    (0..=requests / 100 + 1).rev().find(|&over| passes(over)).unwrap_or(0)
}

/// The number to quote, or the reason why there is none.
fn conclude(args: &args::Latency, highest: Option<Found>, runs: &[Row]) -> Result<String, String> {
    let about = runs.iter().rev().find(|row| matches!(row.name, "highest" | "given"));
    match (about, args.load.p99_ms, highest) {
        (Some(row), Some(bound), Some(Found { rate, at_least })) => {
            row.problem().map_or(Ok(()), Err)?;
            limit(runs, rate)?;
            let at_least = if at_least { "at least " } else { "" };
            Ok(format!("{at_least}{rate:.1} requests a second, 99 % within {bound:.1} ms"))
        }
        (Some(row), None, _) => {
            row.problem().map_or(Ok(()), Err)?;
            match row.claimed_ms {
                Some(ms) => Ok(format!("99 % within {ms:.2} ms at {:.1} requests a second", row.rate)),
                None if row.answered < row.requests => {
                    let lost = row.requests - row.answered;
                    Err(format!("{lost} of {} requests got no result", row.requests))
                }
                None => {
                    let fewest = early_stopping::fewest(PERCENTILE);
                    Err(format!("{} requests; {fewest} are needed: raise --duration", row.requests))
                }
            }
        }
        (_, bound, _) => {
            let fewest = early_stopping::fewest(PERCENTILE);
            let few = runs.iter().filter(|row| row.name == "search").any(|row| row.requests < fewest);
            let problem = match few {
                true => Some("some runs had too few requests for a claim: raise --duration".to_owned()),
                false => runs.iter().find_map(Row::problem),
            };
            let (bound, problem) =
                (bound.unwrap_or_default(), problem.map(|problem| format!(" ({problem})")));
            let problem = problem.unwrap_or_default();
            Err(format!("at no rate that was tried 99 % were within {bound:.1} ms{problem}"))
        }
    }
}

/// Checks what makes a rate the highest one: that the lowest of those above it failed by itself, and not
/// because something disturbed each of its runs.
fn limit(runs: &[Row], highest: f64) -> Result<(), String> {
    let failed = || {
        let tried = runs.iter().filter(|row| matches!(row.name, "search" | "highest"));
        tried.filter(|row| row.met != Some(true) && row.rate > highest)
    };
    let lowest = failed().map(|row| row.rate).fold(f64::INFINITY, f64::min);
    let problems: Vec<Option<String>> = failed().filter(|row| row.rate == lowest).map(Row::problem).collect();
    match problems.iter().flatten().last() {
        Some(problem) if problems.iter().all(Option::is_some) => Err(format!(
            "{highest:.1} requests a second hold, but {lowest:.1} may hold too: its runs were disturbed ({problem})"
        )),
        _ => Ok(()),
    }
}

fn human(found: &Load) -> String {
    let mut text = format!(
        "{}\n{}; {} connections, seed {}; {}, {} processors\n\n{}",
        found.url,
        found.requests,
        found.connections,
        found.seed,
        found.cpu,
        found.processors,
        Row::HEAD
    );
    found.runs.iter().for_each(|row| text += &row.line());
    if let Some(mb) = found.server_peak_mb {
        text += &format!("\nserver: {mb:.0} MB at most\n");
    }
    match (&found.headline, &found.refused) {
        (Some(headline), _) => text += &format!("\n{headline}\n"),
        (None, Some(reason)) => text += &format!("\nno headline: {reason}\n"),
        (None, None) => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that failed or held, with this share of the machine taken by other programs.
    fn row(name: &'static str, rate: f64, held: bool, others: f64) -> Row {
        let sent = client::Sent { status: Some(200), latency_ms: 5.0, behind_ms: 0.0, waited: false };
        let shares = processor::Shares { generator: Some(0.01), server: None, others: Some(others) };
        let bound = if held { 10.0 } else { 1.0 };
        Row::new(name, rate, Some(bound), 1000, &[sent; 1000], 10.0, shares)
    }

    #[test]
    fn a_rate_is_the_highest_only_if_the_next_one_failed_by_itself() {
        let (quiet, busy) = (0.01, 0.5);
        let mut runs = vec![
            row("search", 100.0, true, quiet),
            row("search", 150.0, false, busy),
            row("search", 150.0, false, quiet),
            row("search", 105.0, false, quiet),
            row("highest", 100.0, true, quiet),
            row("twice", 200.0, false, busy),
        ];
        assert_eq!(limit(&runs, 100.0), Ok(()));
        // All runs at the rate above were disturbed.
        runs[3] = row("search", 105.0, false, busy);
        let problem = limit(&runs, 100.0).unwrap_err();
        assert!(problem.contains("105.0 may hold too") && problem.contains("50 %"), "{problem}");
        runs.push(row("search", 105.0, false, quiet));
        assert_eq!(limit(&runs, 100.0), Ok(()));
        // So was the run that failed to confirm a rate.
        runs.push(row("highest", 101.0, false, busy));
        assert!(limit(&runs, 100.0).is_err());
        assert_eq!(limit(&runs[..1], 100.0), Ok(()), "nothing above was tried");
    }

    #[test]
    fn a_run_is_ended_when_it_cannot_pass_any_more() {
        for requests in [662, 1000, 5000] {
            let most = most_over(requests);
            assert!(early_stopping::passes(requests, most.max(1), PERCENTILE), "{requests}");
            assert!(!early_stopping::passes(requests, most + 1, PERCENTILE), "{requests}: {most}");
        }
        assert_eq!(most_over(100), 0);
    }
}
