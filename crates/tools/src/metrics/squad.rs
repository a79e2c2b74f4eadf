//! SQuAD v1.1 (Rajpurkar et al. 2016) and v2.0 (Rajpurkar, Jia, Liang 2018), as their `evaluate-v1.1.py` and
//! `evaluate-v2.0.py` compute them.

use std::collections::HashMap;

use serde::Serialize;

/// The script that scores. The two differ for answers without words: two such answers do not match in v1.1.
/// They do in v2.0, where the empty answer says that the context has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Version {
    /// Every question has an answer.
    #[serde(rename = "1.1")]
    V1,
    /// A question may have no answer.
    #[serde(rename = "2.0")]
    V2,
}

/// Normalises an answer: to lower case, without ASCII punctuation and the words `a`, `an` and `the`, and with
/// single spaces between words.
///
/// The rule for articles depends on what Python takes for a word. This function agrees with it except for the
/// vowel signs of Indic scripts, which are letters here.
///
/// ```
/// use mobilebert_tools::metrics::squad::normalize;
///
/// assert_eq!(normalize("The  U.S.-led  attack, an Answer"), "usled attack answer");
/// ```
pub fn normalize(answer: &str) -> String {
    let kept: String = answer.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut without_articles = String::with_capacity(kept.len());
    let mut rest = kept.as_str();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric();
        let end = match is_word(first) {
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (piece, behind) = rest.split_at(end);
        without_articles.push_str(if matches!(piece, "a" | "an" | "the") { " " } else { piece });
        rest = behind;
    }
    words(&without_articles).collect::<Vec<_>>().join(" ")
}

/// Splits as Python's `str.split()`, which also splits at the four ASCII separators.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)).filter(|word| !word.is_empty())
}

/// Whether two answers are equal once they are normalised.
pub fn exact(prediction: &str, reference: &str) -> bool {
    normalize(prediction) == normalize(reference)
}

/// Harmonic mean of precision and recall over the words of two answers, 0 to 1.
///
/// ```
/// use mobilebert_tools::metrics::squad::{Version, f1};
///
/// assert_eq!(f1(Version::V1, "the big dog", "a dog"), 2.0 / 3.0);
/// assert_eq!((f1(Version::V1, "", "the"), f1(Version::V2, "", "the")), (0.0, 1.0));
/// ```
pub fn f1(version: Version, prediction: &str, reference: &str) -> f64 {
    let (prediction, reference) = (normalize(prediction), normalize(reference));
    let predicted: Vec<&str> = words(&prediction).collect();
    let gold: Vec<&str> = words(&reference).collect();
    if version == Version::V2 && (predicted.is_empty() || gold.is_empty()) {
        return f64::from(predicted.is_empty() && gold.is_empty());
    }
    let mut open: HashMap<&str, usize> = HashMap::new();
    for word in &gold {
        *open.entry(word).or_default() += 1;
    }
    let mut common = 0usize;
    for word in &predicted {
        if let Some(left) = open.get_mut(word).filter(|left| **left > 0) {
            *left -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / predicted.len() as f64;
    let recall = common as f64 / gold.len() as f64;
    (2.0 * precision * recall) / (precision + recall)
}

/// The scores of one question, each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// 1 for an exact match.
    pub exact: f64,
    /// Overlap of words.
    pub f1: f64,
}

/// The best score over the references of a question. In v2.0, references without words do not count, and a
/// question without references has the empty answer as its reference.
pub fn score<R: AsRef<str>>(version: Version, prediction: &str, references: &[R]) -> Score {
    let counts = |reference: &&str| version == Version::V1 || !normalize(reference).is_empty();
    let mut references: Vec<&str> = references.iter().map(AsRef::as_ref).filter(counts).collect();
    if version == Version::V2 && references.is_empty() {
        references.push("");
    }
    let mut best = Score { exact: 0.0, f1: 0.0 };
    for reference in references {
        best.exact = best.exact.max(f64::from(exact(prediction, reference)));
        best.f1 = best.f1.max(f1(version, prediction, reference));
    }
    best
}

/// Means over questions, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Totals {
    /// Exact matches.
    pub exact: f64,
    /// Overlap of words.
    pub f1: f64,
    /// Number of questions.
    pub total: usize,
}

