//! The same-accuracy certificate: compares answers with those that another implementation recorded for the
//! same checkpoint.

use std::collections::HashMap;
use std::fs;
use std::process::ExitCode;

use mobilebert::{TextIndex, Tokenizer};
use mobilebert_tools::dataset::{Question, Squad};
use mobilebert_tools::metrics::interval::{RESAMPLES, paired_bootstrap};
use mobilebert_tools::metrics::squad::{Version, score};
use mobilebert_tools::task::{Candidate, Dataset, Prediction, Task, TaskOptions};
use serde::Serialize;
use serde_json::Value;

use crate::args::{Certify, Common};
use crate::evaluate::{Evaluation, SEED, check_outputs, evaluate, write_outputs};
use crate::failure::{FAILED, Failure, print};
use crate::tasks;

/// Among how many of our answers to a question the recorded one is searched.
const CANDIDATES: usize = 20;
/// How many disagreements are listed without `--all`.
const LISTED: usize = 20;
/// Logits of two f32 implementations differ by less than this (at most 2e-4 in 200 questions). A larger
/// difference has another cause.
const NUMERIC: f32 = 1e-2;

/// A recorded answer.
#[derive(Debug)]
struct Recorded {
    text: String,
    /// The place in the context, in code points.
    place: Option<(usize, usize)>,
    logit: Option<f64>,
}

/// The reason why two implementations disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Cause {
    /// The recorded place begins or ends inside one of our tokens.
    Tokenizer,
    /// The recorded place is longer than answers may be, or the context needs several windows and the place
    /// is not among the best.
    Window,
    /// Both places have the same logit, up to rounding in f32.
    Tie,
    /// The logits of the two places are so close that rounding can swap them. In int8, any disagreement
    /// without another cause counts as this.
    Numeric,
    /// The disagreement has none of these causes.
    Unexplained,
}

/// One disagreement, with both scores.
#[derive(Debug, Serialize)]
struct Disagreement {
    id: String,
    cause: Cause,
    ours: String,
    ours_logit: f32,
    recorded: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_logit: Option<f64>,
    /// Our logit of the recorded answer, if it is among our best answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    our_logit_of_recorded: Option<f32>,
    f1: f64,
    recorded_f1: f64,
}

/// The certificate.
#[derive(Debug, Serialize)]
struct Certificate {
    total: usize,
    equal: usize,
    equal_percent: f64,
    tokenizer: usize,
    window: usize,
    tie: usize,
    numeric: usize,
    unexplained: usize,
    exact: f64,
    f1: f64,
    recorded_exact: f64,
    recorded_f1: f64,
    /// Our score minus that of the recorded answers.
    f1_difference: f64,
    /// The difference's 95 % interval, by the paired bootstrap.
    f1_difference_interval: [f64; 2],
    seconds: f64,
    model: String,
    model_sha256: Option<String>,
    precision: String,
    kernel: String,
    disagreements: Vec<Disagreement>,
}

