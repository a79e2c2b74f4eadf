//! The queue: who is admitted, and whose sequence is next. It is data without threads.

mod end;
mod pick;
#[cfg(test)]
mod tests;

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
    /// An address, where there are no keys, or the network of one.
    Address(IpAddr),
    /// Anyone on this machine's socket file.
    Local,
}

impl Client {
    /// Returns whom an address belongs to. Whoever has one of IPv6 usually has all of the 2^64 that begin with
    /// the same 64 bits.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => IpAddr::V4(address),
                None => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
            },
            address => address,
        })
    }
}

/// Three panics within this time make the server not ready.
const PANIC_TIME: Duration = Duration::from_secs(60);

/// A client may have this many times as much of the queue as it leaves to others, so one alone gets eight
/// ninths of it, and there is always room for one who comes.
const MOST_OF_REST: usize = 8;

/// Returns a time that was computed.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

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
    /// What of it waits, in tokens and in seconds of one worker.
    tokens: usize,
    seconds: f64,
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
    /// When the passes that run are expected to end.
    ends: Vec<Instant>,
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
            ends: Vec::new(),
            closed: false,
            panics: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Returns how long a new request of a client would wait until its first sequence begins, which costs
    /// `first` seconds of a worker. What the client has in the queue comes before, and each other client gets
    /// its share meanwhile, but not all that it has in the queue. If no worker is idle, the passes that run
    /// have to end.
    fn expected_wait(&self, client: Client, first: f64, now: Instant) -> Duration {
        let own = self.clients.get(&client).map_or(0.0, |share| share.seconds);
        let others = self.clients.iter().filter(|(other, _)| **other != client);
        let others: f64 = others.map(|(_, share)| share.seconds.min(own + first)).sum();
        let rest = |end: &Instant| end.saturating_duration_since(now).as_secs_f64();
        let running = if self.idle > 0 { 0.0 } else { self.ends.iter().map(rest).sum() };
        seconds((own + others + running) / self.workers())
    }

    /// Returns how long the last pass of a new request takes, which is full if enough waits, and how long all
    /// of its passes would take if nothing else were there. It costs so many seconds of a worker.
    fn expected_passes(&self, plan: &Plan, cost: f64) -> (Duration, Duration) {
        let (all, tokens) = (self.seconds + cost, self.tokens + plan.tokens);
        let full = all * (self.limits.budget as f64 / tokens.max(1) as f64).min(1.0);
        let longest = plan.units.iter().map(|(_, _, planned)| planned.tokens).max().unwrap_or(0);
        let alone = (cost / self.workers()).max(super::cost(longest) * plan.lane.pace());
        (seconds(alone.max(full)), seconds(alone))
    }

    fn workers(&self) -> f64 {
        self.limits.workers.max(1) as f64
    }

    /// Returns true if there is room for more tokens of a client. The more of the queue a client has, the
    /// more must be left for others; whoever has nothing in it may use all that is left.
    fn has_room(&self, client: Client, tokens: usize) -> bool {
        let Some(left) = self.limits.queue.checked_sub(self.tokens + tokens) else { return false };
        let own = self.clients.get(&client).map_or(0, |share| share.tokens);
        own == 0 || own + tokens <= left.saturating_mul(MOST_OF_REST)
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
        let pace = plan.lane.pace();
        let first = plan.units.first().map_or(0.0, |(_, _, planned)| cost(planned.tokens) * pace);
        let wait = self.expected_wait(client, first, now);
        let (last, alone) = self.expected_passes(&plan, plan.cost * pace);
        // A result that would come too late is work for nobody, and makes the next one late too. One that
        // would be late even alone is tried, because nothing else stands in its way.
        let left = deadline.saturating_duration_since(now);
        let in_time = wait <= left && (wait.saturating_add(last) <= left || alone > left);
        if !self.has_room(client, plan.tokens) || !in_time {
            return Err(Rejected::Busy(wait));
        }
        let id = self.next;
        self.next += 1;
        self.tokens += plan.tokens;
        let seconds = plan.cost * pace;
        self.seconds += seconds;
        let (tokens, now_served) = (plan.tokens, self.now);
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
        let new = || Share { time: now_served, ..Share::default() };
        let share = self.clients.entry(client).or_insert_with(new);
        share.requests.insert((deadline, id));
        share.tokens += tokens;
        share.seconds += seconds;
        self.requests.insert(id, request);
        Ok(id)
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

    /// Counts a worker as one that has nothing to do. If it ran a pass, that has ended, most likely the one
    /// that was expected to end first.
    pub(super) fn begin_idle(&mut self) {
        self.idle += 1;
        let first = self.ends.iter().enumerate().min_by_key(|(_, end)| **end);
        if let Some((first, _)) = first {
            self.ends.swap_remove(first);
        }
    }

    /// Counts a worker as one that runs a pass, which is expected to take so many seconds.
    pub(super) fn end_idle(&mut self, now: Instant, pass: f64) {
        self.idle = self.idle.saturating_sub(1);
        self.ends.push(now.checked_add(seconds(pass)).unwrap_or(now));
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
