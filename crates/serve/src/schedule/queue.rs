//! The queue: who is admitted, and whose sequence is next. It is data without threads.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Done, Lane, Limits, Outcome, Plan, Planned, Rejected, cost, lock};
use crate::work::{AnyJob, Key};

/// Whom a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// The API key of that number.
    Key(usize),
    /// An address, where there are no keys.
    Address(IpAddr),
    /// Anyone on this machine's socket file.
    Local,
}

/// The number of candidates that are tried for the rest of a pass.
const TRIES: usize = 32;

/// The least number of tokens that is worth a pass of its own while another worker is idle.
const SMALL_PASS: usize = 64;

/// Three panics within this time make the server not ready.
const PANIC_TIME: Duration = Duration::from_secs(60);

/// The jobs of a request. The workers share them, each job behind its own lock.
pub(super) type Jobs = Arc<Vec<Mutex<AnyJob>>>;

/// A request of which sequences wait or run.
struct Request {
    client: Client,
    lane: Arc<Lane>,
    /// The lane's pace when the request was admitted. What was added to the queue's seconds at this pace is
    /// taken off at it too.
    pace: f64,
    deadline: Instant,
    arrived: Instant,
    /// When its first sequence was picked.
    began: Option<Instant>,
    jobs: Jobs,
    /// The sequences that were not picked yet: the job, the job's index, and the plan.
    units: VecDeque<(usize, usize, Planned)>,
    /// The number of sequences whose rows it waits for.
    waiting: usize,
    /// Its place among those of its client: the deadline, later by twice the time of the work that it got.
    order: Instant,
    reply: Option<oneshot::Sender<Outcome>>,
}

/// The sequences of one client that wait.
#[derive(Debug, Default)]
struct Share {
    /// The work that the client got, in seconds of a worker, counted from that of the others.
    time: f64,
    requests: BTreeSet<(Instant, u64)>,
}

/// A sequence that was picked, to be run by the worker that picked it.
#[derive(Debug, Clone)]
pub(super) struct Picked {
    pub(super) key: Key,
    pub(super) owner: Owner,
    pub(super) tokens: usize,
}

/// Who gets the rows of a sequence.
#[derive(Clone)]
pub(super) struct Owner {
    pub(super) request: u64,
    pub(super) jobs: Jobs,
    pub(super) job: usize,
    pub(super) index: usize,
}

/// What the queue has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) passes: u64,
    pub(crate) sequences: u64,
    pub(crate) tokens: u64,
    /// Sequences that were equal to one in flight and so were not run.
    pub(crate) shared: u64,
    /// Requests that were given up because of their deadline.
    pub(crate) late: u64,
    /// Requests whose client went away.
    pub(crate) gone: u64,
    pub(crate) panics: u64,
}

/// The state of the queue at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Snapshot {
    pub(crate) counters: Counters,
    /// Tokens that wait, and the requests that are not answered.
    pub(crate) tokens: usize,
    pub(crate) requests: usize,
    /// True if there were three panics within a minute.
    pub(crate) panicking: bool,
}

/// The queue of all models.
pub(super) struct Queue {
    limits: Limits,
    requests: HashMap<u64, Request>,
    clients: HashMap<Client, Share>,
    /// The time of the share that was served last, from which new clients start.
    now: f64,
    next: u64,
    /// The owners of each sequence that is in a pass now.
    running: HashMap<Key, Vec<Owner>>,
    /// What waits, in tokens and in seconds of one worker.
    tokens: usize,
    seconds: f64,
    idle: usize,
    closed: bool,
    panics: VecDeque<Instant>,
    pub(super) counters: Counters,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("requests", &self.requests.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: HashMap::new(),
            clients: HashMap::new(),
            now: 0.0,
            next: 0,
            running: HashMap::new(),
            tokens: 0,
            seconds: 0.0,
            idle: 0,
            closed: false,
            panics: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Returns how long a new request would wait: the work that waits, shared among the workers.
    pub(super) fn expected_wait(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds / self.limits.workers.max(1) as f64).unwrap_or_default()
    }