pub(crate) fn run(args: &Certify) -> Result<ExitCode, Failure> {
    let path = tasks::find("squad", &args.common.data)?;
    let mut squad = Squad::read(&path)?;
    if squad.version == Version::V2 {
        return Err(Failure::Input(format!("{}: certificates are made on SQuAD v1.1", path.display())));
    }
    check_outputs(&args.common, &[], &[&path, &args.reference])?;
    let recorded = read(args)?;
    let all = squad.questions.len();
    squad.questions.retain(|question| recorded.contains_key(&question.id));
    let some = squad.questions.len() < all;
    squad.truncate(args.common.limit.unwrap_or(usize::MAX));
    if squad.questions.is_empty() {
        let problem = format!("none of its ids is in {}", path.display());
        return Err(Failure::Input(format!("{}: {problem}", args.reference.display())));
    }
    let options = TaskOptions::new(Task::Squad).n_best(CANDIDATES);
    // A log holds the first questions of a file, not a selection of them.
    if some && args.common.log.is_some() {
        let problem = "has no answers to some questions of --data; leave out --log, which is for all of them";
        return Err(Failure::Usage(format!("{}: {problem}", args.reference.display())));
    }
    let common = Common { no_resume: some || args.common.no_resume, ..args.common.clone() };
    let mut evaluation = evaluate(Task::Squad, &common, options, Dataset::Squad(squad.clone()), 0.0)?;
    write_outputs(&mut evaluation, &common, 0.0)?;
    let mut certificate = certify(args, &squad, &evaluation, &recorded);
    let missed = args.min_equal.is_some_and(|least| certificate.equal_percent < least);
    if !args.all {
        certificate.disagreements.truncate(LISTED);
    }
    print(&match args.common.json {
        true => format!("{}\n", serde_json::to_string(&certificate).unwrap_or_default()),
        false => human(&certificate),
    })?;
    evaluation.finish();
    Ok(if missed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Reads `{"id": "text"}`, the official format, or one JSON object per line.
fn read(args: &Certify) -> Result<HashMap<String, Recorded>, Failure> {
    let file = args.reference.display();
    let bad = |line: usize, problem: String| Failure::Input(format!("{file}, line {line}: {problem}"));
    let text = fs::read_to_string(&args.reference).map_err(|e| Failure::Input(format!("{file}: {e}")))?;
    let text = text.trim_start_matches('\u{feff}');
    if let Ok(answers) = serde_json::from_str::<HashMap<String, String>>(text) {
        let recorded = |text| Recorded { text, place: None, logit: None };
        return Ok(answers.into_iter().map(|(id, text)| (id, recorded(text))).collect());
    }
    let mut answers = HashMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value: Value = serde_json::from_str(line)
            .map_err(|e| bad(i + 1, format!("expected JSON of ids to answers, or one object a line: {e}")))?;
        let field = |name: &str| value[name].as_str().ok_or_else(|| bad(i + 1, format!("no text `{name}`")));
        let (id, text) = (field("id")?.to_owned(), field("answer")?.to_owned());
        let number = |name: &str| value[name].as_u64().map(|n| n as usize);
        let logit = |name: &str| value[name].as_f64();
        let recorded = Recorded {
            text,
            place: number("start_char").zip(number("end_char")),
            logit: logit("start_logit").zip(logit("end_logit")).map(|(start, end)| start + end),
        };
        if answers.insert(id.clone(), recorded).is_some() {
            return Err(bad(i + 1, format!("id `{id}` occurs a second time")));
        }
    }
    match answers.is_empty() {
        true => Err(bad(1, "there are no answers".to_owned())),
        false => Ok(answers),
    }
}

fn certify(
    args: &Certify,
    squad: &Squad,
    evaluation: &Evaluation,
    recorded: &HashMap<String, Recorded>,
) -> Certificate {
    let Evaluation { predictions, run, evaluator, .. } = evaluation;
    // Rounding to int8 moves the scores themselves, not their last bits.
    let int8 = run.precision == mobilebert::Precision::Int8.to_string();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut disagreements = Vec::new();
    for (question, prediction) in squad.questions.iter().zip(predictions) {
        let (Prediction::Answers { answers, .. }, Some(recorded)) = (prediction, recorded.get(&question.id))
        else {
            continue;
        };
        let Some(best) = answers.first() else { continue };
        let references = question.references();
        let (our_score, their_score) =
            (score(Version::V1, &best.text, &references), score(Version::V1, &recorded.text, &references));
        ours.push(our_score);
        theirs.push(their_score);
        let context = squad.context(question);
        if is_same(best, recorded, context) {
            continue;
        }
        let known = answers.iter().find(|candidate| is_same(candidate, recorded, context));
        let tokenizer = evaluator.tokenizer();
        disagreements.push(Disagreement {
            id: question.id.clone(),
            cause: cause(best, known, recorded, (question, context), tokenizer, (args.tie, int8)),
            ours: best.text.clone(),
            ours_logit: logit(best),
            recorded: recorded.text.clone(),
            recorded_logit: recorded.logit,
            our_logit_of_recorded: known.map(logit),
            f1: 100.0 * our_score.f1,
            recorded_f1: 100.0 * their_score.f1,
        });
    }
    let count = |cause: Cause| disagreements.iter().filter(|d| d.cause == cause).count();
    let total = ours.len();
    let mean = |values: Vec<f64>| 100.0 * values.iter().sum::<f64>() / total.max(1) as f64;
    let f1 =
        |scores: &[mobilebert_tools::metrics::squad::Score]| scores.iter().map(|s| s.f1).collect::<Vec<_>>();
    let exact = |scores: &[mobilebert_tools::metrics::squad::Score]| {
        scores.iter().map(|s| s.exact).collect::<Vec<_>>()
    };
    let interval = paired_bootstrap(&f1(&theirs), &f1(&ours), RESAMPLES, SEED);
    Certificate {
        total,
        equal: total - disagreements.len(),
        equal_percent: 100.0 * (total - disagreements.len()) as f64 / total.max(1) as f64,
        tokenizer: count(Cause::Tokenizer),
        window: count(Cause::Window),
        tie: count(Cause::Tie),
        numeric: count(Cause::Numeric),
        unexplained: count(Cause::Unexplained),
        exact: mean(exact(&ours)),
        f1: mean(f1(&ours)),
        recorded_exact: mean(exact(&theirs)),
        recorded_f1: mean(f1(&theirs)),
        f1_difference: mean(f1(&ours)) - mean(f1(&theirs)),
        f1_difference_interval: interval.map_or([0.0; 2], |i| [100.0 * i.low, 100.0 * i.high]),
        seconds: run.seconds,
        model: run.model.clone(),
        model_sha256: run.model_sha256.clone(),
        precision: run.precision.clone(),
        kernel: run.kernel.clone(),
        disagreements,
    }
}

fn logit(candidate: &Candidate) -> f32 {
    candidate.start_logit + candidate.end_logit
}

/// Whether both have the same place, or the same text if no place was recorded.
fn is_same(candidate: &Candidate, recorded: &Recorded, context: &str) -> bool {
    match recorded.place {
        None => candidate.text == recorded.text,
        Some(place) => {
            let index = TextIndex::new(context);
            index.chars(candidate.start).zip(index.chars(candidate.end)) == Some(place)
        }
    }
}

fn cause(
    best: &Candidate,
    known: Option<&Candidate>,
    recorded: &Recorded,
    (question, context): (&Question, &str),
    tokenizer: &Tokenizer,
    (tie, int8): (f32, bool),
) -> Cause {
    if let Some(known) = known {
        let (ours, theirs) = (logit(best), logit(known));
        let gap = (ours - theirs).abs();
        return match () {
            () if gap <= tie * ours.abs().max(theirs.abs()) => Cause::Tie,
            () if gap <= NUMERIC || int8 => Cause::Numeric,
            () => Cause::Unexplained,
        };
    }
    let (Ok(tokens), Ok(asked)) = (tokenizer.tokenize(context), tokenizer.tokenize(&question.question))
    else {
        return Cause::Unexplained;
    };
    let index = TextIndex::new(context);
    let found = context.find(&recorded.text).map(|start| (start, start + recorded.text.len()));
    let place = match recorded.place {
        Some((start, end)) => index.byte_of_char(start).zip(index.byte_of_char(end)),
        None => found,
    };
    let Some((start, end)) = place else { return Cause::Tokenizer };
    let starts = tokens.spans().iter().position(|span| span.start == start);
    let ends = tokens.spans().iter().position(|span| span.end == end);
    let (Some(first), Some(last)) = (starts, ends) else { return Cause::Tokenizer };
    const LONGEST_ANSWER: usize = 30;
    const WINDOW: usize = 384;
    let several = tokens.len() + asked.len() + mobilebert::Encoding::SPECIAL_PAIR > WINDOW;
    match () {
        () if last + 1 > first + LONGEST_ANSWER || several => Cause::Window,
        () if int8 => Cause::Numeric,
        () => Cause::Unexplained,
    }
}

fn human(c: &Certificate) -> String {
    let [low, high] = c.f1_difference_interval;
    let mut text = format!(
        "{} {}, {}: {} of {} answers equal ({:.2} %)\n",
        c.model, c.precision, c.kernel, c.equal, c.total, c.equal_percent
    );
    text += &format!(
        "disagreements: {} tokenizer, {} window, {} tie, {} numeric, {} unexplained\n",
        c.tokenizer, c.window, c.tie, c.numeric, c.unexplained
    );
    text += &format!("           ours  recorded\nexact    {:6.2}    {:6.2}\n", c.exact, c.recorded_exact);
    text += &format!("f1       {:6.2}    {:6.2}\n", c.f1, c.recorded_f1);
    text += &format!("f1 difference {:+.3} (95 % interval {low:+.3} to {high:+.3})\n", c.f1_difference);
    for d in &c.disagreements {
        let cause = serde_json::to_value(d.cause).ok().and_then(|v| v.as_str().map(str::to_owned));
        let theirs =
            d.our_logit_of_recorded.map_or_else(|| "below the best".to_owned(), |l| format!("{l:.4}"));
        text += &format!(
            "{} {}: {:?} {:.4}, recorded {:?} {theirs}\n",
            d.id,
            cause.unwrap_or_default(),
            d.ours,
            d.ours_logit,
            d.recorded
        );
    }
    text
}
