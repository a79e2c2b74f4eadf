//! From a body to a result: tokens, a place in the queue, rows, and what becomes of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Seen;
use crate::budget::Part;
use crate::call::{Render, Run, Step, too_many_sequences};
use crate::error::{Kind, Refusal, Result};
use crate::models::Served;
use crate::schedule::{Client, Outcome, Plan, Rejected};
use crate::state::Server;
use crate::work::Found;

/// Bodies up to this length are read and tokenised at once: that takes less than a thread's turn.
pub(super) const SHORT_BODY: usize = 4096;

/// Who asks, and how much time there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) client: Client,
    pub(super) began: Instant,
    pub(super) deadline: Duration,
    /// True if reading the body takes too long for the threads that serve everyone.
    pub(super) long: bool,
}

/// Lets a dialect read a request, runs its jobs, and makes its reply. `counted` is the memory of its body.
pub(super) async fn run<R: Send + 'static>(
    server: &Server,
    asked: Asked,
    counted: &Arc<Part>,
    read: impl FnOnce() -> Result<Step<R>> + Send + 'static,
    seen: &mut Seen,
) -> Result<R> {
    let Asked { client, began, deadline, long } = asked;
    let (start, most) = (Instant::now(), server.config.max_windows);
    let held = Arc::clone(counted);
    let prepare = move || {
        let prepared = guarded(|| prepared(read()?, most));
        drop(held);
        prepared
    };
    let prepared = off_thread(server, long, began + deadline, prepare).await?;
    seen.prepared = start.elapsed();
    seen.step("parse", start, seen.prepared);
    let (model, plan, wanted, render) = match prepared {
        Prepared::Reply(reply) => return Ok(reply),
        Prepared::Run { model, plan, inputs, deadline, render } => {
            (seen.inputs, seen.sequences, seen.tokens) = (inputs, plan.sequences(), plan.tokens());
            seen.model = Some(Arc::clone(&model));
            (model, plan, deadline, render)
        }
    };
    let wanted = wanted.map(|time| time.min(server.config.max_deadline));
    let deadline = began + wanted.unwrap_or(deadline);
    let found = compute(server, client, plan, deadline, seen).await?;
    let long = long || model.row_width() > SHORT_BODY || found.len() > 16;
    let start = Instant::now();
    let held = Arc::clone(counted);
    let finish = move || {
        let reply = guarded(|| render(found));
        drop(held);
        reply
    };
    let reply = off_thread(server, long, deadline, finish).await;
    seen.step("finish", start, start.elapsed());
    reply
}

/// A request whose texts are tokens.
enum Prepared<R> {
    Reply(R),
    Run { model: Arc<Served>, plan: Plan, inputs: usize, deadline: Option<Duration>, render: Render<R> },
}

fn prepared<R>(step: Step<R>, most: usize) -> Result<Prepared<R>> {
    match step {
        Step::Reply(reply) => Ok(Prepared::Reply(reply)),
        Step::Run(Run { model, lane, jobs, inputs, deadline, render }) => {
            let Some(plan) = Plan::new(lane, jobs, most) else {
                return Err(too_many_sequences(most));
            };
            if plan.sequences() == 0 {
                return Err(Refusal::malformed("there is nothing to compute; send at least one text"));
            }
            Ok(Prepared::Run { model, plan, inputs, deadline, render })
        }
    }
}

/// Runs a step, whose panic is a fault of this request only.
fn guarded<T>(step: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
        Err(Refusal::new(Kind::Internal, "panic", "the server failed on this request; please report it"))
    })
}

/// The deadline passed.
pub(super) fn late() -> Refusal {
    Refusal::new(Kind::Late, "deadline_exceeded", "the deadline passed before the result was there")
}

/// Runs a step here if it is short, else on another thread, of which there are a few, and waits for it until
/// the deadline. The step owns its place among them, so steps whose client has gone, or that take longer than
/// anyone waits, do not heap up; one that did not begin by then does nothing.
pub(super) async fn off_thread<T: Send + 'static>(
    server: &Server,
    long: bool,
    deadline: Instant,
    step: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if !long {
        return step();
    }
    let stops = || Refusal::unavailable("the server stops");
    let place = Arc::clone(&server.long_bodies).acquire_owned();
    let place = tokio::time::timeout_at(deadline.into(), place).await.map_err(|_| late())?;
    let place = place.map_err(|_| stops())?;
    let (sender, done) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        if !sender.is_closed() {
            // The client may go while the step runs.
            let _ = sender.send(step());
        }
    });
    match tokio::time::timeout_at(deadline.into(), done).await {
        Ok(Ok(result)) => result,
        // Without a result the step has panicked, or the server has no threads any more.
        Ok(Err(_)) => Err(stops()),
        Err(_) => Err(late()),
    }
}

/// Queues the jobs and waits for their results.
async fn compute(
    server: &Server,
    client: Client,
    plan: Plan,
    deadline: Instant,
    seen: &mut Seen,
) -> Result<Vec<Found>> {
    let submitted = Instant::now();
    let mut ticket = match server.scheduler.submit(plan, client, deadline) {
        Ok(ticket) => ticket,
        Err(Rejected::Busy(wait)) => {
            let message = format!("too much is queued; expected wait {:.1} s", wait.as_secs_f64());
            let refusal = Refusal::new(Kind::Overloaded, "overloaded", message);
            return Err(Refusal { retry_after: Some(wait), ..refusal });
        }
        Err(Rejected::TooLong { tokens, limit }) => {
            let message =
                format!("the texts have {tokens} tokens; expected at most {limit} (--queue-tokens)");
            return Err(Refusal::too_large(message));
        }
        Err(Rejected::Late) => return Err(late()),
        Err(Rejected::Closed) => return Err(Refusal::unavailable("the server is about to stop").closing()),
    };
    let outcome = match tokio::time::timeout_at(deadline.into(), ticket.outcome()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            ticket.give_up_late();
            return Err(late());
        }
    };
    match outcome {
        Outcome::Done(done) => {
            (seen.took.queued, seen.took.computed) = (done.queued, done.computed);
            seen.step("queue", submitted, done.queued);
            seen.step("pass", submitted + done.queued, done.computed);
            Ok(done.found)
        }
        Outcome::Failed(error) => Err(error.into()),
        Outcome::Panicked => {
            Err(Refusal::new(Kind::Internal, "panic", "the model failed on this request; please report it"))
        }
        Outcome::Late => Err(late()),
        Outcome::Stopped => {
            server.left_unanswered.store(true, Ordering::Release);
            Err(Refusal::unavailable("the server stopped before the result was there").closing())
        }
    }
}
