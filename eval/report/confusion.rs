//! What the model takes for what.

use std::collections::HashMap;

use mobilebert_tools::dataset::{Example, Gold, Labelled, Tagged};
use mobilebert_tools::task::{Dataset, Prediction};
use serde::{Deserialize, Serialize};

/// How many classes a matrix shows. The others are counted together.
const CLASSES: usize = 12;
/// The name of the row and the column of those others.
const OTHERS: &str = "all others";

/// How often each class was taken for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Confusion {
    /// What is counted: `examples` or `words`.
    pub(crate) unit: String,
    /// The classes of the data, a row each.
    pub(crate) gold: Vec<String>,
    /// The predicted classes, a column each: those of the rows in the same order, then any others.
    pub(crate) predicted: Vec<String>,
    pub(crate) counts: Vec<Vec<usize>>,
    /// Whether the last row, and the column of the same place, are those of several classes.
    #[serde(default)]
    pub(crate) has_others: bool,
    pub(crate) note: String,
}

/// A class by its name, which may be any; `None` is a prediction that is none of the classes of the data.
type Class<'a> = Option<&'a str>;

/// Counts what was taken for what; `None` for questions, numbers and data without labels.
pub(crate) fn confusion(data: &Dataset, predictions: &[Prediction]) -> Option<Confusion> {
    match data {
        Dataset::Labelled(data) if !data.classes.is_empty() => of_labels(data, predictions),
        Dataset::Tagged(data) => Some(of_tags(data, predictions)),
        _ => None,
    }
}

fn of_labels(data: &Labelled, predictions: &[Prediction]) -> Option<Confusion> {
    let name = |class: usize| data.classes.get(class).and_then(|names| names.last()).map(String::as_str);
    let pair = |(example, prediction): (&Example, &Prediction)| match (example.gold, prediction) {
        (Some(Gold::Class(gold)), Prediction::Class { class, .. }) => Some((name(gold), name(*class))),
        _ => None,
    };
    let pairs: Option<Vec<(Class<'_>, Class<'_>)>> =
        data.examples.iter().zip(predictions).map(pair).collect();
    Some(count("examples", &pairs?, ""))
}

fn of_tags(data: &Tagged, predictions: &[Prediction]) -> Confusion {
    let mut pairs = Vec::new();
    for (sentence, prediction) in data.sentences.iter().zip(predictions) {
        let Prediction::Tags { tags, scheme } = prediction else { continue };
        let kinds = sentence.tags.iter().zip(tags);
        pairs.extend(kinds.map(|(gold, tag)| (Some(Tagged::kind(gold)), Some(scheme.split(tag).1))));
    }
    count("words", &pairs, "Words by the type of their tag, without marks such as B-.")
}

