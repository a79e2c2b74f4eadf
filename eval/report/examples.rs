//! The examples that the model gets wrong.

use mobilebert::{TagMark, TagScheme};
use mobilebert_tools::dataset::{Labelled, Question, Sentence, Squad, Tagged};
use mobilebert_tools::metrics::entities::chunks_in;
use mobilebert_tools::metrics::squad::{Version, score};
use mobilebert_tools::task::{Dataset, Prediction};
use serde::{Deserialize, Serialize};

/// How many wrong examples are listed.
const LISTED: usize = 50;
/// How many characters of a text are shown.
const LONGEST: usize = 600;
/// How many characters of a context are shown on each side of an answer.
const AROUND: usize = 160;

/// The examples with a wrong prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wrong {
    /// How many there are. The list may be shorter.
    pub(crate) total: usize,
    /// What makes an example wrong, and the order of the list.
    pub(crate) about: String,
    pub(crate) listed: Vec<WrongExample>,
}

/// An example with a wrong prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WrongExample {
    pub(crate) id: String,
    pub(crate) texts: Vec<NamedText>,
    pub(crate) gold: String,
    pub(crate) predicted: String,
    /// The confidence, 0 to 1; `None` for tags, numbers, "no answer" and classes that the data does not have.
    pub(crate) confidence: Option<f32>,
}

/// A text of an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NamedText {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Lists wrong examples; `None` for data without labels.
pub(crate) fn wrong(data: &Dataset, predictions: &[Prediction], null_threshold: f32) -> Option<Wrong> {
    let (mut found, about): (Vec<(f64, usize)>, &str) = match data {
        Dataset::Squad(squad) => (
            wrong_answers(squad, predictions, null_threshold),
            "Wrong: not equal to any answer of the data, as the official script compares them. The lowest F1 first.",
        ),
        Dataset::Labelled(data) if data.classes.is_empty() => (
            wrong_values(data, predictions)?,
            "Wrong: more than 1 from the number of the data. The furthest first.",
        ),
        Dataset::Labelled(data) => (
            wrong_classes(data, predictions)?,
            "Wrong: another class than in the data. The most confident first.",
        ),
        Dataset::Tagged(data) => (
            wrong_tags(data, predictions),
            "Wrong: a sentence with an entity too many, too few or with other borders. The most such entities first.",
        ),
    };
    // The largest first, and examples that are equally wrong in the order of the file.
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let show = |&(_, i): &(f64, usize)| example(data, &predictions[i], i, null_threshold);
    let listed = found.iter().take(LISTED).map(show).collect();
    Some(Wrong { total: found.len(), about: about.to_owned(), listed })
}

fn null_of(squad: &Squad, threshold: f32) -> Option<f32> {
    (squad.version == Version::V2).then_some(threshold)
}

/// The wrong examples, each with how wrong it is.
fn wrong_answers(squad: &Squad, predictions: &[Prediction], threshold: f32) -> Vec<(f64, usize)> {
    let judge = |(i, (question, prediction)): (usize, (&Question, &Prediction))| {
        let answer = prediction.answer(null_of(squad, threshold)).unwrap_or_default();
        let score = score(squad.version, answer, &question.references());
        (score.exact < 1.0).then_some((1.0 - score.f1, i))
    };
    squad.questions.iter().zip(predictions).enumerate().filter_map(judge).collect()
}

fn wrong_values(data: &Labelled, predictions: &[Prediction]) -> Option<Vec<(f64, usize)>> {
    let gold = data.gold_values()?;
    let far = |(i, (gold, prediction)): (usize, (f64, &Prediction))| match prediction {
        Prediction::Value { value } => {
            Some(((f64::from(*value) - gold).abs(), i)).filter(|(far, _)| *far > 1.0)
        }
        _ => None,
    };
    Some(gold.into_iter().zip(predictions).enumerate().filter_map(far).collect())
}

fn wrong_classes(data: &Labelled, predictions: &[Prediction]) -> Option<Vec<(f64, usize)>> {
    let gold = data.gold_classes()?;
    let judge = |(i, (gold, prediction)): (usize, (usize, &Prediction))| match prediction {
        Prediction::Class { class, .. } if *class != gold => {
            Some((f64::from(confidence(prediction, None).unwrap_or_default()), i))
        }
        _ => None,
    };
    Some(gold.into_iter().zip(predictions).enumerate().filter_map(judge).collect())
}

