//! The best places for an answer, over all windows of one context.

use std::collections::{HashMap, HashSet};

use super::exp::exp;
use super::question_answering::{Answer, AnswerOptions, AnswerPlace, RankedAnswer, Ranking};
use super::scores::best_first;
use crate::text::{Span, Window};

/// The number of texts that a search keeps at least, so that the sum of an answer's places does not depend on
/// `top_k`. A place that is worse than those of so many texts adds next to nothing.
const MIN_TEXTS: usize = 64;

/// The number of places of one text that are kept and counted. It bounds the memory for a context that
/// repeats one text.
const MAX_PLACES: usize = 256;

/// The part that "the context does not say" has in a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Null {
    Ignored,
    /// It has a part of the scores but is no answer.
    Competes,
    /// It is an answer, and the best one if its odds are above this.
    Answer(f32),
}

/// Collects the best places and the normalisers over all windows of one context.
#[derive(Debug)]
pub(super) struct Search {
    top_k: usize,
    max_answer_len: usize,
    /// True if places with equal texts are one answer.
    pub(super) merged: bool,
    starts: ExpSum,
    ends: ExpSum,
    /// The start and end logit of `[CLS]` in the window where their sum is least, which is where "no answer"
    /// is least likely.
    null: Option<(f32, f32)>,
    candidates: Vec<Candidate>,
    /// The numbers of the texts that are kept, by the form in which they are compared, and the next number.
    texts: HashMap<String, u32>,
    next: u32,
    /// The logit that a further place has to exceed, once enough texts are known.
    floor: f32,
}

/// A place of the context with its logits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    start: f32,
    end: f32,
    span: Span,
    /// The number of its text, once that is known. A place is sorted many times, and its text is read once.
    text: Option<u32>,
}

impl Candidate {
    fn new(start: f32, end: f32, span: Span) -> Self {
        Self { start, end, span, text: None }
    }

    fn logit(&self) -> f32 {
        self.start + self.end
    }
}

impl Search {
    pub(super) fn new(options: &AnswerOptions) -> Self {
        Self {
            top_k: options.top_k,
            max_answer_len: options.max_answer_len,
            merged: options.merge_equal_texts,
            starts: ExpSum::new(),
            ends: ExpSum::new(),
            null: None,
            candidates: Vec::new(),
            texts: HashMap::new(),
            next: 0,
            floor: f32::NEG_INFINITY,
        }
    }

    /// Returns the number of texts to keep, or of places if each is an answer of its own.
    fn kept(&self) -> usize {
        if self.merged { self.top_k.max(MIN_TEXTS) } else { self.top_k }
    }

    /// Adds the places of a window. `logits` holds a start and an end logit for each of its tokens.
    pub(super) fn add(&mut self, context: &str, window: &Window, logits: &[f32]) {
        let positions = window.positions();
        let start = |p: usize| logits[2 * p];
        let end = |p: usize| logits[2 * p + 1];
        for p in positions.clone() {
            self.starts.add(start(p));
            self.ends.add(end(p));
        }
        let null = (start(0), end(0));
        if self.null.is_none_or(|least| null.0 + null.1 < least.0 + least.1) {
            self.null = Some(null);
        }
        let spans = window.encoding().spans();
        let mut limit = self.limit();
        for first in positions.clone() {
            for last in first..positions.end.min(first.saturating_add(self.max_answer_len)) {
                let span = Span::new(spans[first].start, spans[last].end.max(spans[first].start));
                let candidate = Candidate::new(start(first), end(last), span);
                if candidate.logit() > self.floor {
                    self.candidates.push(candidate);
                }
            }
            if self.candidates.len() > limit {
                self.keep_best(context);
                limit = self.limit();
            }
        }
        self.keep_best(context);
    }

    /// Returns the number of places above which only the best are kept. There are at least as many new ones as
    /// are kept already, so a context that repeats its texts many times is not sorted again for each few places.
    fn limit(&self) -> usize {
        let known = self.candidates.len();
        known.saturating_add(known.max(self.kept().saturating_mul(8)))
    }

