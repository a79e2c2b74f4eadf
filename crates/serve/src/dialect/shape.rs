//! Shapes that several dialects have: one text or a list of them, pairs, vectors as numbers or in base64.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use mobilebert::{
    Classification, ClassifyOptions, EmbedOptions, Embedding, FillMask, FillOptions, OffsetUnit,
    TextClassification, TokenClassification,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::call::{Call, ResultBytes, Run, at, check_top_k};
use crate::error::{Refusal, Result, short};
use crate::models::Served;
use crate::work::{AnyJob, Found, work};

/// A value whose fields stand in a JSON object. Without this a list would do too: its elements would be taken
/// for the fields in the order in which they happen to be declared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// One text, or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) all: Vec<String>,
    /// False for a text that stands alone, whose result stands alone too.
    pub(crate) is_list: bool,
}

impl Texts {
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.all.iter().map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts { all: vec![text.to_owned()], is_list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = list.next_element()? {
                    all.push(text);
                }
                Ok(Texts { all, is_list: true })
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// A text or a pair of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) first: String,
    pub(crate) second: Option<String>,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a pair of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                Ok(Item { first: text.to_owned(), second: None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Item, A::Error> {
                let first: String = list.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let second = list.next_element()?;
                if list.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(3, &self));
                }
                Ok(Item { first, second })
            }
        }
        deserializer.deserialize_any(ItemVisitor)
    }
}

/// A text, or a list of texts and pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) all: Vec<Item>,
    pub(crate) is_list: bool,
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;
        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts and pairs of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Items, E> {
                Ok(Items { all: vec![Item { first: text.to_owned(), second: None }], is_list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = list.next_element()? {
                    all.push(item);
                }
                Ok(Items { all, is_list: true })
            }
        }
        deserializer.deserialize_any(ItemsVisitor)
    }
}

impl Items {
    pub(crate) fn texts(&self) -> Vec<&str> {
        let both = |item| {
            let Item { first, second }: &Item = item;
            [Some(first.as_str()), second.as_deref()].into_iter().flatten()
        };
        self.all.iter().flat_map(both).collect()
    }
}

/// The unit of offsets, by the names of the command line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unit(pub(crate) OffsetUnit);

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map(Unit).map_err(|_| {
            D::Error::custom(format!("offsets are {:?}; expected bytes, chars or utf16", short(&name)))
        })
    }
}

/// Makes jobs that classify.
pub(crate) fn classify_jobs(
    classifier: &TextClassification,
    items: &[Item],
    is_list: bool,
    options: &ClassifyOptions,
) -> Result<Vec<AnyJob>> {
    let job = |(i, item): (usize, &Item)| {
        let prepared = match &item.second {
            Some(second) => classifier.prepare_classify_pair(&item.first, second, options),
            None => classifier.prepare_classify(&item.first, options),
        };
        prepared.map(|job| work(job, Found::Labels)).map_err(at("text", is_list, i))
    };
    items.iter().enumerate().map(job).collect()
}

/// Makes jobs that tag.
pub(crate) fn tag_jobs(
    tagger: &TokenClassification,
    texts: &Texts,
    options: &mobilebert::TagOptions,
) -> Result<Vec<AnyJob>> {
    let job = |(i, text)| {
        let prepared = tagger.prepare_tag(text, options);
        prepared.map(|job| work(job, Found::Entities)).map_err(at("text", texts.is_list, i))
    };
    texts.iter().enumerate().map(job).collect()
}

/// The most targets of a request, each of which is kept for each text.
const MOST_TARGETS: usize = 1 << 20;

/// Makes jobs that fill masks. Each word that is found for a mask repeats its whole text, so the bytes of all
/// of them are bounded before anything is computed.
pub(crate) fn fill_jobs(
    filler: &FillMask,
    texts: &Texts,
    unit: &'static str,
    options: &FillOptions,
) -> Result<Vec<AnyJob>> {
    check_top_k(options.top_k)?;
    if texts.all.len().saturating_mul(options.targets.len()) > MOST_TARGETS {
        let (texts, targets) = (texts.all.len(), options.targets.len());
        let message = format!(
            "there are {targets} targets for each of {texts} texts; expected at most {MOST_TARGETS} together"
        );
        return Err(Refusal::too_large(message).of("targets"));
    }
    let mut total = ResultBytes::default();
    let job = |(i, text): (usize, &str)| {
        let prepared = filler.prepare_fill(text, options).map_err(at(unit, texts.is_list, i))?;
        let job = work(prepared, Found::Fills);
        let masks = job.unit(0).map_or(0, |unit| unit.requested.len());
        total.add(masks.saturating_mul(options.top_k), text.len())?;
        Ok(job)
    };
    texts.iter().enumerate().map(job).collect()
}

