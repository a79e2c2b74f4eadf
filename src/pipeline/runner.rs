//! The loop that runs jobs. It puts their sequences into passes of bounded size and hands the rows back to
//! them.

use std::collections::VecDeque;

use super::control::{PassProgress, RunControl};
use super::job::Job;
use super::model::Model;
use super::pass::{Pass, PassRows, Sequence};
use crate::engine::Engine;
use crate::error::{Context as _, Error, ErrorKind, Result};

/// The number of tokens in a forward pass, unless one sequence is longer. Sentences of 13 tokens on a
/// 24-layer int8 model gave 1,240 texts/s in passes of 512 tokens, 1,217 in passes of 256 and 1,045 in passes
/// of 2,048, whose intermediate values leave the caches. Windows of 384 tokens take as long alone as two or four in
/// a pass (23.2 ms each on one thread).
const TOKENS_PER_PASS: usize = 512;

impl Model {
    /// Runs one job to its end.
    ///
    /// # Errors
    /// The errors of the job and of the engine; [`ErrorKind::Cancelled`] and [`ErrorKind::DeadlineExceeded`]
    /// as `control` says.
    pub fn run_one<J: Job>(&self, job: J, control: &mut RunControl<'_>) -> Result<J::Output> {
        let mut output = None;
        self.run_each([Ok(job)], control, |_, result| output = Some(result))?;
        // One job was taken up, so one result was delivered.
        output.unwrap_or_else(|| Err(no_sequence(0)))
    }

    /// Runs jobs together and returns a result for each, in their order. The jobs share forward passes, but
    /// no result depends on the others, and a job that fails costs the others nothing. A job that already
    /// is an error keeps its place.
    ///
    /// ```
    /// use mobilebert::{ErrorKind, RunControl, TextClassification};
    ///
    /// # fn main() -> mobilebert::Result<()> {
    /// let sentiment = TextClassification::open("sentiment")?;
    /// let texts = ["a joy to watch", "", "two hours of nothing"];
    /// let jobs = texts.iter().map(|text| sentiment.prepare_classify(text, sentiment.options()));
    /// let results = sentiment.model().run(jobs, &mut RunControl::default())?;
    /// assert_eq!(results[0].as_ref().unwrap().best().unwrap().label, "positive");
    /// assert!(matches!(results[1].as_ref().unwrap_err().kind(), ErrorKind::EmptyText { .. }));
    /// assert_eq!(results[2].as_ref().unwrap().best().unwrap().label, "negative");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] and [`ErrorKind::DeadlineExceeded`] as `control` says. The results so far are
    /// then lost; [`Model::run_each`] delivers them one by one.
    pub fn run<J: Job>(
        &self,
        jobs: impl IntoIterator<Item = Result<J>>,
        control: &mut RunControl<'_>,
    ) -> Result<Vec<Result<J::Output>>> {
        let mut results = Vec::new();
        self.run_each(jobs, control, |_, result| results.push(result))?;
        Ok(results)
    }

    /// Does what [`Model::run`] does, but hands each result and its job's index to `deliver` as soon as it
    /// and all before it are known, and takes up a job only when a pass has room for it. The memory that it
    /// needs is that of one pass and of the jobs in it, and does not grow with the number of jobs or the
    /// length of their texts.
    ///
    /// # Errors
    /// The errors of [`Model::run`]. The results that were delivered before are valid.
    pub fn run_each<J: Job>(
        &self,
        jobs: impl IntoIterator<Item = Result<J>>,
        control: &mut RunControl<'_>,
        deliver: impl FnMut(usize, Result<J::Output>),
    ) -> Result<()> {
        let mut run = Run {
            engine: self.engine(),
            control,
            deliver,
            open: VecDeque::new(),
            delivered: 0,
            pass: Pass::new(),
            owners: Vec::new(),
            progress: PassProgress::default(),
            stopped: false,
        };
        jobs.into_iter().try_for_each(|job| run.add(job))?;
        run.flush()
    }

    /// Runs jobs that are all prepared. `unit` names a job in the error of the first one that fails.
    pub(super) fn run_all<J: Job>(&self, jobs: Vec<J>, unit: &str) -> Result<Vec<J::Output>> {
        let results = self.run(jobs.into_iter().map(Ok), &mut RunControl::default())?.into_iter();
        results.enumerate().map(|(i, result)| result.context(|| format!("{unit} {}", i + 1))).collect()
    }
}

/// Makes the error for a job that has fewer sequences than it says.
fn no_sequence(sequence: usize) -> Error {
    let expected = "a sequence for each index below the job's `count`".to_owned();
    ErrorKind::Rows { sequence, expected, found: "none".to_owned() }.into()
}

/// Prepares the jobs for a list of inputs before anything is run. `unit` names an input in errors.
pub(super) fn prepare_all<T, J>(
    inputs: &[T],
    unit: &str,
    prepare: impl Fn(&T) -> Result<J>,
) -> Result<Vec<J>> {
    let each = inputs.iter().enumerate();
    each.map(|(i, input)| prepare(input).context(|| format!("{unit} {}", i + 1))).collect()
}

