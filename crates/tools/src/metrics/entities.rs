//! Entity-level precision, recall and F1, counted as by seqeval (Nakayama 2018) and, before it, `conlleval`:
//! an entity is right if its type, its first word and its last word are.

use std::collections::{BTreeMap, BTreeSet};

use mobilebert::{TagMark, TagScheme};
use serde::Serialize;

/// An entity: words `first..=last` of a sentence, and its type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chunk<'t> {
    /// The type: `PER` of `B-PER`, `_` of a bare `B`.
    pub kind: &'t str,
    /// Its first word.
    pub first: usize,
    /// Its last word.
    pub last: usize,
}

/// Reads the entities off tags as seqeval's default mode and `conlleval` do: an `I-` begins an entity if it
/// follows `O` or another type, and `E-` and `S-` have their meaning of IOBES. `L-` and `U-` of BILOU, which
/// the originals do not know, are read like `E-` and `S-`.
///
/// ```
/// use mobilebert_tools::metrics::entities::chunks;
///
/// let found = chunks(&["B-PER", "I-PER", "O", "I-LOC"]);
/// let found: Vec<_> = found.iter().map(|c| (c.kind, c.first, c.last)).collect();
/// assert_eq!(found, [("PER", 0, 1), ("LOC", 3, 3)]);
/// ```
pub fn chunks<T: AsRef<str>>(tags: &[T]) -> Vec<Chunk<'_>> {
    chunks_by(split, tags)
}

/// Reads the entities off tags that `split` cuts into their letter and their type.
fn chunks_by<'t, T: AsRef<str>>(split: fn(&str) -> (char, &str), tags: &'t [T]) -> Vec<Chunk<'t>> {
    let mut chunks = Vec::new();
    let (mut before, mut kind_before, mut first) = ('O', "", 0);
    for i in 0..=tags.len() {
        let (mark, kind) = tags.get(i).map_or(('O', "O"), |tag| split(tag.as_ref()));
        if ends(before, mark, kind_before, kind) {
            chunks.push(Chunk { kind: kind_before, first, last: i - 1 });
        }
        if begins(before, mark, kind_before, kind) {
            first = i;
        }
        (before, kind_before) = (mark, kind);
    }
    chunks
}

/// Reads the entities off tags in a scheme: in BIO as [`chunks`] does, but that a tag without a mark (`PER`) is
/// the inside of an entity, as it is for [`mobilebert::TokenClassification`]; in BIOES and BILOU as seqeval's strict
/// mode does with its schemes IOBES and BILOU. There, an entity is `S-`, or `B-`, any number of `I-` and
/// `E-`, all of one type; tags that break this rule are no entity.
///
/// ```
/// use mobilebert::TagScheme;
/// use mobilebert_tools::metrics::entities::chunks_in;
///
/// let found = chunks_in(TagScheme::Bioes, &["B-PER", "E-PER", "I-PER", "S-LOC", "B-LOC"]);
/// let found: Vec<_> = found.iter().map(|c| (c.kind, c.first, c.last)).collect();
/// assert_eq!(found, [("PER", 0, 1), ("LOC", 3, 3)]);
/// ```
pub fn chunks_in<T: AsRef<str>>(scheme: TagScheme, tags: &[T]) -> Vec<Chunk<'_>> {
    if scheme == TagScheme::Bio {
        return chunks_by(split_or_inside, tags);
    }
    let mut chunks = Vec::new();
    // The entity that `B-` has begun: its first word and its type.
    let mut open: Option<(usize, &str)> = None;
    for (i, tag) in tags.iter().enumerate() {
        let (mark, kind) = scheme.split(tag.as_ref());
        let continued = open.filter(|&(_, begun)| begun == kind);
        open = match (mark, continued) {
            (TagMark::Begin, _) => Some((i, kind)),
            (TagMark::Inside, continued) => continued,
            (TagMark::End, Some((first, _))) => {
                chunks.push(Chunk { kind, first, last: i });
                None
            }
            (TagMark::Single, _) => {
                chunks.push(Chunk { kind, first: i, last: i });
                None
            }
            _ => None,
        };
    }
    chunks
}

