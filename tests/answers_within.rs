//! Tests searches that read a part of a long context.

#[path = "support/random.rs"]
#[expect(dead_code, reason = "no logits are made up here")]
mod random;

use std::cell::Cell;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mobilebert::{
    AnswerOptions, AnswersWithin, ErrorKind, ModelOptions, PreparedContext, QuestionAnswering, Result,
    RunControl, WindowOptions,
};
use random::Random;

const CONTEXT: &str = "anna works in paris and a good time of day ";
const QUESTION: &str = "who wrote the book ?";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

fn qa() -> QuestionAnswering {
    let options = AnswerOptions::with(|o| {
        (o.max_seq_len, o.doc_stride, o.top_k) = (Some(16), Some(4), 3);
    });
    QuestionAnswering::open_with(golden("mobilebert-f32"), ModelOptions::new(), options).unwrap()
}

/// Text of many windows, and the part of it that has the words of the question.
fn text() -> (String, Range<usize>) {
    let (before, fact, after) = (CONTEXT.repeat(70), "the king wrote a book ", CONTEXT.repeat(30));
    let place = before.len()..before.len() + fact.len();
    (format!("{before}{fact}{after}"), place)
}

fn within(
    qa: &QuestionAnswering,
    context: &PreparedContext,
    most_windows: Option<usize>,
    control: &mut RunControl<'_>,
) -> Result<AnswersWithin> {
    qa.answers_within(QUESTION, context, qa.options(), most_windows, control)
}

#[test]
fn a_search_without_limits_has_the_result_of_an_exact_one() {
    let (qa, (text, _)) = (qa(), text());
    let found = within(&qa, &qa.prepare(&*text).unwrap(), None, &mut RunControl::default()).unwrap();
    // Scores are compared to the bit, although the windows were read in another order.
    assert_eq!(found.answers, qa.answers(QUESTION, &text).unwrap());
    assert!(found.windows > 100 && found.windows_read == found.windows, "{found:?}");
    assert!(found.unread.is_empty());

    // What schedules its own passes gives the rows in any order.
    use mobilebert::Job as _;
    let part = within(&qa, &qa.prepare(&*text).unwrap(), Some(4), &mut RunControl::default()).unwrap();
    let prepared = qa.prepare(&*text).unwrap();
    let mut job = qa.prepare_answers_within(QUESTION, &prepared, qa.options(), Some(4)).unwrap();
    assert_eq!(job.count(), 4);
    for index in [2, 0, 3, 1] {
        assert!(matches!(job.finish().unwrap_err().kind(), ErrorKind::Rows { .. }));
        let mut pass = mobilebert::Pass::new();
        pass.push(&job.sequence(index).unwrap()).unwrap();
        job.accept(index, pass.run(qa.engine()).unwrap().rows(0)).unwrap();
    }
    assert!(job.sequence(4).is_none());
    assert_eq!(job.finish().unwrap(), part);
    assert!(matches!(job.finish().unwrap_err().kind(), ErrorKind::Rows { .. }));

    let short = within(&qa, &qa.prepare("anna works").unwrap(), Some(1), &mut RunControl::default()).unwrap();
    assert_eq!((short.windows, short.windows_read, short.unread), (1, 1, vec![]));
    assert_eq!(short.answers, qa.answers(QUESTION, "anna works").unwrap());
}

#[test]
fn the_window_with_the_words_of_the_question_is_read_first() {
    let (qa, (text, fact)) = (qa(), text());
    let found = within(&qa, &qa.prepare(&*text).unwrap(), Some(1), &mut RunControl::default()).unwrap();
    assert_eq!(found.windows_read, 1);
    let [before, after] = &found.unread[..] else { panic!("{:?}", found.unread) };
    assert_eq!((before.start, after.end), (0, text.len()));
    let read = before.end..after.start;
    assert!(read.start <= fact.start + 4 && read.end + 1 >= fact.end, "{read:?} of {fact:?}");
    assert!(found.answers.iter().all(|a| read.start <= a.start && a.end <= read.end));
    // The scores are shares of what was read, so they are those of that part alone.
    let alone = qa.answers(QUESTION, text[read.clone()].trim()).unwrap();
    assert_eq!(found.answers.len(), alone.len());
    for (found, alone) in found.answers.iter().zip(&alone) {
        assert_eq!((found.score, &*found.answer), (alone.score, &*alone.answer));
    }
}

