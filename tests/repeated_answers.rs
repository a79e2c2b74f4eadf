//! Tests that the same fact in several places of a context is one answer.

use std::path::{Path, PathBuf};

use mobilebert::{Answer, AnswerOptions, QuestionAnswering};

const FACTS: &str = "anna works in paris. ";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/mobilebert-f32")
}

fn same_text(a: &str, b: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    words(a) == words(b)
}

/// Returns every place as a separate answer. The context must have few enough of them.
fn places(qa: &QuestionAnswering, context: &str) -> Vec<Answer> {
    let options = AnswerOptions::with(|o| (o.top_k, o.merge_equal_texts) = (usize::MAX, false));
    qa.answers_with("who works ?", context, &options).unwrap()
}

#[test]
fn scores_of_equal_texts_are_summed_and_their_places_listed() {
    let qa = QuestionAnswering::open(golden()).unwrap();
    let context = format!("{FACTS}{}", FACTS.to_uppercase());
    let places = places(&qa, &context);
    assert!(places.iter().all(|place| place.others.is_empty()));
    let options = AnswerOptions::with(|o| o.top_k = usize::MAX);
    let answers = qa.answers_with("who works ?", &context, &options).unwrap();
    assert!(answers.len() < places.len());
    for (i, answer) in answers.iter().enumerate() {
        assert!(answers[i + 1..].iter().all(|other| !same_text(&answer.answer, &other.answer)));
        let same: Vec<&Answer> =
            places.iter().filter(|place| same_text(&place.answer, &answer.answer)).collect();
        assert_eq!((answer.start, answer.end), (same[0].start, same[0].end), "the best place");
        let others: Vec<_> = same[1..].iter().map(|place| (place.start, place.end, place.score)).collect();
        assert_eq!(answer.others.iter().map(|o| (o.start, o.end, o.score)).collect::<Vec<_>>(), others);
        let sum: f32 = same.iter().map(|place| place.score).sum();
        assert!((answer.score - sum).abs() < 1e-6, "{}: {} and {sum}", answer.answer, answer.score);
    }
    assert!(answers.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(answers.iter().any(|answer| answer.others.len() == 1));
}

/// The number of answers that are requested does not change the score of the best one.
#[test]
fn the_best_answer_does_not_depend_on_top_k() {
    let qa = QuestionAnswering::open(golden()).unwrap();
    let context = FACTS.repeat(40);
    let options = |top_k| AnswerOptions::with(|o| (o.top_k, o.max_seq_len) = (top_k, Some(24)));
    let best = qa.answer_with("who works ?", &context, &options(1)).unwrap();
    let three = qa.answers_with("who works ?", &context, &options(3)).unwrap();
    assert_eq!(three.len(), 3);
    assert_eq!(three[0], best);
}

#[test]
fn the_shared_case_has_one_answer_in_both_places() {
    let case = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/cases/qa_repeated_fact.jsonl"));
    if !case.is_file() {
        eprintln!("SKIPPED: {} is absent", case.display());
        return;
    }
    let line: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(case).unwrap().lines().next().unwrap()).unwrap();
    let [question, context] = ["question", "context"].map(|key| line[key].as_str().unwrap());
    let qa = QuestionAnswering::open("qa").unwrap();
    let options = AnswerOptions::with(|o| o.top_k = 3);
    let answers = qa.answers_with(question, context, &options).unwrap();
    let best = &answers[0];
    assert_eq!(best.answer, "John Bradfield");
    assert_eq!(best.others.len(), 1, "{best:?}");
    let mut starts = [best.start, best.others[0].start];
    starts.sort_unstable();
    assert_eq!(starts.to_vec(), context.match_indices("John Bradfield").map(|(i, _)| i).collect::<Vec<_>>());
    let apart = AnswerOptions::with(|o| (o.top_k, o.merge_equal_texts) = (100, false));
    let places = qa.answers_with(question, context, &apart).unwrap();
    let same: Vec<f32> = places.iter().filter(|p| p.answer == best.answer).map(|p| p.score).collect();
    assert_eq!(same.len(), 2, "{places:?}");
    let sum: f32 = same.iter().sum();
    assert!((best.score - sum).abs() < 1e-6, "{} and {sum}", best.score);
}

/// In a context of one token, that token has the whole score unless the answer "the context does not say"
/// competes.
#[test]
fn no_answer_competes_for_the_score_if_asked_to() {
    let qa = QuestionAnswering::open(golden()).unwrap();
    let alone = qa.answer("who works ?", "paris").unwrap();
    assert_eq!(alone.score, 1.0);
    let options = AnswerOptions::with(|o| o.null_competes = true);
    let competing = qa.answer_with("who works ?", "paris", &options).unwrap();
    let context = qa.prepare("paris").unwrap();
    let ranking = qa.rank(&[("who works ?", &context)]).unwrap().remove(0);
    let found = &ranking.answers[0];
    assert_eq!(competing.answer, "paris");
    assert!(competing.score < 1.0);
    // The normaliser of the reference runs over two positions, `[CLS]` and the token. Only the sum of the two
    // null logits is known, so the product of the normalisers is bounded by the inequality of means.
    let odds = f64::from(ranking.null_logit - found.start_logit - found.end_logit);
    let most = 1.0 / (1.0 + (odds / 2.0).exp()).powi(2);
    assert!(f64::from(competing.score) <= most + 1e-6, "{} and {most}", competing.score);
}

/// Where nearly all probability is on one text, the rounded shares may sum to more than 1.
#[test]
fn scores_are_probabilities() {
    let qa = QuestionAnswering::open("qa").unwrap();
    for context in ["Bob", "Ada", "Paris", "a", "42", "x y", "Bob. Bob. Bob."] {
        for question in ["What?", "Who?", "x", "How many?", "Where is it"] {
            for answer in qa.answers(question, context).unwrap() {
                let scores = answer.others.iter().map(|place| place.score).chain([answer.score]);
                assert!(scores.into_iter().all(|score| (0.0..=1.0).contains(&score)), "{question} {context}");
            }
        }
    }
}