/// Splits a tag into its letter and its type.
fn split(tag: &str) -> (char, &str) {
    let mut chars = tag.chars();
    let mark = chars.next().unwrap_or('O');
    let mark = match mark {
        'L' => 'E',
        'U' => 'S',
        mark => mark,
    };
    let rest = chars.as_str();
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    (mark, if kind.is_empty() { "_" } else { kind })
}

/// Splits like [`split`], but for a tag without a mark, whose first letter is that of its type.
fn split_or_inside(tag: &str) -> (char, &str) {
    match tag.contains('-') || tag.chars().nth(1).is_none() {
        true => split(tag),
        false => ('I', tag),
    }
}

fn ends(before: char, mark: char, kind_before: &str, kind: &str) -> bool {
    matches!((before, mark), ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O'))
        || (!matches!(before, 'O' | '.') && kind_before != kind)
}

fn begins(before: char, mark: char, kind_before: &str, kind: &str) -> bool {
    matches!((before, mark), (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I'))
        || (!matches!(mark, 'O' | '.') && kind_before != kind)
}

/// Precision, recall and F1 over entities, each 0 to 1 and 0 where undefined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct EntityScore {
    /// The share of the predicted entities that is right.
    pub precision: f64,
    /// The share of the reference's entities that is found.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Entities of the reference.
    pub support: usize,
}

/// The scores of a tagged text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntityScores {
    /// All types together (micro average).
    #[serde(flatten)]
    pub all: EntityScore,
    /// Share of words with the right tag.
    pub accuracy: f64,
    /// Each type that occurs in either list.
    pub types: BTreeMap<String, EntityScore>,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    right: usize,
    predicted: usize,
    actual: usize,
}

impl Counts {
    fn score(self) -> EntityScore {
        let ratio = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
        let precision = ratio(self.right as f64, self.predicted as f64);
        let recall = ratio(self.right as f64, self.actual as f64);
        let f1 = ratio(2.0 * precision * recall, precision + recall);
        EntityScore { precision, recall, f1, support: self.actual }
    }
}

/// Scores sentences of tags in BIO; see [`score_in`].
///
/// # Panics
/// If the lists, or two sentences, differ in length.
pub fn score<T: AsRef<str>>(predictions: &[Vec<T>], references: &[Vec<T>]) -> EntityScores {
    score_in((TagScheme::Bio, predictions), (TagScheme::Bio, references))
}

/// Scores sentences of tags. Each side is read in its own scheme, so that a model of one scheme can be scored
/// on data of another. Only `accuracy` compares the tags as they are written.
///
/// # Panics
/// If the lists, or two sentences, differ in length.
pub fn score_in<T: AsRef<str>>(
    (scheme, predictions): (TagScheme, &[Vec<T>]),
    (reference_scheme, references): (TagScheme, &[Vec<T>]),
) -> EntityScores {
    assert_eq!(predictions.len(), references.len());
    let mut types: BTreeMap<&str, Counts> = BTreeMap::new();
    let (mut right_tags, mut tags) = (0usize, 0usize);
    for (predicted, actual) in predictions.iter().zip(references) {
        assert_eq!(predicted.len(), actual.len());
        tags += actual.len();
        right_tags += predicted.iter().zip(actual).filter(|(p, a)| p.as_ref() == a.as_ref()).count();
        let found: BTreeSet<Chunk<'_>> = chunks_in(scheme, predicted).into_iter().collect();
        let there: BTreeSet<Chunk<'_>> = chunks_in(reference_scheme, actual).into_iter().collect();
        found.iter().for_each(|chunk| types.entry(chunk.kind).or_default().predicted += 1);
        there.iter().for_each(|chunk| types.entry(chunk.kind).or_default().actual += 1);
        found.intersection(&there).for_each(|chunk| types.entry(chunk.kind).or_default().right += 1);
    }
    let all = types.values().fold(Counts::default(), |sum, c| Counts {
        right: sum.right + c.right,
        predicted: sum.predicted + c.predicted,
        actual: sum.actual + c.actual,
    });
    EntityScores {
        all: all.score(),
        accuracy: if tags == 0 { 0.0 } else { right_tags as f64 / tags as f64 },
        types: types.into_iter().map(|(kind, counts)| (kind.to_owned(), counts.score())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tags: &str) -> Vec<(String, usize, usize)> {
        let tags: Vec<&str> = tags.split(' ').collect();
        chunks(&tags).into_iter().map(|c| (c.kind.to_owned(), c.first, c.last)).collect()
    }

    #[test]
    fn entities_begin_and_end_as_in_conlleval() {
        let entity = |kind: &str, first, last| (kind.to_owned(), first, last);
        assert_eq!(list("B-A B-A I-A I-B"), [entity("A", 0, 0), entity("A", 1, 2), entity("B", 3, 3)]);
        assert_eq!(list("I-A I-A O I-A"), [entity("A", 0, 1), entity("A", 3, 3)]);
        assert_eq!(list("S-A E-A I-B E-B"), [entity("A", 0, 0), entity("A", 1, 1), entity("B", 2, 3)]);
        assert_eq!(list("B I O"), [entity("_", 0, 1)]);
        // Without types nothing but the letters can begin an entity.
        assert_eq!(list("O I I O I"), [entity("_", 1, 2), entity("_", 4, 4)]);
        assert_eq!(list("I O E E"), [entity("_", 0, 0), entity("_", 2, 2), entity("_", 3, 3)]);
        assert_eq!(list("S I E I"), [entity("_", 0, 0), entity("_", 1, 2), entity("_", 3, 3)]);
        assert_eq!(list("O S S I"), [entity("_", 1, 1), entity("_", 2, 2), entity("_", 3, 3)]);
        assert_eq!(list("I- I-A B-"), [entity("_", 0, 0), entity("A", 1, 1), entity("_", 2, 2)]);
        assert_eq!(list("B-creative-work I-creative-work"), [entity("creative-work", 0, 1)]);
        assert_eq!(list("O O"), []);
    }

    /// `chunks` reads the first letter as a mark, as seqeval does.
    #[test]
    fn tags_without_marks_are_entities_in_bio() {
        let tags = ["PER", "PER", "O", "LOC", "PER", "B-PER", "X"];
        let found: Vec<_> =
            chunks_in(TagScheme::Bio, &tags).iter().map(|c| (c.kind, c.first, c.last)).collect();
        assert_eq!(found, [("PER", 0, 1), ("LOC", 3, 3), ("PER", 4, 4), ("PER", 5, 5), ("_", 6, 6)]);
        let tags = ["O", "B-PER", "I-PER", "I-LOC", "E", "S-X", "."];
        assert_eq!(chunks_in(TagScheme::Bio, &tags), chunks(&tags), "tags with marks");
    }

    #[test]
    fn half_found() {
        let tags = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let references = [tags("B-A I-A O B-B"), tags("O B-A")];
        let predictions = [tags("B-A O O B-B"), tags("O B-B")];
        let scores = score(&predictions, &references);
        assert_eq!(
            (scores.all.precision, scores.all.recall, scores.all.f1),
            (1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0)
        );
        assert_eq!(scores.accuracy, 4.0 / 6.0);
        assert_eq!((scores.types["A"].f1, scores.types["B"].recall, scores.all.support), (0.0, 1.0, 3));
        let more = score(&[tags("B-A B-A B-B")], &[tags("B-A O O")]);
        assert_eq!((more.all.precision, more.all.recall, more.all.f1), (1.0 / 3.0, 1.0, 0.5));
        assert_eq!((more.types["B"].support, more.types["A"].precision), (0, 0.5));
        let nothing = score::<String>(&[], &[]);
        assert_eq!((nothing.all.f1, nothing.accuracy), (0.0, 0.0));
    }
}