#[test]
fn unread_parts_and_read_windows_cover_the_text() {
    let (qa, (text, _)) = (qa(), text());
    let context = qa.prepare(&*text).unwrap();
    let mut unread_before = text.len();
    let total = within(&qa, &context, None, &mut RunControl::default()).unwrap().windows;
    for most in [1, 2, 5, 50, total - 1, total, total + 1] {
        let found = within(&qa, &context, Some(most), &mut RunControl::default()).unwrap();
        assert_eq!((found.windows_read, found.windows), (most.min(total), total));
        let ends: Vec<usize> = found.unread.iter().flat_map(|part| [part.start, part.end]).collect();
        assert!(ends.is_sorted() && ends.iter().all(|&end| text.is_char_boundary(end)), "{ends:?}");
        for part in &found.unread {
            assert!(!text[part.clone()].trim().is_empty());
            for answer in &found.answers {
                assert!(answer.end <= part.start || answer.start >= part.end, "{answer:?} in {part:?}");
            }
        }
        let unread: usize = found.unread.iter().map(Range::len).sum();
        assert!(unread <= unread_before && (unread == 0) == (most >= total), "{most}: {unread}");
        unread_before = unread;
    }
}

/// A Hangul syllable is three tokens of one place. Some windows begin or end within one. What they leave
/// unread of a syllable is no text.
#[test]
fn an_unread_token_within_a_character_is_no_part_of_the_text() {
    let options = AnswerOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(10), Some(2)));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/qa");
    let qa = QuestionAnswering::open_with(folder, ModelOptions::new(), options).unwrap();
    for space in [" ", ""] {
        let syllable = format!("각{space}");
        let text = format!("a {}who {}", syllable.repeat(3), syllable.repeat(6));
        if !space.is_empty() {
            assert_eq!(qa.tokenizer().tokenize(&text).unwrap().len(), 1 + 3 * 3 + 1 + 6 * 3);
        }
        let context = qa.prepare(&*text).unwrap();
        for most in 1..12 {
            let mut control = RunControl::default();
            let found = qa.answers_within("who?", &context, qa.options(), Some(most), &mut control).unwrap();
            for part in &found.unread {
                let unread = text.get(part.clone()).unwrap_or_else(|| panic!("{most}: {part:?}"));
                assert!(!unread.trim().is_empty(), "{most}: {part:?}");
            }
        }
    }
}

#[test]
fn a_deadline_ends_the_search_after_a_pass() {
    let (qa, (text, _)) = (qa(), text());
    let context = qa.prepare(&*text).unwrap();
    // A busy machine has this long for the preparation and the first pass.
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut wait = |_| {
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        ControlFlow::Continue(())
    };
    let mut control = RunControl::default();
    control.deadline = Some(deadline);
    control.on_pass = Some(&mut wait);
    let found = within(&qa, &context, None, &mut control).unwrap();
    // A pass has 512 tokens, which are 32 windows.
    assert_eq!(found.windows_read, 32);
    assert_eq!(found, within(&qa, &context, Some(32), &mut RunControl::default()).unwrap());
}

/// Returns the windows in the order of their weights by BM25, those with equal weights in the order of the
/// text.
fn by_overlap(question: &[u32], windows: &[Vec<u32>]) -> Vec<usize> {
    let mut words = question.to_vec();
    words.sort_unstable();
    words.dedup();
    let times = |word: u32, window: &[u32]| window.iter().filter(|&&id| id == word).count() as f64;
    let weight = |window: &Vec<u32>| -> f64 {
        let of_word = |&word: &u32| {
            let with = windows.iter().filter(|window| window.contains(&word)).count() as f64;
            let rarity = (1.0 + (windows.len() as f64 - with + 0.5) / (with + 0.5)).ln();
            let found = times(word, window);
            rarity * found / (found + 1.2)
        };
        words.iter().map(of_word).sum()
    };
    let weights: Vec<f64> = windows.iter().map(weight).collect();
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by(|&a, &b| {
        let equal = (weights[a] - weights[b]).abs() < 1e-12;
        if equal { a.cmp(&b) } else { weights[b].total_cmp(&weights[a]) }
    });
    order
}