/// The mean over questions; `None` without any.
pub fn totals(scores: impl IntoIterator<Item = Score>) -> Option<Totals> {
    let (mut exact, mut f1, mut total) = (0.0, 0.0, 0usize);
    for score in scores {
        exact += score.exact;
        f1 += score.f1;
        total += 1;
    }
    let mean = |sum: f64| 100.0 * sum / total as f64;
    (total > 0).then(|| Totals { exact: mean(exact), f1: mean(f1), total })
}

/// The facts about one question that v2.0 scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item {
    /// Scores of the prediction.
    pub score: Score,
    /// Whether the question has an answer.
    pub has_answer: bool,
    /// Whether the prediction is an answer, not the empty one.
    pub answered: bool,
    /// How sure the model is that there is no answer. The scale does not matter, only the order.
    pub no_answer: f64,
}

impl Item {
    /// The scores of the prediction, or of the empty answer if `no_answer` is above the threshold.
    pub fn at(&self, threshold: f64) -> Score {
        match self.no_answer > threshold {
            true => {
                let right = f64::from(!self.has_answer);
                Score { exact: right, f1: right }
            }
            false => self.score,
        }
    }
}

/// The scores of v2.0, in percent; names in JSON are those of the official script.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Totals2 {
    /// All questions.
    #[serde(flatten)]
    pub all: Totals,
    /// Those that have an answer.
    #[serde(flatten, with = "has_ans", skip_serializing_if = "Option::is_none")]
    pub has_answer: Option<Totals>,
    /// Those that have none.
    #[serde(flatten, with = "no_ans", skip_serializing_if = "Option::is_none")]
    pub no_answer: Option<Totals>,
}

macro_rules! prefixed {
    ($module:ident, $exact:literal, $f1:literal, $total:literal) => {
        mod $module {
            use serde::ser::{Serialize, SerializeMap as _, Serializer};

            pub(super) fn serialize<S: Serializer>(
                totals: &Option<super::Totals>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let Some(totals) = totals else { return ().serialize(serializer) };
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry($exact, &totals.exact)?;
                map.serialize_entry($f1, &totals.f1)?;
                map.serialize_entry($total, &totals.total)?;
                map.end()
            }
        }
    };
}
prefixed!(has_ans, "HasAns_exact", "HasAns_f1", "HasAns_total");
prefixed!(no_ans, "NoAns_exact", "NoAns_f1", "NoAns_total");

/// The scores of v2.0 if `no_answer` above `threshold` means the empty answer; `None` without questions.
pub fn totals2(items: &[Item], threshold: f64) -> Option<Totals2> {
    let of = |wanted: Option<bool>| {
        totals(items.iter().filter(|i| wanted.is_none_or(|w| i.has_answer == w)).map(|i| i.at(threshold)))
    };
    Some(Totals2 { all: of(None)?, has_answer: of(Some(true)), no_answer: of(Some(false)) })
}

/// The threshold at which a score is best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Best {
    /// The score there, in percent.
    pub score: f64,
    /// The empty answer is given where [`Item::no_answer`] is above this. It is the smallest such threshold,
    /// or 0 if it is best to give the empty answer to every question.
    pub threshold: f64,
}