    /// Takes a request, whole or not at all.
    pub(super) fn admit(
        &mut self,
        plan: Plan,
        client: Client,
        now: Instant,
        deadline: Instant,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<u64, Rejected> {
        if self.closed {
            return Err(Rejected::Closed);
        }
        if plan.tokens > self.limits.queue {
            return Err(Rejected::TooLong { tokens: plan.tokens, limit: self.limits.queue });
        }
        if deadline <= now {
            self.counters.late += 1;
            return Err(Rejected::Late);
        }
        let wait = self.expected_wait();
        let in_time = now.checked_add(wait).is_some_and(|begin| begin <= deadline);
        if self.tokens + plan.tokens > self.limits.queue || !in_time {
            return Err(Rejected::Busy(wait));
        }
        let id = self.next;
        self.next += 1;
        self.tokens += plan.tokens;
        let pace = plan.lane.pace();
        self.seconds += plan.cost * pace;
        let waiting = plan.units.len();
        let request = Request {
            client,
            lane: plan.lane,
            pace,
            deadline,
            arrived: now,
            began: None,
            jobs: Arc::new(plan.jobs.into_iter().map(Mutex::new).collect()),
            units: plan.units.into(),
            waiting,
            order: deadline,
            reply: Some(reply),
        };
        let share =
            self.clients.entry(client).or_insert_with(|| Share { time: self.now, ..Share::default() });
        share.requests.insert((deadline, id));
        self.requests.insert(id, request);
        Ok(id)
    }

    /// Takes sequences for a pass of one model, or nothing if none waits.
    pub(super) fn pick(&mut self, now: Instant) -> Option<(Arc<Lane>, Vec<Picked>)> {
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
    fn take(&mut self, id: u64, now: Instant) -> Option<(Arc<Lane>, Option<Picked>)> {
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

    /// Forgets a client of which nothing waits.
    fn forget_idle(&mut self, id: u64) {
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
    fn drop_late(&mut self, now: Instant) {
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
    pub(super) fn cancel(&mut self, id: u64, late: bool) {
        if self.requests.contains_key(&id) {
            match late {
                true => self.counters.late += 1,
                false => self.counters.gone += 1,
            }
            self.end(id, Outcome::Late);
        }
    }

    /// Ends a request with an outcome other than its results. What is in a pass goes on, for nobody.
    pub(super) fn end(&mut self, id: u64, outcome: Outcome) {
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
        }
        self.tokens = self.tokens.saturating_sub(left);
        self.seconds = (self.seconds - seconds).max(0.0);
        self.forget_idle(id);
        self.requests.remove(&id);
    }

    /// Returns the owners of a sequence whose rows have come, and marks it as not running.
    pub(super) fn owners(&mut self, key: &Key) -> Vec<Owner> {
        self.running.remove(key).unwrap_or_default()
    }

    /// Counts a sequence as accepted by its owner. If it was the last one, the request is taken off, to be
    /// finished and answered by the caller.
    pub(super) fn accepted(&mut self, owner: &Owner, now: Instant) -> Option<Finished> {
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

    pub(super) fn panicked(&mut self, now: Instant) {
        self.counters.panics += 1;
        self.panics.push_back(now);
        if self.panics.len() > 3 {
            self.panics.pop_front();
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let recent = |at: &&Instant| now.saturating_duration_since(**at) < PANIC_TIME;
        Snapshot {
            counters: self.counters,
            tokens: self.tokens,
            requests: self.requests.len(),
            panicking: self.panics.iter().filter(recent).count() >= 3,
        }
    }

    pub(super) fn set_idle(&mut self, idle: bool) {
        match idle {
            true => self.idle += 1,
            false => self.idle = self.idle.saturating_sub(1),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Ends all requests and takes no new ones.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let ids: Vec<u64> = self.requests.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end(id, Outcome::Stopped));
    }
}

/// A request whose rows are all there.
pub(super) struct Finished {
    jobs: Jobs,
    reply: oneshot::Sender<Outcome>,
    queued: Duration,
    computed: Duration,
}

impl Finished {
    /// Takes the results of all jobs and answers.
    pub(super) fn answer(self, finish: impl Fn(&mut AnyJob) -> Result<crate::work::Found, Outcome>) {
        let found: Result<Vec<_>, Outcome> = self.jobs.iter().map(|job| finish(&mut lock(job))).collect();
        let outcome = match found {
            Ok(found) => Outcome::Done(Done { found, queued: self.queued, computed: self.computed }),
            Err(outcome) => outcome,
        };
        // The client may have gone.
        let _ = self.reply.send(outcome);
    }
}

#[cfg(test)]
mod accounting {
    use super::*;
    use crate::work::{RawJob, Rows, Runs, Unit};

    struct Nothing;

    impl Runs for Nothing {
        fn run(&self, _: &[Unit]) -> mobilebert::Result<Rows> {
            Ok(Rows::default())
        }
    }

    fn plan(lane: &Arc<Lane>, id: u32) -> Plan {
        let unit = Unit { ids: vec![id; 100], types: vec![0; 100], requested: Vec::new() };
        Plan::new(Arc::clone(lane), vec![Box::new(RawJob::new(unit, 1))], 1).unwrap()
    }

    #[test]
    fn a_deadline_that_has_passed_is_late_and_not_too_much() {
        let lane = Lane::new(Arc::new(Nothing), 1e-3);
        let mut queue = Queue::new(Limits { workers: 1, budget: 512, queue: 10_000 });
        let now = Instant::now();
        let admitted = queue.admit(plan(&lane, 1), Client::Local, now, now, oneshot::channel().0);
        assert_eq!(admitted, Err(Rejected::Late));
        assert_eq!(queue.counters.late, 1);
    }

    /// What a request adds to the expected wait is what it takes off, however the pace changed meanwhile.
    #[test]
    fn the_expected_wait_forgets_what_it_counted() {
        let lane = Lane::new(Arc::new(Nothing), 1e-3);
        let mut queue = Queue::new(Limits { workers: 1, budget: 512, queue: 10_000 });
        let now = Instant::now();
        let admit = |queue: &mut Queue, id| {
            let later = now + Duration::from_secs(1000);
            queue.admit(plan(&lane, id), Client::Local, now, later, oneshot::channel().0).unwrap()
        };
        let (first, second) = (admit(&mut queue, 1), admit(&mut queue, 2));
        (0..50).for_each(|_| lane.observe(1.0, 1.0));
        let _third = admit(&mut queue, 3);
        let slow = cost(100) * lane.pace();
        queue.cancel(first, false);
        queue.take(second, now).unwrap();
        let left = queue.expected_wait().as_secs_f64();
        assert!((left - slow).abs() < 1e-6 * slow, "{left} {slow}");
    }
}