#[test]
fn windows_are_read_in_the_order_of_their_weights() {
    const WORDS: [&str; 9] = ["who", "wrote", "the", "book", "anna", "in", "paris", "king", "?"];
    let qa = qa();
    for seed in 0..20 {
        let mut random = Random(seed);
        let options = AnswerOptions::with(|o| {
            (o.max_seq_len, o.doc_stride) = (Some(12 + random.below(6)), Some(random.below(4)));
        });
        let words: Vec<&str> = (0..60).map(|_| WORDS[random.below(WORDS.len())]).collect();
        let text = words.join(" ");
        let context = qa.prepare(&*text).unwrap();
        let (question, tokens) =
            (qa.tokenizer().tokenize(QUESTION).unwrap(), qa.tokenizer().tokenize(&text).unwrap());
        let windows =
            WindowOptions::new(options.max_seq_len.unwrap()).doc_stride(options.doc_stride.unwrap());
        let windows: Vec<_> = tokens.windows_with_question(&question, &windows).unwrap().collect();
        let ids: Vec<Vec<u32>> =
            windows.iter().map(|window| window.ids()[window.positions()].to_vec()).collect();
        let order = by_overlap(question.ids(), &ids);
        // Each word is a token.
        let starts: Vec<usize> = words
            .iter()
            .scan(0, |start, word| Some(std::mem::replace(start, *start + word.len() + 1)))
            .collect();
        for most in 1..=windows.len() {
            let mut control = RunControl::default();
            let found = qa.answers_within(QUESTION, &context, &options, Some(most), &mut control).unwrap();
            let is_read =
                |token: usize| order[..most].iter().any(|&index| windows[index].tokens().contains(&token));
            let mut unread: Vec<Range<usize>> = Vec::new();
            for token in (0..words.len()).filter(|&token| !is_read(token)) {
                let start = if token == 0 { 0 } else { starts[token] - 1 };
                let end = starts.get(token + 1).copied().unwrap_or(text.len());
                match unread.last_mut() {
                    Some(last) if last.end + 1 >= start && last.end > start => last.end = end,
                    _ => unread.push(start..end),
                }
            }
            assert_eq!(found.unread, unread, "seed {seed}, {most} of {} windows", windows.len());
        }
    }
}

#[test]
fn a_search_that_is_cancelled_has_no_result() {
    let (qa, (text, _)) = (qa(), text());
    let mut stop = |_| ControlFlow::Break(());
    let mut control = RunControl::default();
    control.on_pass = Some(&mut stop);
    let error = within(&qa, &qa.prepare(text).unwrap(), None, &mut control).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cancelled { done: 32 }), "{error:?}");
}

#[test]
fn a_clock_of_the_caller_ends_the_search_after_a_pass() {
    let (qa, (text, _)) = (qa(), text());
    let context = qa.prepare(&*text).unwrap();
    let passes = Cell::new(0);
    let mut count = |_| {
        passes.set(passes.get() + 1);
        ControlFlow::Continue(())
    };
    let is_late = || passes.get() == 2;
    let mut control = RunControl::default();
    control.is_late = Some(&is_late);
    control.on_pass = Some(&mut count);
    let found = within(&qa, &context, None, &mut control).unwrap();
    assert_eq!(found.windows_read, 64);
    assert_eq!(found, within(&qa, &context, Some(64), &mut RunControl::default()).unwrap());
}

#[test]
fn what_finds_nothing_is_an_error() {
    let (qa, (text, _)) = (qa(), text());
    let context = qa.prepare(text).unwrap();
    let mut late = RunControl::default();
    late.deadline = Some(Instant::now());
    let error = within(&qa, &context, None, &mut late).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { done: 0 }), "{error:?}");

    let mut late = RunControl::default();
    late.is_late = Some(&|| true);
    let error = within(&qa, &context, None, &mut late).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { done: 0 }), "{error:?}");

    let mut cancelled = RunControl::default();
    cancelled.cancel = Some(Arc::new(AtomicBool::new(true)));
    let error = within(&qa, &context, None, &mut cancelled).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cancelled { done: 0 }), "{error:?}");

    let error = within(&qa, &context, Some(0), &mut RunControl::default()).unwrap_err();
    assert_eq!(error.code(), "option");
}