    /// Sorts by logit, with earlier places first among equals, and keeps different places of the best texts.
    fn keep_best(&mut self, context: &str) {
        let groups = self.groups(context);
        if groups.len() == self.kept() {
            let worst = groups.last().and_then(|places| places.first());
            self.floor = worst.map_or(f32::NEG_INFINITY, Candidate::logit);
        }
        self.candidates = groups.into_iter().flatten().collect();
        let kept: HashSet<u32> = self.candidates.iter().filter_map(|candidate| candidate.text).collect();
        self.texts.retain(|_, number| kept.contains(number));
    }

    /// Returns the places of each of the best texts, best first. The texts are sorted by their best place.
    fn groups(&mut self, context: &str) -> Vec<Vec<Candidate>> {
        self.candidates.sort_by(best_first(Candidate::logit, |_, _| std::cmp::Ordering::Equal));
        let most = self.kept();
        let mut groups: Vec<Vec<Candidate>> = Vec::new();
        let mut places = HashSet::with_capacity(self.candidates.len());
        // The group of each text, by its number. A search that does not merge knows no text.
        let (mut numbers, mut key) = (HashMap::new(), String::new());
        for candidate in &self.candidates {
            if !self.merged && groups.len() == most {
                break;
            }
            if !places.insert(candidate.span) {
                continue;
            }
            let mut candidate = *candidate;
            if self.merged && candidate.text.is_none() {
                write_key(&mut key, &context[candidate.span.range()]);
                candidate.text = self.texts.get(&key).copied();
            }
            let known = candidate.text.and_then(|number| numbers.get(&number)).copied();
            if let Some(group) = known.and_then(|index: usize| groups.get_mut(index)) {
                if group.len() < MAX_PLACES {
                    group.push(candidate);
                }
            } else if groups.len() < most {
                // Texts beyond the best ones are not kept.
                if self.merged {
                    let number = candidate.text.unwrap_or_else(|| {
                        self.next += 1;
                        self.texts.insert(key.clone(), self.next);
                        self.next
                    });
                    candidate.text = Some(number);
                    numbers.insert(number, groups.len());
                }
                groups.push(vec![candidate]);
            }
        }
        groups
    }

    /// Returns the best places without "the context does not say", with their logits.
    pub(super) fn ranking(&mut self, context: &str, null: Null) -> Ranking {
        let null_logit = self.null.map_or(f32::NEG_INFINITY, |(start, end)| start + end);
        let found = self.finish(context, null);
        let ranked = |places: &Vec<(f64, Candidate)>| {
            let (_, best) = places.first()?;
            let answer = answer(context, places);
            Some(RankedAnswer { answer, start_logit: best.start, end_logit: best.end })
        };
        Ranking { answers: found.iter().filter_map(ranked).collect(), null_logit }
    }

    /// Returns the places of the best `top_k` answers with their scores.
    pub(super) fn finish(&mut self, context: &str, null: Null) -> Vec<Vec<(f64, Candidate)>> {
        let groups = self.groups(context);
        if let (Null::Competes | Null::Answer(_), Some((start, end))) = (null, self.null) {
            self.starts.add(start);
            self.ends.add(end);
        }
        let (max, sum) = (self.starts.max + self.ends.max, self.starts.sum * self.ends.sum);
        let scored = |c: Candidate| (exp(f64::from(c.logit()) - max) / sum, c);
        let mut answers: Vec<Vec<(f64, Candidate)>> =
            groups.into_iter().map(|group| group.into_iter().map(scored).collect()).collect();
        let total = |places: &Vec<(f64, Candidate)>| places.iter().map(|(score, _)| score).sum::<f64>();
        let best =
            |places: &Vec<(f64, Candidate)>| places.first().map_or(f32::NEG_INFINITY, |(_, c)| c.logit());
        // Logits also order the answers whose scores are 0.
        answers.sort_by(|a, b| total(b).total_cmp(&total(a)).then_with(|| best(b).total_cmp(&best(a))));
        if let (Null::Answer(odds), Some((start, end))) = (null, self.null) {
            let (score, candidate) = scored(Candidate::new(start, end, Span::default()));
            // The threshold is taken off the logit, so it divides the score.
            let (rank, logit) = (score * exp(f64::from(-odds)), candidate.logit() - odds);
            let is_better = |places: &Vec<(f64, Candidate)>| {
                total(places) > rank || total(places) == rank && best(places) >= logit
            };
            answers.insert(answers.partition_point(is_better), vec![(score, candidate)]);
        }
        answers.truncate(self.top_k);
        answers
    }
}