/// The best threshold for exact matches or, with `|s| s.f1`, for F1: `find_best_thresh` of the official
/// script. As in the original, the best score may be one in which only some of the questions with the same
/// `no_answer` are answered. Returns `None` without questions.
pub fn best_threshold(items: &[Item], score: impl Fn(&Score) -> f64) -> Option<Best> {
    let mut order: Vec<&Item> = items.iter().collect();
    order.sort_by(|a, b| a.no_answer.total_cmp(&b.no_answer));
    let mut current = items.iter().filter(|i| !i.has_answer).count() as f64;
    let mut best = Best { score: current, threshold: 0.0 };
    for item in order {
        current += match (item.has_answer, item.answered) {
            (true, _) => score(&item.score),
            (false, true) => -1.0,
            (false, false) => 0.0,
        };
        if current > best.score {
            best = Best { score: current, threshold: item.no_answer };
        }
    }
    best.score = 100.0 * best.score / items.len() as f64;
    (!items.is_empty()).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_follows_the_official_order() {
        for (text, expected) in [
            ("The the a an", ""),
            ("a-b", "ab"),
            ("A.B. the", "ab"),
            ("theory an\u{a0}apple", "theory apple"),
            ("x\u{1c}y\u{85}z", "x y z"),
            ("café the’s", "café ’s"),
            ("ΟΔΟΣ", "οδος"),
            ("a1 a_ 1a", "a1 1a"),
            ("", ""),
        ] {
            assert_eq!(normalize(text), expected, "{text:?}");
        }
    }

    #[test]
    fn words_count_as_often_as_both_have_them() {
        assert_eq!(f1(Version::V1, "b b c", "b c c"), 2.0 * (2.0 / 3.0) * (2.0 / 3.0) / (4.0 / 3.0));
        assert_eq!(f1(Version::V1, "x", "y"), 0.0);
        assert_eq!(f1(Version::V1, "", ""), 0.0);
        assert_eq!(f1(Version::V2, "the", ""), 1.0);
        assert_eq!(f1(Version::V2, "x", ""), 0.0);
    }

    #[test]
    fn references_without_words_count_in_the_first_version_only() {
        let none: [&str; 0] = [];
        assert_eq!(score(Version::V1, "", &none), Score { exact: 0.0, f1: 0.0 });
        assert_eq!(score(Version::V2, "", &none), Score { exact: 1.0, f1: 1.0 });
        assert_eq!(score(Version::V1, "the", &["an"]), Score { exact: 1.0, f1: 0.0 });
        assert_eq!(score(Version::V2, "x", &["the", "x y"]), Score { exact: 0.0, f1: 2.0 / 3.0 });
        assert_eq!(score(Version::V1, "x", &["x y", "x", "y"]), Score { exact: 1.0, f1: 1.0 });
    }

    #[test]
    fn the_best_threshold_separates() {
        let item = |right: f64, has_answer, no_answer| Item {
            score: Score { exact: right, f1: right },
            has_answer,
            answered: true,
            no_answer,
        };
        let items =
            [item(1.0, true, -3.0), item(0.0, false, 2.0), item(1.0, true, -1.0), item(0.0, true, 5.0)];
        assert_eq!(best_threshold(&items, |s| s.exact), Some(Best { score: 75.0, threshold: -1.0 }));
        let totals = totals2(&items, -1.0).unwrap();
        assert_eq!((totals.all.exact, totals.has_answer.unwrap().total), (75.0, 3));
        assert_eq!(totals.no_answer.unwrap().f1, 100.0);
        assert_eq!((totals2(&[], 0.0), best_threshold(&[], |s| s.f1)), (None, None));
    }

    #[test]
    fn of_equally_good_thresholds_the_smallest_is_best() {
        let item = |f1, has_answer, answered, no_answer| Item {
            score: Score { exact: 0.0, f1 },
            has_answer,
            answered,
            no_answer,
        };
        // A wrong answer changes nothing, and neither does an empty one where there is no answer.
        let items = [
            item(1.0, false, false, 0.5),
            item(0.5, true, true, 1.0),
            item(0.0, true, true, 2.0),
            item(0.0, false, true, 4.0),
        ];
        assert_eq!(best_threshold(&items, |s| s.f1), Some(Best { score: 62.5, threshold: 1.0 }));
        assert_eq!(best_threshold(&items, |s| s.exact), Some(Best { score: 50.0, threshold: 0.0 }));
    }

    #[test]
    fn names_are_those_of_the_official_script() {
        let item =
            Item { score: Score { exact: 1.0, f1: 1.0 }, has_answer: true, answered: true, no_answer: 0.0 };
        let json = serde_json::to_value(totals2(&[item], 1.0)).unwrap();
        let names: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(names, ["exact", "f1", "total", "HasAns_exact", "HasAns_f1", "HasAns_total"]);
    }
}
