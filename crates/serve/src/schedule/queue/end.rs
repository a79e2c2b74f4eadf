//! How requests end: done, late, abandoned or stopped.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Done, Jobs, Outcome, Owner, Queue, cost, lock};
use crate::work::{AnyJob, Key};

impl Queue {
    /// Forgets a client of which nothing waits.
    pub(super) fn forget_idle(&mut self, id: u64) {
        let Some(client) = self.requests.get(&id).map(|request| request.client) else { return };
        if self.clients.get(&client).is_some_and(|share| share.requests.is_empty()) {
            self.clients.remove(&client);
        }
        if self.clients.is_empty() {
            // Rounding must not stay behind.
            (self.tokens, self.seconds) = (0, 0.0);
        }
    }

    /// Gives up the requests that waited longer than they were allowed to.
    pub(super) fn drop_late(&mut self, now: Instant) {
        let waits = self.clients.values().flat_map(|share| &share.requests);
        let late: Vec<u64> = waits
            .filter(|(_, id)| self.requests.get(id).is_some_and(|request| request.deadline <= now))
            .map(|(_, id)| *id)
            .collect();
        for id in late {
            self.counters.late += 1;
            self.end(id, Outcome::Late);
        }
    }

    /// Takes a request off whose client waits no longer.
    pub(in crate::schedule) fn cancel(&mut self, id: u64, late: bool) {
        if self.requests.contains_key(&id) {
            match late {
                true => self.counters.late += 1,
                false => self.counters.gone += 1,
            }
            self.end(id, Outcome::Late);
        }
    }

    /// Ends a request with an outcome other than its results. What is in a pass goes on, for nobody.
    pub(in crate::schedule) fn end(&mut self, id: u64, outcome: Outcome) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let left: usize = request.units.iter().map(|(_, _, planned)| planned.tokens).sum();
        let seconds: f64 = request.units.iter().map(|(_, _, planned)| cost(planned.tokens)).sum();
        let seconds = seconds * request.pace;
        request.units.clear();
        if let Some(reply) = request.reply.take() {
            // The client may have gone.
            let _ = reply.send(outcome);
        }
        let (client, order) = (request.client, request.order);
        if let Some(share) = self.clients.get_mut(&client) {
            share.requests.remove(&(order, id));
            share.tokens = share.tokens.saturating_sub(left);
            share.seconds = (share.seconds - seconds).max(0.0);
        }
        self.tokens = self.tokens.saturating_sub(left);
        self.seconds = (self.seconds - seconds).max(0.0);
        self.forget_idle(id);
        self.requests.remove(&id);
    }

    /// Returns the owners of a sequence whose rows have come, and marks it as not running.
    pub(in crate::schedule) fn owners(&mut self, key: &Key) -> Vec<Owner> {
        self.running.remove(key).unwrap_or_default()
    }

    /// Counts a sequence as accepted by its owner. If it was the last one, the request is taken off, to be
    /// finished and answered by the caller.
    pub(in crate::schedule) fn accepted(&mut self, owner: &Owner, now: Instant) -> Option<Finished> {
        let request = self.requests.get_mut(&owner.request)?;
        request.waiting = request.waiting.saturating_sub(1);
        if request.waiting > 0 {
            return None;
        }
        let mut request = self.requests.remove(&owner.request)?;
        let began = request.began.unwrap_or(now);
        Some(Finished {
            jobs: request.jobs,
            reply: request.reply.take()?,
            queued: began.saturating_duration_since(request.arrived),
            computed: now.saturating_duration_since(began),
        })
    }
}

/// A request whose rows are all there.
pub(in crate::schedule) struct Finished {
    jobs: Jobs,
    reply: oneshot::Sender<Outcome>,
    queued: Duration,
    computed: Duration,
}

impl Finished {
    /// Takes the results of all jobs and answers.
    pub(in crate::schedule) fn answer(
        self,
        finish: impl Fn(&mut AnyJob) -> Result<crate::work::Found, Outcome>,
    ) {
        let found: Result<Vec<_>, Outcome> = self.jobs.iter().map(|job| finish(&mut lock(job))).collect();
        let outcome = match found {
            Ok(found) => Outcome::Done(Done { found, queued: self.queued, computed: self.computed }),
            Err(outcome) => outcome,
        };
        // The client may have gone.
        let _ = self.reply.send(outcome);
    }
}