/// The sum of `exp(x)` over numbers that arrive one by one, kept as `sum * exp(max)`, which does not
/// overflow.
#[derive(Debug)]
struct ExpSum {
    max: f64,
    sum: f64,
}

impl ExpSum {
    fn new() -> Self {
        Self { max: f64::NEG_INFINITY, sum: 0.0 }
    }

    fn add(&mut self, x: f32) {
        let x = f64::from(x);
        if x > self.max {
            self.sum = self.sum * exp(self.max - x) + 1.0;
            self.max = x;
        } else {
            self.sum += exp(x - self.max);
        }
    }
}

/// Makes the answer that stands in these places, which are sorted best first and are never empty.
pub(super) fn answer(context: &str, places: &[(f64, Candidate)]) -> Answer {
    // The sum of rounded shares may be above 1 by a step of f64, which f32 would make a larger one.
    let probability = |sum: f64| sum.min(1.0) as f32;
    let score = probability(places.iter().map(|(score, _)| score).sum());
    let span = places.first().map_or(Span::default(), |(_, best)| best.span);
    let place = |(score, c): &(f64, Candidate)| AnswerPlace {
        score: probability(*score),
        start: c.span.start,
        end: c.span.end,
    };
    Answer {
        score,
        start: span.start,
        end: span.end,
        answer: context[span.range()].to_owned(),
        others: places.iter().skip(1).map(place).collect(),
    }
}

/// Writes the form in which texts are compared. White space and case do not count. Thousands of places of each
/// window are compared, so nothing is allocated for words in ASCII.
fn write_key(key: &mut String, text: &str) {
    key.clear();
    for word in text.split_whitespace() {
        if !key.is_empty() {
            key.push(' ');
        }
        match word.is_ascii() {
            true => {
                let start = key.len();
                key.push_str(word);
                key[start..].make_ascii_lowercase();
            }
            // The lower case of a letter may depend on its place in the word.
            false => key.push_str(&word.to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Tokenizer, TokenizerFiles, WindowOptions};

    /// Otherwise a context that repeats a few words takes a hundred times as long as its passes.
    #[test]
    fn places_are_read_once_and_sorted_once_for_as_many_new_ones() {
        let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n";
        let files = TokenizerFiles::new("test").vocab("vocab.txt", vocab.as_bytes());
        let (tokenizer, context) = (Tokenizer::from_files(&files).unwrap(), "a b A ".repeat(200));
        let tokens = tokenizer.tokenize(&context).unwrap();
        let mut search = Search::new(&AnswerOptions::with(|o| (o.top_k, o.max_answer_len) = (1000, 50)));
        for window in tokens.windows(&WindowOptions::new(64).doc_stride(8)).unwrap() {
            search.add(&context, &window, &vec![0.0; 2 * window.encoding().len()]);
            let places = &search.candidates;
            assert!(places.iter().all(|place| place.text.is_some()));
            assert!(search.limit() >= 2 * places.len(), "{} for {}", search.limit(), places.len());
        }
        // Those that begin with `a b`, `b a` and `a a`, of each length but one, which are two texts.
        assert_eq!(search.texts.len(), 3 * 50 - 1);
        assert_eq!(search.finish(&context, Null::Ignored).len(), 3 * 50 - 1);
    }

    #[test]
    fn texts_are_compared_by_their_words_in_lower_case() {
        let mut key = String::new();
        for text in [
            "",
            "Ada",
            " The  City\tof\nNew York ",
            "ΟΔΟΣ ΣΑΣ, naïve İstanbul\u{a0}CAFÉ",
            "\u{b}\u{c}A\u{1c}B\u{85}C",
            "Straße ẞ ΟΔΟΣ. Σ",
        ] {
            write_key(&mut key, text);
            let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
            assert_eq!(key, words.join(" "), "{text:?}");
        }
    }
}