/// Makes the jobs that embed texts and hands their vectors and their number of tokens to `render`. With
/// `strict`, a text that does not fit is an error.
pub(crate) fn embed<R>(
    call: &Call,
    model: &Arc<Served>,
    param: &'static str,
    texts: &Texts,
    (options, strict): (&EmbedOptions, bool),
    render: impl FnOnce(Vec<Embedding>, usize) -> Result<R> + Send + 'static,
) -> Result<Run<R>> {
    call.check_texts(param, texts.iter())?;
    let (jobs, _) = embed_jobs(model, param, texts, (options, strict))?;
    let tokens = jobs.iter().filter_map(|job| job.unit(0)).map(|unit| unit.ids.len()).sum();
    Ok(Run {
        model: Arc::clone(model),
        lane: Arc::clone(&model.encoder),
        inputs: jobs.len(),
        jobs,
        deadline: None,
        render: Box::new(move |found| render(vectors(found)?, tokens)),
    })
}

/// Makes jobs that embed, and counts the texts whose end is not read. With `strict`, such a text is an error.
pub(crate) fn embed_jobs(
    model: &Served,
    param: &'static str,
    texts: &Texts,
    (options, strict): (&EmbedOptions, bool),
) -> Result<(Vec<AnyJob>, usize)> {
    let mut cut = 0;
    let job = |(i, text)| {
        let job = model.embedder().prepare_embed(text, options).map_err(at("text", texts.is_list, i))?;
        if strict && job.is_truncated() {
            let most = options.max_seq_len.unwrap_or(model.max_embed_len);
            let message = format!("text {} has more tokens than the model's {most}; shorten it", i + 1);
            return Err(Refusal { code: "too_long", ..Refusal::invalid(param, message) });
        }
        cut += usize::from(job.is_truncated());
        Ok(work(job, Found::Vector))
    };
    let jobs = texts.iter().enumerate().map(job).collect::<Result<Vec<AnyJob>>>()?;
    Ok((jobs, cut))
}

/// Takes vectors out of results.
pub(crate) fn vectors(found: Vec<Found>) -> Result<Vec<Embedding>> {
    let vector = |found| match found {
        Found::Vector(vector) => Ok(vector),
        _ => Err(mixed_up()),
    };
    found.into_iter().map(vector).collect()
}

/// Takes labels out of results.
pub(crate) fn labels(found: Vec<Found>) -> Result<Vec<Classification>> {
    let labels = |found| match found {
        Found::Labels(labels) => Ok(labels),
        _ => Err(mixed_up()),
    };
    found.into_iter().map(labels).collect()
}

/// A job gave the result of another pipeline, which no job does.
pub(crate) fn mixed_up() -> Refusal {
    Refusal::internal("a job gave the result of another task")
}

/// Counts the texts whose end was not read.
pub(crate) fn count_truncated<'a>(truncated: impl Iterator<Item = &'a bool>) -> usize {
    truncated.filter(|truncated| **truncated).count()
}

/// Cuts a vector to its first numbers and scales it to length 1 again.
pub(crate) fn cut(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length.max(1e-12));
}

/// Checks a number of dimensions against the model's.
pub(crate) fn check_dimensions(
    call: &Call,
    model: &Served,
    dimensions: Option<usize>,
) -> Result<Option<usize>> {
    let width = model.embedder().dimensions();
    match dimensions {
        None => Ok(None),
        Some(wanted) if wanted == width => Ok(None),
        Some(wanted) if wanted == 0 || wanted > width => {
            let message = format!("`dimensions` is {wanted}; expected 1 to {width}");
            Err(Refusal::invalid("dimensions", message))
        }
        Some(wanted) if call.config.allow_cut_embeddings => Ok(Some(wanted)),
        Some(wanted) => {
            let message = format!(
                "`dimensions` is {wanted}, but the vectors of `{}` have {width} numbers and were not \
                 trained to be cut; leave it out, or start the server with --allow-cut-embeddings",
                model.name
            );
            Err(Refusal::invalid("dimensions", message))
        }
    }
}

/// Writes the numbers of a vector as little-endian bytes in base64.
pub(crate) fn base64(numbers: &[f32]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_alone_or_in_a_list() {
        let read = |json: &str| serde_json::from_str::<Texts>(json);
        assert_eq!(read(r#""a""#).unwrap(), Texts { all: vec!["a".into()], is_list: false });
        assert_eq!(read(r#"["a","b"]"#).unwrap(), Texts { all: vec!["a".into(), "b".into()], is_list: true });
        let error = read("7").unwrap_err().to_string();
        assert!(error.contains("expected a text or a list of texts"), "{error}");
        assert!(read(r#"["a",7]"#).is_err() && read("null").is_err() && read("{}").is_err());
    }

    #[test]
    fn items_are_texts_and_pairs() {
        let read = |json: &str| serde_json::from_str::<Items>(json);
        let items = read(r#"["a",["b","c"],["d"]]"#).unwrap();
        assert_eq!(items.texts(), ["a", "b", "c", "d"]);
        assert_eq!(items.all[1].second.as_deref(), Some("c"));
        assert!(read(r#"[["a","b","c"]]"#).is_err() && read("[[]]").is_err());
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        // Checked with Python's base64 and struct.
        assert_eq!(base64(&[]), "");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64(&[0.1, 0.2, 0.3]), "zczMPc3MTD6amZk+");
    }
}
