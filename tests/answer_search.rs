//! Compares the search for answers, which takes windows one by one and keeps few places, with its definition
//! over all places of all windows at once.

#[path = "support/random.rs"]
mod random;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;

use mobilebert::{Answer, AnswerOptions, Job, PreparedContext, QuestionAnswering, WindowOptions};
use random::Random;

const QUESTION: &str = "who wrote it ?";
const WORDS: [&str; 12] =
    ["anna", "works", "in", "Paris", "and", "the", "king", "WROTE", "wrote", "a", "book.", "paris"];
/// The scores are f64 until they are rounded to f32, so they may differ by a unit in the last place.
const RELATIVE: f32 = 1e-6;
/// What the search keeps; see `MIN_TEXTS` and `MAX_PLACES` in `src/pipeline/answer_job.rs`.
const KEPT_TEXTS: usize = 64;
const KEPT_PLACES: usize = 256;

fn qa() -> QuestionAnswering {
    QuestionAnswering::open(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/mobilebert-f32"),
    )
    .unwrap()
}

/// A place of the context in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    start: usize,
    end: usize,
    logits: (f32, f32),
}

impl Place {
    fn logit(&self) -> f32 {
        self.logits.0 + self.logits.1
    }
}

/// All that the windows of one context say.
struct Definition {
    /// The places with the largest logit first, and otherwise in the order of the context.
    places: Vec<Place>,
    starts: Vec<f32>,
    ends: Vec<f32>,
    null: (f32, f32),
    /// The number of texts with the best places that can be answers.
    kept_texts: usize,
}

