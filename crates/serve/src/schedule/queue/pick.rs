//! Which sequences run next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Lane, Owner, Picked, Planned, Queue, Share, cost};

/// The number of candidates that are tried for the rest of a pass.
const TRIES: usize = 32;

/// The least number of tokens that is worth a pass of its own while another worker is idle.
const SMALL_PASS: usize = 64;

impl Queue {
    /// Takes sequences for a pass of one model, or nothing if none waits.
    pub(in crate::schedule) fn pick(&mut self, now: Instant) -> Option<(Arc<Lane>, Vec<Picked>)> {
        self.drop_late(now);
        let mut pass: Option<(Arc<Lane>, Vec<Picked>)> = None;
        let (mut tokens, mut room) = (0, self.limits.budget);
        loop {
            let lane = pass.as_ref().map(|(lane, _)| lane.id);
            let Some(id) = self.best(lane, room.saturating_sub(tokens)) else { break };
            if lane.is_none() {
                // What waits is shared among the workers that have nothing to do.
                let share = self.tokens.div_ceil(self.idle.max(1));
                room = share.max(SMALL_PASS).min(self.limits.budget);
            }
            let Some((lane, picked)) = self.take(id, now) else { break };
            // What is equal to a sequence that runs needs no pass.
            if let Some(picked) = picked {
                tokens += picked.tokens;
                pass.get_or_insert_with(|| (lane, Vec::new())).1.push(picked);
            }
        }
        let pass = pass?;
        self.counters.passes += 1;
        self.counters.sequences += pass.1.len() as u64;
        self.counters.tokens += tokens as u64;
        Some(pass)
    }

    /// Finds the request whose next sequence comes first, among those of a lane whose next sequence fits.
    /// The first sequence of a pass may be of any lane and of any length.
    fn best(&self, lane: Option<u64>, room: usize) -> Option<u64> {
        let mut shares: Vec<&Share> =
            self.clients.values().filter(|share| !share.requests.is_empty()).collect();
        shares.sort_by(|a, b| a.time.total_cmp(&b.time).then_with(|| a.requests.cmp(&b.requests)));
        let mut candidates = shares.into_iter().flat_map(|share| &share.requests).take(TRIES);
        let fits = |id: &u64| {
            let request = self.requests.get(id)?;
            let (_, _, next) = request.units.front()?;
            lane.is_none_or(|lane| lane == request.lane.id && next.tokens <= room).then_some(*id)
        };
        candidates.find_map(|(_, id)| fits(id))
    }

    /// Takes the next sequence of a request. There is none to run if an equal one runs already.
    pub(super) fn take(&mut self, id: u64, now: Instant) -> Option<(Arc<Lane>, Option<Picked>)> {
        let request = self.requests.get_mut(&id)?;
        let (job, index, Planned { tokens, key }) = request.units.pop_front()?;
        request.began.get_or_insert(now);
        let seconds = cost(tokens) * request.pace;
        self.tokens = self.tokens.saturating_sub(tokens);
        self.seconds = (self.seconds - seconds).max(0.0);
        let owner = Owner { request: id, jobs: Arc::clone(&request.jobs), job, index };
        let lane = Arc::clone(&request.lane);
        let used = if self.running.contains_key(&key) { 0.0 } else { seconds };
        if let Some(share) = self.clients.get_mut(&request.client) {
            share.requests.remove(&(request.order, id));
            share.tokens = share.tokens.saturating_sub(tokens);
            share.seconds = (share.seconds - seconds).max(0.0);
            self.now = self.now.max(share.time);
            share.time += used;
            // A request that got work waits behind those that came meanwhile, so a long one holds up nobody.
            request.order += Duration::try_from_secs_f64(2.0 * used).unwrap_or_default();
            if !request.units.is_empty() {
                share.requests.insert((request.order, id));
            }
        }
        self.forget_idle(id);
        let picked = match self.running.get_mut(&key) {
            Some(owners) => {
                owners.push(owner);
                self.counters.shared += 1;
                None
            }
            None => {
                self.running.insert(key, vec![owner.clone()]);
                Some(Picked { key, owner, tokens })
            }
        };
        Some((lane, picked))
    }
}