fn wrong_tags(data: &Tagged, predictions: &[Prediction]) -> Vec<(f64, usize)> {
    let judge = |(i, (sentence, prediction)): (usize, (&Sentence, &Prediction))| {
        let Prediction::Tags { tags, scheme } = prediction else { return None };
        let (gold, found) = (chunks_in(data.scheme, &sentence.tags), chunks_in(*scheme, tags));
        let missing = gold.iter().filter(|chunk| !found.contains(chunk)).count();
        let surplus = found.iter().filter(|chunk| !gold.contains(chunk)).count();
        Some(((missing + surplus) as f64, i)).filter(|(wrong, _)| *wrong > 0.0)
    };
    data.sentences.iter().zip(predictions).enumerate().filter_map(judge).collect()
}

/// The probability of what was predicted. "No answer" has none: null odds have no bounds, and the scores are
/// those of other answers. Nor has a class that the data does not have.
fn confidence(prediction: &Prediction, null_threshold: Option<f32>) -> Option<f32> {
    match prediction {
        Prediction::Class { class, probabilities } => probabilities.get(*class).copied(),
        Prediction::Answers { null_odds, .. } if null_threshold.is_some_and(|most| *null_odds > most) => None,
        Prediction::Answers { answers, .. } => answers.first().map(|best| best.score),
        _ => None,
    }
}

fn example(data: &Dataset, prediction: &Prediction, i: usize, threshold: f32) -> WrongExample {
    let named = |name: &str, text: &str| NamedText { name: name.to_owned(), text: cut(text, LONGEST) };
    let null = match data {
        Dataset::Squad(squad) => null_of(squad, threshold),
        _ => None,
    };
    let (texts, gold, predicted) = match data {
        Dataset::Squad(squad) => {
            let question = &squad.questions[i];
            let answer = prediction.answer(null).unwrap_or_default();
            let texts = vec![
                named("question", &question.question),
                NamedText { name: "context".to_owned(), text: excerpt(squad, question, prediction) },
            ];
            let mut gold: Vec<&str> = question.references();
            gold.sort_unstable();
            gold.dedup();
            let or_none = |text: String| if text.is_empty() { "no answer".to_owned() } else { text };
            (texts, or_none(gold.join(" | ")), or_none(answer.to_owned()))
        }
        Dataset::Labelled(labelled) => {
            let example = &labelled.examples[i];
            let mut texts = vec![named("text", &example.text)];
            texts.extend(example.pair.as_ref().map(|pair| named("second text", pair)));
            (texts, data.references(i).join(" | "), prediction.text(data))
        }
        Dataset::Tagged(tagged) => {
            let sentence = &tagged.sentences[i];
            let (tags, scheme) = match prediction {
                Prediction::Tags { tags, scheme } => (tags.as_slice(), *scheme),
                _ => (&[][..], TagScheme::Bio),
            };
            let gold = entities(&sentence.words, tagged.scheme, &sentence.tags);
            (
                vec![named("sentence", &sentence.words.join(" "))],
                gold,
                entities(&sentence.words, scheme, tags),
            )
        }
    };
    WrongExample {
        id: data.id(i),
        texts,
        gold: cut(&gold, LONGEST),
        predicted: cut(&predicted, LONGEST),
        confidence: confidence(prediction, null),
    }
}

/// Writes entities as `PER Ada Lovelace · LOC London`.
fn entities(words: &[String], scheme: TagScheme, tags: &[String]) -> String {
    let chunks = chunks_in(scheme, tags);
    let entity = |chunk: &mobilebert_tools::metrics::entities::Chunk<'_>| {
        format!("{} {}", chunk.kind, words.get(chunk.first..=chunk.last).unwrap_or_default().join(" "))
    };
    match chunks.as_slice() {
        // Tags that are no entity in a strict scheme are shown as they are.
        [] if tags.iter().any(|tag| scheme.split(tag).0 != TagMark::Plain) => {
            format!("no entity: {}", tags.join(" "))
        }
        [] => "no entity".to_owned(),
        some => some.iter().map(entity).collect::<Vec<_>>().join(" · "),
    }
}