impl Definition {
    fn new(qa: &QuestionAnswering, context: &str, options: &AnswerOptions, rows: &[Vec<f32>]) -> Self {
        let windows =
            WindowOptions::new(options.max_seq_len.unwrap()).doc_stride(options.doc_stride.unwrap());
        let (question, text) =
            (qa.tokenizer().tokenize(QUESTION).unwrap(), qa.tokenizer().tokenize(context).unwrap());
        let windows: Vec<_> = text.windows_with_question(&question, &windows).unwrap().collect();
        assert_eq!(windows.len(), rows.len());
        let (mut places, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut null = (f32::INFINITY, f32::INFINITY);
        for (window, rows) in windows.iter().zip(rows) {
            if rows[0] + rows[1] < null.0 + null.1 {
                null = (rows[0], rows[1]);
            }
            for first in window.positions() {
                starts.push(rows[2 * first]);
                ends.push(rows[2 * first + 1]);
                for last in (first..window.positions().end).take(options.max_answer_len) {
                    places.push(Place {
                        start: window.span(first).unwrap().start,
                        end: window.span(last).unwrap().end,
                        logits: (rows[2 * first], rows[2 * last + 1]),
                    });
                }
            }
        }
        places.sort_by(|a, b| b.logit().total_cmp(&a.logit()));
        Self { places, starts, ends, null, kept_texts: usize::MAX }
    }

    /// Returns the groups of places that are one answer each, with their scores, best first. The empty answer
    /// is one of them if the options ask for it.
    fn groups(&self, context: &str, options: &AnswerOptions, competes: bool) -> Vec<Vec<(f64, Place)>> {
        let with_null = |logits: &[f32], null: f32| -> Vec<f32> {
            logits.iter().copied().chain(competes.then_some(null)).collect()
        };
        let (max_start, starts) = sum_of_powers(&with_null(&self.starts, self.null.0));
        let (max_end, ends) = sum_of_powers(&with_null(&self.ends, self.null.1));
        let score = |logit: f32| (f64::from(logit) - (max_start + max_end)).exp() / (starts * ends);

        let mut groups: Vec<Vec<(f64, Place)>> = Vec::new();
        let (mut index_of, mut seen) = (HashMap::new(), HashMap::new());
        for place in &self.places {
            if seen.insert((place.start, place.end), ()).is_some() {
                continue;
            }
            let text = context[place.start..place.end].to_lowercase();
            let key = match options.merge_equal_texts {
                true => (text.split_whitespace().collect::<Vec<_>>().join(" "), 0),
                false => (String::new(), groups.len()),
            };
            let different = index_of.len();
            let index = *index_of.entry(key).or_insert(different);
            if options.merge_equal_texts && index >= self.kept_texts {
                continue;
            }
            if index == groups.len() {
                groups.push(Vec::new());
            }
            if groups[index].len() < KEPT_PLACES {
                groups[index].push((score(place.logit()), *place));
            }
        }
        groups.sort_by(by_score);
        if options.handle_impossible_answer {
            let null = Place { start: 0, end: 0, logits: self.null };
            let odds = options.null_threshold.unwrap();
            let rank = score(null.logit()) * f64::from(-odds).exp();
            let is_better = |group: &&Vec<(f64, Place)>| {
                (total(group), group[0].1.logit()).partial_cmp(&(rank, null.logit() - odds))
                    != Some(Ordering::Less)
            };
            let index = groups.iter().take_while(is_better).count();
            groups.insert(index, vec![(score(null.logit()), null)]);
        }
        groups
    }
}

/// Returns the largest number, and the sum of the powers of e of the numbers less the largest.
fn sum_of_powers(logits: &[f32]) -> (f64, f64) {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    (max, logits.iter().map(|&x| (f64::from(x) - max).exp()).sum())
}

fn total(group: &[(f64, Place)]) -> f64 {
    group.iter().map(|(score, _)| score).sum()
}

/// Larger scores come first. Of equal ones, and of scores that are 0, the larger logit does.
#[expect(clippy::ptr_arg, reason = "the elements of a vector of vectors are compared")]
fn by_score(a: &Vec<(f64, Place)>, b: &Vec<(f64, Place)>) -> Ordering {
    let (a, b) = ((total(a), a[0].1.logit()), (total(b), b[0].1.logit()));
    // Sums of the same numbers in another order differ by rounding.
    let equal = (a.0 - b.0).abs() <= 1e-12 * a.0.max(b.0);
    if equal { b.1.total_cmp(&a.1) } else { b.0.total_cmp(&a.0) }
}

fn is_near(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= f64::from(RELATIVE) * expected.max(1e-30)
}

fn check(case: &str, found: &[Answer], context: &str, expected: &[Vec<(f64, Place)>]) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (answer, group) in found.iter().zip(expected) {
        let best = &group[0].1;
        let what = format!("{case}: {answer:?} and {group:?}");
        assert_eq!((answer.start, answer.end), (best.start, best.end), "{what}");
        assert_eq!(answer.answer, context[best.start..best.end], "{what}");
        assert!(is_near(answer.score, total(group)), "{what}");
        assert_eq!(answer.others.len(), group.len() - 1, "{what}");
        for (other, (score, place)) in answer.others.iter().zip(&group[1..]) {
            assert_eq!((other.start, other.end), (place.start, place.end), "{what}");
            assert!(is_near(other.score, *score), "{what}");
        }
    }
}

/// Gives a job made-up rows.
fn run<J: Job>(mut job: J, rows: &[Vec<f32>]) -> J::Output {
    for (index, rows) in rows.iter().enumerate() {
        job.accept(index, rows).unwrap();
    }
    job.finish().unwrap()
}

fn made_up_rows(job: &impl Job, random: &mut Random, scale: f32) -> Vec<Vec<f32>> {
    let row = |(_, sequence): (usize, mobilebert::pipeline::Sequence)| {
        (0..2 * sequence.encoding().len()).map(|_| random.logit(scale)).collect()
    };
    job.sequences().map(row).collect()
}