/// Counts pairs of a true and a predicted class.
fn count(unit: &str, pairs: &[(Class<'_>, Class<'_>)], note: &str) -> Confusion {
    let mut sizes: HashMap<Class<'_>, (usize, usize)> = HashMap::new();
    for (gold, predicted) in pairs {
        sizes.entry(*gold).or_default().0 += 1;
        sizes.entry(*predicted).or_default().1 += 1;
    }
    // Classes of the data come first, and what is no class comes last.
    let order = |class: &Class<'_>| (sizes[class].0 == 0, class.is_none());
    let mut classes: Vec<Class<'_>> = sizes.keys().copied().collect();
    classes.sort_unstable_by(|a, b| (order(a), a).cmp(&(order(b), b)));
    let mut note = note.to_owned();
    let all = classes.len();
    if all > CLASSES {
        classes.sort_by_key(|class| usize::MAX - sizes[class].0 - sizes[class].1);
        classes.truncate(CLASSES - 1);
        classes.sort_unstable_by(|a, b| (order(a), a).cmp(&(order(b), b)));
        let rest = all - classes.len();
        note += &format!(" The {rest} smallest of {all} classes are counted together as “{OTHERS}”.");
    }
    let has_others = all > classes.len();
    // A class that is only predicted has a column and no row.
    let rows = classes.iter().take_while(|class| sizes[*class].0 > 0).count();
    // The row and the column of all others come after the classes of the data.
    let shift = usize::from(has_others);
    let at: HashMap<Class<'_>, usize> = classes.iter().copied().zip(0..).collect();
    let row = |class: &Class<'_>| at.get(class).copied().unwrap_or(rows);
    let column = |class: &Class<'_>| match at.get(class) {
        Some(&at) if at < rows => at,
        Some(&at) => at + shift,
        None => rows,
    };
    let mut counts = vec![vec![0; classes.len() + shift]; rows + shift];
    for (gold, predicted) in pairs {
        counts[row(gold)][column(predicted)] += 1;
    }
    let named = |class: &Class<'_>| class.unwrap_or(Prediction::NO_CLASS).to_owned();
    let mut gold: Vec<String> = classes[..rows].iter().map(named).collect();
    gold.extend(has_others.then(|| OTHERS.to_owned()));
    let predicted = gold.iter().cloned().chain(classes[rows..].iter().map(named)).collect();
    Confusion { unit: unit.to_owned(), gold, predicted, counts, has_others, note: note.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use mobilebert::TagScheme;
    use mobilebert_tools::dataset::Sentence;

    use super::*;

    fn count_named(pairs: &[(&str, &str)]) -> Confusion {
        let pairs: Vec<_> = pairs.iter().map(|(gold, predicted)| (Some(*gold), Some(*predicted))).collect();
        count("examples", &pairs, "")
    }

    fn sums(found: &Confusion) -> (usize, usize, usize) {
        let total = found.counts.iter().flatten().sum();
        let right = (0..found.gold.len()).map(|i| found.counts[i][i]).sum();
        let row = found.counts.first().map_or(0, |row| row.iter().sum());
        (total, right, row)
    }

    #[test]
    fn a_matrix_by_hand() {
        let pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "c"), ("a", "a")];
        let found = count_named(&pairs);
        assert_eq!((found.gold.join(" "), found.predicted.join(" ")), ("a b".into(), "a b c".into()));
        assert_eq!(found.counts, [[2, 1, 0], [0, 1, 1]]);
        assert_eq!((sums(&found), found.note.as_str(), found.has_others), ((5, 3, 3), "", false));
    }

    #[test]
    fn a_matrix_of_many_classes_counts_every_example() {
        let names: Vec<String> = (0..100).map(|i| format!("class {i:02}")).collect();
        let pairs: Vec<(&str, &str)> =
            (0..5000).map(|i: usize| (names[(i * i) % 97].as_str(), names[(i * 7) % 100].as_str())).collect();
        let found = count_named(&pairs);
        assert_eq!(sums(&found).0, 5000);
        assert!(found.gold.len() <= CLASSES && found.predicted.len() <= CLASSES + 1, "{found:?}");
        assert_eq!(found.gold, found.predicted[..found.gold.len()]);
        assert!(found.has_others && found.gold.last().unwrap() == OTHERS, "{found:?}");
        assert!(found.note.contains("of 100 classes are counted together"), "{}", found.note);
    }

    /// Labels may be any words, also those that the matrix uses for something else.
    #[test]
    fn a_class_with_the_name_of_a_rest_is_a_class() {
        let names: Vec<String> = (0..20).map(|i| format!("class {i:02}")).collect();
        let mut pairs = vec![(OTHERS, OTHERS); 7];
        pairs.extend(names.iter().map(|name| (name.as_str(), name.as_str())));
        let found = count_named(&pairs);
        let at = found.gold.iter().position(|name| name == OTHERS).unwrap();
        assert_eq!((found.counts[at][at], found.gold.last().unwrap().as_str()), (7, OTHERS));
        assert!(at + 1 < found.gold.len(), "the class and the rest have rows of their own");

        let none = Some(Prediction::NO_CLASS);
        let found = count("examples", &[(none, none), (none, None), (Some("a"), None)], "");
        assert_eq!(found.gold, ["a", Prediction::NO_CLASS]);
        assert_eq!(found.counts, [[0, 0, 1], [0, 1, 1]], "a prediction of no class is never right");
    }

    #[test]
    fn words_are_counted_by_the_type_of_their_tag() {
        let tags = |tags: &str| tags.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let tags_of = |text: &str| Prediction::Tags { tags: tags(text), scheme: TagScheme::Bio };
        let sentence = |text: &str| Sentence {
            line: 1,
            words: vec!["w".to_owned(); tags(text).len()],
            tags: tags(text),
        };
        let data = Tagged {
            file: "f".to_owned(),
            sha256: String::new(),
            scheme: TagScheme::Bioes,
            sentences: vec![sentence("B-PER I-PER E-PER O S-LOC"), sentence("O O")],
        };
        let predictions = [tags_of("B-PER I-PER O O B-PER"), tags_of("O O")];
        // A file may have too few tags to tell its scheme.
        for scheme in [TagScheme::Bioes, TagScheme::Bio] {
            let found = of_tags(&Tagged { scheme, ..data.clone() }, &predictions);
            assert_eq!(
                (found.gold.join(" "), found.counts),
                ("LOC O PER".into(), vec![vec![0, 0, 1], vec![0, 3, 0], vec![0, 1, 2]])
            );
        }
    }
}