/// The parts of the context around the first true answer and the predicted one.
fn excerpt(squad: &Squad, question: &Question, prediction: &Prediction) -> String {
    let context: Vec<char> = squad.context(question).chars().collect();
    let mut places: Vec<(usize, usize)> = Vec::new();
    if let Some(gold) = question.answers.first() {
        places.push((gold.answer_start, gold.answer_start + gold.text.chars().count()));
    }
    if let Prediction::Answers { answers, .. } = prediction
        && let Some(best) = answers.first()
    {
        let before = |byte: usize| squad.context(question).get(..byte).map_or(0, |text| text.chars().count());
        places.push((before(best.start), before(best.end)));
    }
    let end = context.len();
    let widen = |(from, to): (usize, usize)| (from.saturating_sub(AROUND).min(end), (to + AROUND).min(end));
    let mut places: Vec<(usize, usize)> = places.into_iter().map(widen).collect();
    places.sort_unstable();
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for (from, to) in places {
        match parts.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => parts.push((from, to)),
        }
    }
    if parts.is_empty() {
        parts.push((0, end.min(2 * AROUND)));
    }
    let mut text = String::new();
    for (k, &(from, to)) in parts.iter().enumerate() {
        if k > 0 || from > 0 {
            text += if k > 0 { " … " } else { "… " };
        }
        text.extend(&context[from..to]);
    }
    if parts.last().is_some_and(|part| part.1 < end) {
        text += " …";
    }
    text
}

/// The first characters of a text, and a note if there are more.
fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((byte, _)) => format!("{} … ({} more characters)", &text[..byte], text[byte..].chars().count()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_compared_and_shown_in_words() {
        let sentence = |tags: &str| {
            let tags: Vec<String> = tags.split(' ').map(str::to_owned).collect();
            Sentence { line: 1, words: vec!["w".to_owned(); tags.len()], tags }
        };
        let data = Tagged {
            file: "f".to_owned(),
            sha256: String::new(),
            scheme: TagScheme::Bioes,
            sentences: vec![sentence("B-PER I-PER E-PER O S-LOC"), sentence("O O")],
        };
        let tags = |tags: &str| Prediction::Tags {
            tags: tags.split(' ').map(str::to_owned).collect(),
            scheme: TagScheme::Bio,
        };
        let predictions = [tags("B-PER I-PER O O B-PER"), tags("O O")];
        let wrong = wrong(&Dataset::Tagged(data), &predictions, 0.0).unwrap();
        assert_eq!((wrong.total, wrong.listed[0].gold.as_str()), (1, "PER w w w · LOC w"));
        assert_eq!(wrong.listed[0].predicted, "PER w w · PER w");
    }

    #[test]
    fn excerpts_hold_both_answers() {
        let context = format!("{}Ada{}Bob{}", "x ".repeat(500), "y ".repeat(500), "z ".repeat(500));
        let answer = mobilebert_tools::dataset::GoldAnswer { text: "Ada".to_owned(), answer_start: 1000 };
        let question = Question {
            id: "q".to_owned(),
            title: String::new(),
            question: "Who?".to_owned(),
            context: 0,
            answers: vec![answer],
        };
        let at = context.find("Bob").unwrap();
        let best = mobilebert_tools::task::Candidate {
            text: "Bob".to_owned(),
            start: at,
            end: at + 3,
            score: 0.5,
            start_logit: 0.0,
            end_logit: 0.0,
        };
        let prediction = Prediction::Answers { answers: vec![best], null_odds: 0.0 };
        let squad = Squad {
            file: "f".to_owned(),
            sha256: String::new(),
            version: Version::V1,
            contexts: vec![context],
            questions: vec![question.clone()],
        };
        let found = excerpt(&squad, &question, &prediction);
        assert!(found.contains("Ada") && found.contains("Bob") && found.contains(" … "), "{found}");
        assert!(found.chars().count() < 4 * AROUND + 30 && found.starts_with("… ") && found.ends_with(" …"));
        let listed = |version, threshold| {
            let data = Dataset::Squad(Squad { version, ..squad.clone() });
            let wrong = wrong(&data, std::slice::from_ref(&prediction), threshold).unwrap();
            assert_eq!((wrong.total, wrong.listed[0].gold.as_str()), (1, "Ada"));
            (wrong.listed[0].predicted.clone(), wrong.listed[0].confidence)
        };
        assert_eq!(listed(Version::V1, -1.0), ("Bob".to_owned(), Some(0.5)));
        assert_eq!(listed(Version::V2, 0.0), ("Bob".to_owned(), Some(0.5)));
        assert_eq!(listed(Version::V2, -1.0), ("no answer".to_owned(), None), "0.5 is the score of `Bob`");
    }

    #[test]
    fn a_class_that_the_data_does_not_have_has_no_confidence() {
        let class = |class| Prediction::Class { class, probabilities: vec![0.25, 0.125] };
        assert_eq!([0, 1, 2].map(|i| confidence(&class(i), None)), [Some(0.25), Some(0.125), None]);
    }

    #[test]
    fn long_texts_say_what_is_missing() {
        assert_eq!(cut("éééé", 3), "ééé … (1 more characters)");
        assert_eq!(cut("ééé", 3), "ééé");
    }
}