fn options(random: &mut Random) -> AnswerOptions {
    AnswerOptions::with(|o| {
        // Four tokens of the question and three special tokens leave room for 5 to 17.
        o.max_seq_len = Some(12 + random.below(13));
        o.doc_stride = Some(random.below(5));
        o.max_answer_len = 1 + random.below(4);
        o.top_k = 1 + random.below(8);
        o.merge_equal_texts = random.below(2) == 0;
        o.null_competes = random.below(2) == 0;
        o.handle_impossible_answer = random.below(3) == 0;
        let scale = [1.0, 300.0][random.below(2)];
        o.null_threshold = Some(random.logit(scale));
    })
}

fn words(random: &mut Random, count: usize, different: usize) -> String {
    let words: Vec<&str> = (0..count).map(|_| WORDS[random.below(different)]).collect();
    words.join(" ")
}

/// Compares answers and rankings for contexts with so few texts that the search has to keep all of them.
#[test]
fn answers_are_those_of_the_definition() {
    let qa = qa();
    for seed in 0..400 {
        let mut random = Random(seed);
        let options = options(&mut random);
        let (count, different) = (1 + random.below(40), 1 + random.below(3));
        let context = words(&mut random, count, different);
        // With the largest scale, most scores are too small for an f64.
        let scale = [0.5, 3.0, 300.0][random.below(3)];
        let prepared = qa.prepare(context.as_str()).unwrap();
        let job = qa.prepare_answer(QUESTION, &prepared, &options).unwrap();
        let rows = made_up_rows(&job, &mut random, scale);
        let definition = Definition::new(&qa, &context, &options, &rows);
        let competes = options.null_competes || options.handle_impossible_answer;
        let mut expected = definition.groups(&context, &options, competes);
        assert!(expected.len() <= KEPT_TEXTS || !options.merge_equal_texts, "seed {seed}");
        expected.truncate(options.top_k);
        check(&format!("seed {seed}, {options:?}"), &run(job, &rows), &context, &expected);

        check_ranking(&qa, &prepared, &options, &rows, &format!("seed {seed}"));
    }
}

/// A window has more texts than the search keeps. Those with the best places are kept, and all their places.
#[test]
fn a_window_with_many_texts_keeps_the_best_ones() {
    let qa = qa();
    for seed in 0..100 {
        let mut random = Random(seed);
        let mut options = options(&mut random);
        (options.max_seq_len, options.max_answer_len) = (Some(24), 17);
        let context = words(&mut random, 17, 4);
        let prepared = qa.prepare(context.as_str()).unwrap();
        let job = qa.prepare_answer(QUESTION, &prepared, &options).unwrap();
        let rows = made_up_rows(&job, &mut random, 3.0);
        assert_eq!(rows.len(), 1);
        let mut definition = Definition::new(&qa, &context, &options, &rows);
        definition.kept_texts = KEPT_TEXTS;
        let competes = options.null_competes || options.handle_impossible_answer;
        let mut expected = definition.groups(&context, &options, competes);
        expected.truncate(options.top_k);
        check(&format!("seed {seed}, {options:?}"), &run(job, &rows), &context, &expected);
    }
}

/// A ranking is the answers without merging and without the empty one, with their logits.
fn check_ranking(
    qa: &QuestionAnswering,
    prepared: &PreparedContext,
    options: &AnswerOptions,
    rows: &[Vec<f32>],
    case: &str,
) {
    let context = prepared.text();
    let ranking = run(qa.prepare_rank(QUESTION, prepared, options).unwrap(), rows);
    let definition = Definition::new(qa, context, options, rows);
    let competes = options.null_competes || options.handle_impossible_answer;
    let by_place = AnswerOptions::with(|o| o.merge_equal_texts = false);
    let mut expected = definition.groups(context, &by_place, competes);
    expected.truncate(options.top_k);
    let answers: Vec<Answer> = ranking.answers.iter().map(|ranked| ranked.answer.clone()).collect();
    check(&format!("{case}, {options:?}"), &answers, context, &expected);
    for (ranked, group) in ranking.answers.iter().zip(&expected) {
        assert_eq!((ranked.start_logit, ranked.end_logit), group[0].1.logits, "{case}");
    }
    assert_eq!(ranking.null_logit, definition.null.0 + definition.null.1, "{case}");
    assert_eq!(ranking.null_odds(), ranking.null_logit - definition.places[0].logit(), "{case}");
}

