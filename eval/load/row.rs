//! One run as a row of the table.

use mobilebert::profile::{Summary, summarize};
use serde::Serialize;

use super::client::Sent;
use super::processor::Shares;
use super::{PERCENTILE, early_stopping};

/// The most of the machine that the generator may take. With more, it is part of what it measures.
const MOST_SHARE: f64 = 0.15;
/// The most of the machine that programs other than generator and server may take.
const MOST_OTHERS: f64 = 0.15;
/// The generator fell behind if one request of a hundred was sent so much too late: by this share of the 99th
/// percentile, but not below this many milliseconds.
const MOST_BEHIND: (f64, f64) = (0.1, 1.0);

/// The measurements of a run. Times are in milliseconds; those of answers count from when a request was due.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(super) name: &'static str,
    /// Requests a second that were due.
    pub(super) rate: f64,
    pub(super) requests: usize,
    /// Answers of status 200, those of 429 and 503, and everything else.
    pub(super) answered: usize,
    pub(super) refused: usize,
    pub(super) failed: usize,
    /// Answers of status 200 a second.
    pub(super) answered_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
    /// Early-stopping estimate of the 99th percentile of all requests, if all of them were answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) claimed_ms: Option<f64>,
    /// Whether so few had no result within the bound that it can be claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) met: Option<bool>,
    /// The 99th percentile of the time to a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused_p99_ms: Option<f64>,
    /// Requests for which no connection was free when they were due.
    pub(super) waited: usize,
    /// The 99th percentile of the generator's own delay.
    pub(super) behind_ms: f64,
    /// Shares of the whole machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generator_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) others_share: Option<f64>,
    /// True if it was ended before all requests were sent, because the bound was lost.
    pub(super) ended_early: bool,
}

impl Row {
    /// Makes the row of a run on one connection.
    pub(super) fn alone(times: &[f64], shares: Shares) -> Self {
        let seconds = times.iter().sum::<f64>() / 1e3;
        let of = |&latency_ms| Sent { status: Some(200), latency_ms, behind_ms: 0.0, waited: false };
        let sent: Vec<Sent> = times.iter().map(of).collect();
        let row = Self::new("alone", 0.0, None, sent.len(), &sent, seconds, shares);
        Self { rate: row.answered_per_second, ..row }
    }

    pub(super) fn new(
        name: &'static str,
        rate: f64,
        bound: Option<f64>,
        due: usize,
        sent: &[Sent],
        seconds: f64,
        shares: Shares,
    ) -> Self {
        let times = |keep: fn(u16) -> bool| -> Vec<f64> {
            let kept = sent.iter().filter(|sent| sent.status.is_some_and(keep));
            let mut times: Vec<f64> = kept.map(|sent| sent.latency_ms).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        let (answered, refused) =
            (times(|status| status == 200), times(|status| [429, 503].contains(&status)));
        let of = |times: &[f64], field: fn(&Summary) -> f64| summarize(times).map(|s| field(&s));
        let percentile = |field| of(&answered, field).unwrap_or(0.0);
        // With too few requests nothing can be said.
        let enough = due >= early_stopping::fewest(PERCENTILE);
        let met = bound.filter(|_| enough).map(|bound| {
            let within = answered.iter().filter(|&&time| time <= bound).count();
            early_stopping::passes(due, (due - within).max(1), PERCENTILE)
        });
        let all = answered.len() == due;
        let behind: Vec<f64> = sent.iter().map(|sent| sent.behind_ms).collect();
        Self {
            name,
            rate,
            requests: due,
            answered: answered.len(),
            refused: refused.len(),
            failed: sent.len() - answered.len() - refused.len(),
            answered_per_second: answered.len() as f64 / seconds.max(1e-9),
            p50_ms: percentile(|s| s.p50),
            p90_ms: percentile(|s| s.p90),
            p99_ms: percentile(|s| s.p99),
            max_ms: percentile(|s| s.max),
            claimed_ms: early_stopping::estimate(&answered, PERCENTILE).filter(|_| all).map(|e| e.latency),
            met,
            refused_p99_ms: of(&refused, |s| s.p99),
            waited: sent.iter().filter(|sent| sent.waited).count(),
            behind_ms: of(&behind, |s| s.p99).unwrap_or(0.0),
            generator_share: shares.generator,
            server_share: shares.server,
            others_share: shares.others,
            ended_early: sent.len() < due,
        }
    }

    /// The reason why the run says little about the server, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        let percent = |share: f64| 100.0 * share;
        let (share, least) = MOST_BEHIND;
        match (self.generator_share, self.others_share) {
            (None, _) => Some("this system does not say how much of it the generator took".to_owned()),
            (Some(own), _) if own > MOST_SHARE => Some(format!(
                "the generator took {:.0} % of the machine; at most {:.0} % are fair",
                percent(own),
                percent(MOST_SHARE)
            )),
            (_, Some(others)) if others > MOST_OTHERS => {
                Some(format!("the machine is busy: other programs took {:.0} % of it", percent(others)))
            }
            _ if self.behind_ms > least.max(share * self.p99_ms) => Some(format!(
                "the generator fell behind: one request of a hundred was sent {:.1} ms late",
                self.behind_ms
            )),
            _ => None,
        }
    }