/// A job whose result was not delivered yet.
struct Open<J> {
    /// The job, or the error that it failed with.
    job: Result<J>,
    /// The number of sequences whose rows it still waits for.
    waiting: usize,
}

struct Run<'r, 'c, J: Job, D> {
    engine: &'r Engine,
    control: &'r mut RunControl<'c>,
    deliver: D,
    open: VecDeque<Open<J>>,
    /// The index of the first open job.
    delivered: usize,
    pass: Pass,
    /// The index of the job of each sequence in the pass, and the sequence's own index in that job.
    owners: Vec<(usize, usize)>,
    progress: PassProgress,
    /// True if the function that watches the run has asked it to stop.
    stopped: bool,
}

impl<J: Job, D: FnMut(usize, Result<J::Output>)> Run<'_, '_, J, D> {
    /// Returns the job of that index, unless it has failed.
    fn job(&mut self, index: usize) -> Option<&mut J> {
        let open = self.open.get_mut(index.checked_sub(self.delivered)?)?;
        open.job.as_mut().ok()
    }

    /// Takes up a job, and runs the passes that its sequences fill.
    fn add(&mut self, job: Result<J>) -> Result<()> {
        let count = job.as_ref().map_or(0, J::count);
        let number = self.delivered + self.open.len();
        self.open.push_back(Open { job, waiting: count });
        self.progress.known_sequences += count;
        for index in 0..count {
            // A job that failed in an earlier pass is not read any further.
            let Some(job) = self.job(number) else { break };
            let Some(sequence) = job.sequence(index) else {
                self.fail(number, no_sequence(index));
                break;
            };
            let tokens = self.pass.tokens();
            if tokens > 0 && tokens + sequence.encoding().len() > TOKENS_PER_PASS {
                self.flush()?;
                if self.job(number).is_none() {
                    break;
                }
            }
            self.push(number, index, &sequence);
        }
        self.deliver_ready();
        Ok(())
    }

    fn push(&mut self, number: usize, index: usize, sequence: &Sequence) {
        match self.pass.push(sequence) {
            Ok(()) => self.owners.push((number, index)),
            Err(error) => self.fail(number, error),
        }
    }

    fn fail(&mut self, number: usize, error: Error) {
        if let Some(open) = number.checked_sub(self.delivered).and_then(|i| self.open.get_mut(i)) {
            *open = Open { job: Err(error), waiting: 0 };
        }
    }

    /// Runs the pass that has been collected, and delivers the results that are complete.
    fn flush(&mut self) -> Result<()> {
        if !self.owners.is_empty() {
            if self.stopped {
                return Err(ErrorKind::Cancelled { done: self.progress.sequences }.into());
            }
            self.control.check(self.progress.sequences)?;
            let owners = std::mem::take(&mut self.owners);
            match self.pass.run(self.engine) {
                Ok(rows) => owners.iter().enumerate().for_each(|(i, &owner)| self.accept(owner, &rows, i)),
                Err(error) => match owners[..] {
                    [(number, _)] => self.fail(number, error),
                    _ => owners.iter().for_each(|&owner| self.run_alone(owner)),
                },
            }
            self.progress.passes += 1;
            self.progress.sequences += owners.len();
            self.progress.tokens += self.pass.tokens();
            self.owners = owners;
            self.owners.clear();
            self.pass.clear();
            self.stopped = self.control.after_pass(self.progress).is_break();
        }
        self.deliver_ready();
        Ok(())
    }

    fn accept(&mut self, (number, index): (usize, usize), rows: &PassRows, place: usize) {
        let Some(job) = self.job(number) else { return };
        match job.accept(index, rows.rows(place)) {
            Ok(()) => {
                if let Some(open) = self.open.get_mut(number - self.delivered) {
                    open.waiting -= 1;
                }
            }
            Err(error) => self.fail(number, error),
        }
    }

    /// Runs a sequence of a failed pass in a pass of its own. Each sequence of the failed pass gets one, so
    /// only those at fault fail again.
    fn run_alone(&mut self, owner: (usize, usize)) {
        let Some(job) = self.job(owner.0) else { return };
        let sequence = job.sequence(owner.1).ok_or_else(|| no_sequence(owner.1));
        let mut alone = Pass::new();
        match sequence.and_then(|sequence| alone.push(&sequence)).and_then(|()| alone.run(self.engine)) {
            Ok(rows) => self.accept(owner, &rows, 0),
            Err(error) => self.fail(owner.0, error),
        }
    }

    fn deliver_ready(&mut self) {
        while let Some(open) = self.open.pop_front_if(|open| open.waiting == 0) {
            let result = open.job.and_then(|mut job| job.finish());
            (self.deliver)(self.delivered, result);
            self.delivered += 1;
        }
    }
}