/// A context has more texts than the search keeps. The best ones are found, in whichever window they stand,
/// and their scores lack nothing but places that are worse than all texts that are kept.
#[test]
fn the_best_of_many_texts_are_found() {
    let qa = qa();
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut options = options(&mut random);
        (options.merge_equal_texts, options.handle_impossible_answer) = (true, false);
        options.max_answer_len = options.max_answer_len.max(2);
        let context = words(&mut random, 400, WORDS.len());
        let prepared = qa.prepare(context.as_str()).unwrap();
        let job = qa.prepare_answer(QUESTION, &prepared, &options).unwrap();
        let rows = made_up_rows(&job, &mut random, 3.0);
        let found = run(job, &rows);
        assert_eq!(found.len(), options.top_k);
        let definition = Definition::new(&qa, &context, &options, &rows);
        let groups = definition.groups(&context, &options, options.null_competes);
        assert!(groups.len() > KEPT_TEXTS, "seed {seed}");
        // A text is forgotten if as many others have a better place. Places above this logit are not.
        let mut best: Vec<f32> = groups.iter().map(|group| group[0].1.logit()).collect();
        best.sort_by(|a, b| b.total_cmp(a));
        let floor = best[KEPT_TEXTS - 1];
        let least = |group: &[(f64, Place)]| -> f64 {
            group.iter().filter(|(_, place)| place.logit() > floor).map(|(score, _)| score).sum()
        };
        let mut rest: Vec<&Vec<(f64, Place)>> = groups.iter().collect();
        for answer in &found {
            let case = format!("seed {seed}: {answer:?}");
            let is_same =
                |group: &&Vec<(f64, Place)>| (group[0].1.start, group[0].1.end) == (answer.start, answer.end);
            let group = rest.swap_remove(rest.iter().position(is_same).expect(&case));
            let score = f64::from(answer.score) * (1.0 + f64::from(RELATIVE));
            assert!(score >= least(group) && answer.others.len() < group.len(), "{case}");
            let place =
                |start, end| group.iter().find(|(_, p)| (p.start, p.end) == (start, end)).expect(&case);
            let others: f64 = answer.others.iter().map(|other| place(other.start, other.end).0).sum();
            assert!(is_near(answer.score, group[0].0 + others), "{case}");
        }
        assert!(found.is_sorted_by(|a, b| a.score >= b.score), "seed {seed}");
        let last = f64::from(found[found.len() - 1].score) * (1.0 + f64::from(RELATIVE));
        for group in rest {
            assert!(least(group) <= last, "seed {seed}: {group:?} is not among {found:?}");
        }
    }
}

/// The places of one text are bounded, and its score is the sum of those that are kept.
#[test]
fn a_text_has_a_bounded_number_of_places() {
    let qa = qa();
    let options = AnswerOptions::with(|o| {
        (o.max_seq_len, o.doc_stride, o.max_answer_len) = (Some(20), Some(0), 1);
    });
    let mut random = Random(1);
    for count in [KEPT_PLACES - 1, KEPT_PLACES, KEPT_PLACES + 1, 2 * KEPT_PLACES] {
        let context = words(&mut random, count, 1);
        let prepared = qa.prepare(context.as_str()).unwrap();
        let job = qa.prepare_answer(QUESTION, &prepared, &options).unwrap();
        let rows = made_up_rows(&job, &mut random, 0.5);
        let expected = Definition::new(&qa, &context, &options, &rows).groups(&context, &options, false);
        assert_eq!(expected[0].len(), count.min(KEPT_PLACES));
        check(&format!("{count} places"), &run(job, &rows), &context, &expected);
    }
}
