//! The schemes in which tags mark where an entity begins and ends, and the groups of tags that they make.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The scheme in which the labels of a tagger mark the borders of entities.
///
/// It is chosen by the whole set of labels ([`TagScheme::of`]), never by a single one: a model whose labels
/// happen to contain `S-PER` is not one of [`TagScheme::Bioes`] unless it has all four marks.
///
/// Hugging Face's pipeline knows `B-` and `I-` only. It takes `E-PER` and `S-PER` for types of their own, so
/// a BIOES model's "Ada Lovelace" is there a `PER` ("Ada") and an `E-PER` ("Lovelace"); here it is one `PER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TagScheme {
    /// `B-` begins an entity, and `I-` continues it or begins one where there is nothing to continue. Labels
    /// without these marks continue an entity of their own name.
    #[default]
    Bio,
    /// In addition, `E-` is the last part of an entity, and `S-` is an entity of one part. The scheme is also
    /// called IOBES.
    Bioes,
    /// In addition to `B-` and `I-`, `L-` is the last part of an entity, and `U-` is an entity of one part.
    Bilou,
}

/// The place of a tag in its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagMark {
    /// The tag begins an entity: `B-`.
    Begin,
    /// The tag continues an entity: `I-`.
    Inside,
    /// The tag ends an entity: `E-`, `L-`.
    End,
    /// The tag is a whole entity: `S-`, `U-`.
    Single,
    /// The tag has no mark of the scheme. It stands for its own name, as `O` does.
    Plain,
}

impl TagScheme {
    /// Returns the scheme of a set of labels: [`TagScheme::Bioes`] if there are labels with each of `B-`,
    /// `I-`, `E-` and `S-`, [`TagScheme::Bilou`] if there are labels with each of `B-`, `I-`, `L-` and `U-`,
    /// and otherwise, or if both hold, [`TagScheme::Bio`].
    ///
    /// ```
    /// use mobilebert::TagScheme;
    ///
    /// assert_eq!(TagScheme::of(&["O", "B-PER", "I-PER", "E-PER", "S-LOC"]), TagScheme::Bioes);
    /// assert_eq!(TagScheme::of(&["O", "B-PER", "I-PER", "S-LOC"]), TagScheme::Bio);
    /// ```
    pub fn of<T: AsRef<str>>(labels: &[T]) -> Self {
        let has = |mark: &str| {
            labels.iter().any(|label| {
                label.as_ref().split_once('-').is_some_and(|(found, kind)| found == mark && !kind.is_empty())
            })
        };
        let has_all = |marks: [&str; 4]| marks.into_iter().all(has);
        match (has_all(["B", "I", "E", "S"]), has_all(["B", "I", "L", "U"])) {
            (true, false) => TagScheme::Bioes,
            (false, true) => TagScheme::Bilou,
            _ => TagScheme::Bio,
        }
    }

    /// Splits a tag into its mark and its type: `B-PER` is (begin, `PER`), `O` is (plain, `O`). A mark of
    /// another scheme belongs to the name: in BIO, `E-PER` is (plain, `E-PER`).
    pub fn split(self, tag: &str) -> (TagMark, &str) {
        let Some((mark, kind)) = tag.split_once('-') else { return (TagMark::Plain, tag) };
        match (self, mark) {
            (_, "B") => (TagMark::Begin, kind),
            (_, "I") => (TagMark::Inside, kind),
            (TagScheme::Bioes, "E") | (TagScheme::Bilou, "L") => (TagMark::End, kind),
            (TagScheme::Bioes, "S") | (TagScheme::Bilou, "U") => (TagMark::Single, kind),
            _ => (TagMark::Plain, tag),
        }
    }