    /// The head of the table.
    pub(super) const HEAD: &'static str = "run        rate/s  requests  refused  failed    ok/s     p50     \
        p90     p99     max ms  generator  server  behind ms\n";

    /// The row as a line of the table.
    pub(super) fn line(&self) -> String {
        let share =
            |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        let mark = match (self.met, self.ended_early) {
            (Some(true), _) => "  within the bound",
            (Some(false), true) => "  ended: above the bound",
            (Some(false), false) => "  above the bound",
            (None, _) => "",
        };
        format!(
            "{:<8} {:>8.1}  {:>8}  {:>7}  {:>6}  {:>6.1}  {:>6.1}  {:>6.1}  {:>6.1}  {:>9.1}  {:>9}  {:>6}  \
             {:>9.2}{mark}\n",
            self.name,
            self.rate,
            self.requests,
            self.refused,
            self.failed,
            self.answered_per_second,
            self.p50_ms,
            self.p90_ms,
            self.p99_ms,
            self.max_ms,
            share(self.generator_share),
            share(self.server_share),
            self.behind_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(status: Option<u16>, latency_ms: f64) -> Sent {
        Sent { status, latency_ms, behind_ms: 0.0, waited: false }
    }

    fn quiet() -> Shares {
        Shares { generator: Some(0.02), server: None, others: None }
    }

    #[test]
    fn refusals_failures_and_what_was_not_sent_count_against_the_bound() {
        let good = vec![sent(Some(200), 5.0); 1000];
        let row = |sent: &[Sent]| Row::new("given", 100.0, Some(10.0), 1000, sent, 10.0, quiet());
        assert_eq!((row(&good).met, row(&good).claimed_ms), (Some(true), Some(5.0)));
        for bad in [sent(Some(200), 11.0), sent(Some(429), 1.0), sent(Some(500), 1.0), sent(None, 1.0)] {
            let mut all = good.clone();
            all[..20].fill(bad);
            assert_eq!(row(&all).met, Some(false), "{bad:?}");
        }
        let early = row(&good[..900]);
        assert!(early.met == Some(false) && early.ended_early && early.claimed_ms.is_none());
        let mut mixed = good;
        mixed[0] = sent(Some(429), 3.0);
        mixed[1] = sent(None, 1.0);
        let row = row(&mixed);
        assert_eq!((row.answered, row.refused, row.failed, row.refused_p99_ms), (998, 1, 1, Some(3.0)));
        assert!((row.answered_per_second - 99.8).abs() < 1e-9 && row.claimed_ms.is_none());
    }

    #[test]
    fn a_generator_that_disturbs_or_is_late_is_refused() {
        let row = |behind_ms, shares| {
            let sent = vec![Sent { behind_ms, ..sent(Some(200), 20.0) }; 1000];
            Row::new("given", 100.0, None, 1000, &sent, 10.0, shares).problem()
        };
        assert_eq!(row(0.1, quiet()), None);
        let busy = row(0.1, Shares { generator: Some(0.16), ..quiet() }).unwrap();
        assert!(busy.contains("16 %") && busy.contains("at most 15 %"), "{busy}");
        let late = row(2.5, quiet()).unwrap();
        assert!(late.contains("fell behind") && late.contains("2.5 ms"), "{late}");
        assert_eq!(row(1.9, quiet()), None, "a tenth of the percentile is fine");
        let others = row(0.1, Shares { others: Some(0.3), ..quiet() }).unwrap();
        assert!(others.contains("machine is busy"), "{others}");
        assert!(row(0.1, Shares::default()).unwrap().contains("does not say"));
    }
}
