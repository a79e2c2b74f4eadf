//! Calls are watched and stopped between passes, and the first input that fails ends them.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use mobilebert_bindings::answer::{answers_from, answers_within_from};
use mobilebert_bindings::tag::entities;
use mobilebert_bindings::{Failure, Opening, Progress, Texts, TokenClassification, Watch};
use serde_json::{Map, json};

fn tagger() -> TokenClassification {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/models/ner");
    Opening { threads: Some(1), ..Opening::default() }.entities(folder.into(), &Map::new()).unwrap()
}

/// Enough for several passes.
fn texts() -> Vec<String> {
    (0..300).map(|number| format!("Ada lives in London, number {number}")).collect()
}

fn tag(texts: &dyn Texts, watch: &mut Watch<'_>) -> Result<usize, Failure> {
    let tagger = tagger();
    entities(&tagger, texts, true, tagger.options(), watch).map(|found| found.len())
}

#[test]
fn progress_counts_inputs_and_stops_the_call() {
    let mut seen = Vec::new();
    let mut tell = |now: Progress| {
        seen.push(now);
        ControlFlow::Continue(())
    };
    let mut watch = Watch { on_pass: Some(&mut tell), ..Watch::default() };
    assert_eq!(tag(&texts(), &mut watch).unwrap(), 300);
    assert!(seen.len() > 2, "{seen:?}");
    assert!(seen.iter().all(|now| now.total == 300 && now.done <= 300), "{seen:?}");
    assert!(seen.is_sorted_by_key(|now| now.done), "{seen:?}");

    let mut calls = 0;
    let mut stop = |_: Progress| {
        calls += 1;
        ControlFlow::Break(())
    };
    let mut watch = Watch { on_pass: Some(&mut stop), ..Watch::default() };
    assert_eq!(tag(&texts(), &mut watch).unwrap_err().code(), "cancelled");
    assert_eq!(calls, 1);
}

#[test]
fn a_time_out_stops_the_call() {
    let mut watch = Watch { timeout: Some(Duration::ZERO), ..Watch::default() };
    assert_eq!(tag(&texts(), &mut watch).unwrap_err().code(), "deadline_exceeded");
    let mut watch = Watch { timeout: Some(Duration::MAX), ..Watch::default() };
    assert_eq!(tag(&texts(), &mut watch).unwrap_err().place(), Some("timeout"));
}

/// A long context takes far longer to tokenise than questions take to be refused.
#[test]
fn the_context_of_all_questions_is_a_part_of_the_call() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/qa");
    let opening = Opening { threads: Some(1), ..Opening::default() };
    let qa = opening.answers(folder.into(), &Map::new()).unwrap();
    let context = "It was built by Ada. ".repeat(20_000);
    let ask = |watch: &mut Watch<'_>| {
        // The first question is wrong, which is not found before the context is tokenised.
        let questions = vec!["", "Who built it?"];
        answers_from(&qa, &questions, &context, true, qa.options(), watch).unwrap_err()
    };
    assert_eq!(ask(&mut Watch::default()).code(), "empty_text");
    let mut watch = Watch { timeout: Some(Duration::from_millis(1)), ..Watch::default() };
    assert_eq!(ask(&mut watch).code(), "deadline_exceeded");
    let mut seen = Vec::new();
    let mut stop = |now: Progress| {
        seen.push(now);
        ControlFlow::Break(())
    };
    let mut watch = Watch { on_pass: Some(&mut stop), ..Watch::default() };
    assert_eq!(ask(&mut watch).code(), "cancelled");
    assert_eq!(seen, [Progress { done: 0, total: 2 }]);
}

/// The search reads in passes of several windows, and its time is over behind the first.
#[test]
fn a_time_out_ends_a_search_with_what_it_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints/mobilebert-f32");
    let opening = Opening { threads: Some(1), ..Opening::default() };
    let options = json!({ "max_seq_len": 16, "doc_stride": 4 });
    let qa = opening.answers(folder.into(), options.as_object().unwrap()).unwrap();
    let context = "anna works in paris and a good time of day ".repeat(100);
    let ask = |most: Option<usize>, watch: &mut Watch<'_>| {
        answers_within_from(&qa, "who wrote the book ?", &context, most, qa.options(), watch)
    };
    // A busy machine has this long for the context and the first pass.
    let timeout = Duration::from_secs(3);
    let over = Instant::now() + timeout;
    let mut seen = Vec::new();
    let mut wait = |now: Progress| {
        seen.push(now);
        // The search begins after the context is read, of which the function is told as well.
        if now.done > 0 {
            std::thread::sleep(over.saturating_duration_since(Instant::now()) + Duration::from_millis(10));
        }
        ControlFlow::Continue(())
    };
    let mut watch = Watch { timeout: Some(timeout), on_pass: Some(&mut wait), ..Watch::default() };
    let found = ask(None, &mut watch).unwrap();
    assert!(found.windows_read > 0 && found.windows_read < found.windows, "{found:?}");
    assert_eq!(found, ask(Some(found.windows_read), &mut Watch::default()).unwrap());
    assert_eq!((seen.len(), seen[1].done), (2, found.windows_read), "{seen:?}");
    let unread: usize = found.unread.iter().map(|part| part.byte.end - part.byte.start).sum();
    assert!(unread > 0 && unread < context.len());

    let mut late = Watch { timeout: Some(Duration::ZERO), ..Watch::default() };
    assert_eq!(ask(None, &mut late).unwrap_err().code(), "deadline_exceeded");
    let mut late = Watch { is_late: Some(&|| true), ..Watch::default() };
    assert_eq!(ask(None, &mut late).unwrap_err().code(), "deadline_exceeded");
    let failure = ask(Some(0), &mut Watch::default()).unwrap_err();
    assert_eq!((failure.code(), failure.place()), ("option", Some("most_windows")));
    let mut stop = |_: Progress| ControlFlow::Break(());
    let mut stopped = Watch { on_pass: Some(&mut stop), ..Watch::default() };
    assert_eq!(ask(None, &mut stopped).unwrap_err().code(), "cancelled");
}

#[test]
fn the_first_failure_ends_the_call() {
    let mut texts = texts();
    texts[20].clear();
    texts[290].clear();
    let mut passes = 0;
    let mut count = |_: Progress| {
        passes += 1;
        ControlFlow::Continue(())
    };
    let mut watch = Watch { on_pass: Some(&mut count), ..Watch::default() };
    let failure = tag(&texts, &mut watch).unwrap_err();
    assert_eq!((failure.index(), failure.place()), (Some(20), Some("text 21: text")));
    // Nothing behind the failure was run.
    assert!(passes <= 2, "{passes}");
}

/// A list of which the caller's first row was left out.
struct Behind(Vec<String>);

impl Texts for Behind {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn text(&self, index: usize) -> &str {
        &self.0[index]
    }

    fn row(&self, index: usize) -> usize {
        index + 1
    }
}

#[test]
fn failures_name_the_row_of_the_caller() {
    let texts = Behind(vec!["Ada".to_owned(), String::new()]);
    let failure = tag(&texts, &mut Watch::default()).unwrap_err();
    assert_eq!((failure.index(), failure.place()), (Some(2), Some("text 3: text")));
}