    /// Cuts a sequence of tags into groups, so that each tag is in one of them; those of `O` are groups too.
    /// A tag joins the one before if both have the same type, the one before ends nothing and this one begins
    /// nothing. Sequences that break the rules of the scheme lose no tag: an `E-` with nothing before it is
    /// an entity. In [`TagScheme::Bio`] the groups are those of Hugging Face's pipeline. In BIOES the groups
    /// that are not `O` are the entities of seqeval's default mode; in BILOU they are those of the same tags
    /// with `L-` and `U-` written as `E-` and `S-`.
    ///
    /// ```
    /// use mobilebert::TagScheme;
    ///
    /// let tags = ["S-PER", "B-PER", "E-PER", "O"];
    /// assert_eq!(TagScheme::Bioes.groups(&tags), [0..1, 1..3, 3..4]);
    /// ```
    pub fn groups<T: AsRef<str>>(self, tags: &[T]) -> Vec<Range<usize>> {
        let mut groups = Vec::new();
        let mut start = 0;
        for i in 1..=tags.len() {
            let joins = tags
                .get(i)
                .is_some_and(|tag| self.joins(self.split(tags[i - 1].as_ref()), self.split(tag.as_ref())));
            if !joins {
                groups.push(start..i);
                start = i;
            }
        }
        groups
    }

    /// Whether a tag belongs to the group of the one before.
    pub(super) fn joins(self, before: (TagMark, &str), tag: (TagMark, &str)) -> bool {
        let is_over = matches!(before.0, TagMark::End | TagMark::Single);
        let begins = matches!(tag.0, TagMark::Begin | TagMark::Single);
        !is_over && !begins && before.1 == tag.1
    }
}

impl fmt::Display for TagScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TagScheme::Bio => "BIO",
            TagScheme::Bioes => "BIOES",
            TagScheme::Bilou => "BILOU",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{TagMark, TagScheme};

    /// Hugging Face's `get_tag` does the same: a tag without one of the two marks continues an entity of its
    /// own name.
    #[test]
    fn only_b_begins_an_entity_in_bio() {
        use TagMark::{Begin, Inside, Plain};
        for (tag, expected) in [
            ("B-PER", (Begin, "PER")),
            ("I-PER", (Inside, "PER")),
            ("PER", (Plain, "PER")),
            ("B-", (Begin, "")),
            ("I-", (Inside, "")),
            ("B", (Plain, "B")),
            ("I", (Plain, "I")),
            ("E-PER", (Plain, "E-PER")),
            ("S-PER", (Plain, "S-PER")),
            ("B-creative-work", (Begin, "creative-work")),
        ] {
            assert_eq!(TagScheme::Bio.split(tag), expected, "{tag}");
        }
        assert_eq!(TagScheme::Bioes.split("E-PER"), (TagMark::End, "PER"));
        assert_eq!(TagScheme::Bioes.split("L-PER"), (Plain, "L-PER"));
        assert_eq!(TagScheme::Bilou.split("U-PER"), (TagMark::Single, "PER"));
    }

    #[test]
    fn a_scheme_needs_all_its_marks() {
        for (labels, expected) in [
            ("O B-A I-A E-A S-A", TagScheme::Bioes),
            ("O B-A I-B E-C S-D X", TagScheme::Bioes),
            ("O B-A I-A L-A U-A", TagScheme::Bilou),
            ("O B-A I-A", TagScheme::Bio),
            ("O B-A I-A E-A", TagScheme::Bio),
            ("O B-A I-A S-A", TagScheme::Bio),
            ("O B-A I-A L-A", TagScheme::Bio),
            ("O B-A I-A E-A U-A", TagScheme::Bio),
            ("B I E S O", TagScheme::Bio),
            ("O B-A I-A E- S-A", TagScheme::Bio),
            ("B-A I-A E-A S-A L-A U-A", TagScheme::Bio),
            ("", TagScheme::Bio),
        ] {
            let labels: Vec<&str> = labels.split(' ').collect();
            assert_eq!(TagScheme::of(&labels), expected, "{labels:?}");
        }
    }

    #[test]
    fn broken_sequences_lose_nothing() {
        let groups = |tags: &str| TagScheme::Bioes.groups(&tags.split(' ').collect::<Vec<_>>());
        assert_eq!(groups("E-A E-A I-A"), [0..1, 1..2, 2..3]);
        assert_eq!(groups("B-A I-B E-A"), [0..1, 1..2, 2..3]);
        assert_eq!(groups("I-A E-A O O"), [0..2, 2..4]);
        assert_eq!(groups("S-A I-A E-A"), [0..1, 1..3]);
        assert!(TagScheme::Bioes.groups::<&str>(&[]).is_empty());
    }
}
