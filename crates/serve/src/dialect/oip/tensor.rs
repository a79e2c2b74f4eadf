//! Tensors: in JSON, flat or nested, and in the binary form that follows the JSON. Every length is checked
//! against the bytes that are there before memory is taken.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dialect::shape::Object;
use crate::error::{Refusal, Result, short};

/// The most dimensions of a tensor, and the deepest nesting of its data.
const MOST_DIMENSIONS: usize = 8;

/// A tensor of a request as JSON describes it.
#[derive(Deserialize)]
pub(super) struct Given {
    pub(super) name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Object<Parameters>>,
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Parameters {
    binary_data_size: Option<u64>,
}

/// The elements of a tensor of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Elements {
    Texts(Vec<String>),
    Integers(Vec<i64>),
}

/// A tensor of a request whose elements were read.
#[derive(Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) elements: Elements,
}

impl Given {
    /// Reads the elements: from the JSON, or from the front of what is left of the binary part.
    pub(super) fn read(self, binary: &mut Bytes) -> Result<Tensor> {
        let Self { name, shape, datatype, parameters, data } = self;
        let size = parameters.and_then(|Object(parameters)| parameters.binary_data_size);
        Tensor::new(name, &shape, |count| match (size, data) {
            (Some(_), Some(_)) => Err("has both `data` and `binary_data_size`".to_owned()),
            (None, None) => Err("has neither `data` nor `binary_data_size`".to_owned()),
            (Some(size), None) => {
                let size =
                    usize::try_from(size).ok().filter(|&size| size <= binary.len()).ok_or_else(|| {
                        format!("has {size} binary bytes, but {} are left in the body", binary.len())
                    })?;
                from_binary(&datatype, &binary.split_to(size), count)
            }
            (None, Some(data)) => from_json(&datatype, data.get()),
        })
    }
}

impl Tensor {
    /// Makes a tensor. `read` is told how many elements the shape says, and gives them or says what is wrong.
    pub(super) fn new(
        name: String,
        sizes: &[u64],
        read: impl FnOnce(usize) -> Result<Elements, String>,
    ) -> Result<Self> {
        let wrong =
            |problem: String| Refusal::invalid("inputs", format!("tensor {:?} {problem}", short(&name)));
        let shape = sizes.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
        let shape = shape.ok().filter(|shape| (1..=MOST_DIMENSIONS).contains(&shape.len()));
        let count = shape
            .as_ref()
            .and_then(|shape| shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size)));
        let (Some(shape), Some(count)) = (shape, count) else {
            return Err(wrong(format!(
                "has shape {}; expected 1 to {MOST_DIMENSIONS} sizes whose product is a number of elements",
                shown(sizes)
            )));
        };
        let elements = read(count).map_err(wrong)?;
        let found = match &elements {
            Elements::Texts(texts) => texts.len(),
            Elements::Integers(numbers) => numbers.len(),
        };
        if found != count {
            return Err(wrong(format!("has {found} elements; its shape {shape:?} says {count}")));
        }
        Ok(Self { name, shape, elements })
    }
}

/// Writes the sizes of a shape, but no more than are needed to see what is wrong.
pub(super) fn shown<T: fmt::Debug>(sizes: &[T]) -> String {
    match sizes.get(..=MOST_DIMENSIONS) {
        Some(first) if first.len() < sizes.len() => {
            format!("{first:?} and {} more", sizes.len() - first.len())
        }
        _ => format!("{sizes:?}"),
    }
}

pub(super) fn unknown(datatype: &str) -> String {
    let datatype = short(datatype);
    format!("has datatype {datatype:?}; expected BYTES for texts, INT64 or INT32 for token ids")
}

fn from_json(datatype: &str, json: &str) -> Result<Elements, String> {
    let problem = |error: serde_json::Error| format!("cannot be read: {error}");
    match datatype {
        "BYTES" => Flat::parse(json).map(Elements::Texts).map_err(problem),
        "INT64" => Flat::parse(json).map(Elements::Integers).map_err(problem),
        "INT32" => {
            let numbers: Vec<i32> = Flat::parse(json).map_err(problem)?;
            Ok(Elements::Integers(numbers.into_iter().map(i64::from).collect()))
        }
        other => Err(unknown(other)),
    }
}

pub(super) fn from_binary(datatype: &str, bytes: &[u8], count: usize) -> Result<Elements, String> {
    let exact = |width: usize| match count.checked_mul(width) {
        Some(expected) if expected == bytes.len() => Ok(()),
        _ => Err(format!("has {} bytes; expected {width} for each of {count} elements", bytes.len())),
    };
    match datatype {
        "BYTES" => {
            let mut rest = bytes;
            let mut texts = Vec::new();
            while !rest.is_empty() {
                let short = || format!("ends within element {}", texts.len());
                let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
                let length = u32::from_le_bytes(*length) as usize;
                let (text, after) = after.split_at_checked(length).ok_or_else(short)?;
                let text = std::str::from_utf8(text).map_err(|error| {
                    format!("is not UTF-8 at byte {} of element {}", error.valid_up_to(), texts.len())
                })?;
                texts.push(text.to_owned());
                rest = after;
            }
            Ok(Elements::Texts(texts))
        }
        "INT64" => {
            exact(8)?;
            let number = |bytes: &[u8; 8]| i64::from_le_bytes(*bytes);
            Ok(Elements::Integers(bytes.as_chunks().0.iter().map(number).collect()))
        }
        "INT32" => {
            exact(4)?;
            let number = |bytes: &[u8; 4]| i64::from(i32::from_le_bytes(*bytes));
            Ok(Elements::Integers(bytes.as_chunks().0.iter().map(number).collect()))
        }
        other => Err(unknown(other)),
    }
}

/// A list of elements, flat or nested to any shape.
struct Flat<T>(Vec<T>);

/// An element, or a list of them.
struct Nested<T>(Vec<T>);

impl<T: for<'de> Deserialize<'de>> Flat<T> {
    fn parse(json: &str) -> Result<Vec<T>, serde_json::Error> {
        serde_json::from_str::<Self>(json).map(|flat| flat.0)
    }
}

impl<'de, T: for<'a> Deserialize<'a>> Deserialize<'de> for Flat<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Vec::new();
        let raw = <&RawValue>::deserialize(deserializer)?;
        flatten(raw.get(), 0, &mut all).map_err(D::Error::custom)?;
        Ok(Self(all))
    }
}

fn flatten<T: for<'a> Deserialize<'a>>(
    json: &str,
    depth: usize,
    all: &mut Vec<T>,
) -> Result<(), serde_json::Error> {
    if depth >= MOST_DIMENSIONS {
        return Err(serde_json::Error::custom(format!("lists are nested more than {MOST_DIMENSIONS} deep")));
    }
    let is_list = |json: &str| json.trim_start().starts_with('[');
    if !is_list(json) {
        return Err(serde_json::Error::custom("expected a list of elements"));
    }
    if is_list(json.trim_start().get(1..).unwrap_or_default()) {
        for inner in serde_json::from_str::<Vec<&RawValue>>(json)? {
            flatten(inner.get(), depth + 1, all)?;
        }
        return Ok(());
    }
    let elements: Nested<T> = serde_json::from_str(json)?;
    all.extend(elements.0);
    Ok(())
}

impl<'de, T: for<'a> Deserialize<'a>> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(std::marker::PhantomData<T>);
        impl<'de, T: for<'a> Deserialize<'a>> Visitor<'de> for List<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of elements of the tensor's datatype")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(element) = list.next_element()? {
                    all.push(element);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(List(std::marker::PhantomData)).map(Self)
    }
}

/// The elements of a tensor of an answer.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Values {
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

/// A tensor of an answer.
pub(super) struct Output {
    pub(super) name: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
}

/// A tensor of an answer in JSON.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    name: &'static str,
    shape: &'a [usize],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<WrittenParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Values>,
}

#[derive(Serialize)]
struct WrittenParameters {
    binary_data_size: usize,
}

impl Output {
    pub(super) fn datatype(&self) -> &'static str {
        match self.values {
            Values::Texts(_) => "BYTES",
            Values::Floats(_) => "FP32",
            Values::Integers(_) => "INT64",
        }
    }

    /// Appends the elements in the form of the extension for binary tensors.
    pub(super) fn append_to(&self, binary: &mut Vec<u8>) {
        match &self.values {
            Values::Floats(numbers) => numbers.iter().for_each(|x| binary.extend(x.to_le_bytes())),
            Values::Integers(numbers) => numbers.iter().for_each(|x| binary.extend(x.to_le_bytes())),
            Values::Texts(texts) => texts.iter().for_each(|text| {
                // A text is shorter than a request's body, or one of its results.
                binary.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                binary.extend(text.as_bytes());
            }),
        }
    }

    /// Describes the tensor; its elements are in the JSON, or go to the end of `binary` if there is one.
    pub(super) fn write(&self, binary: Option<&mut Vec<u8>>) -> Written<'_> {
        let parameters = binary.map(|binary| {
            let before = binary.len();
            self.append_to(binary);
            WrittenParameters { binary_data_size: binary.len() - before }
        });
        let data = parameters.is_none().then_some(&self.values);
        Written { name: self.name, shape: &self.shape, datatype: self.datatype(), parameters, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, binary: &[u8]) -> Result<Tensor, String> {
        let given: Given = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut binary = Bytes::copy_from_slice(binary);
        given.read(&mut binary).map_err(|refusal| refusal.message.into_owned())
    }

    #[test]
    fn flat_and_nested_data_are_the_same() {
        let flat = read(r#"{"name":"a","shape":[2,2],"datatype":"INT64","data":[1,2,3,4]}"#, b"").unwrap();
        let nested =
            read(r#"{"name":"a","shape":[2,2],"datatype":"INT32","data":[[1,2],[3,4]]}"#, b"").unwrap();
        assert_eq!(flat, nested);
        let texts =
            read(r#"{"name":"a","shape":[2,1],"datatype":"BYTES","data":[["x"],["é"]]}"#, b"").unwrap();
        assert_eq!(texts.elements, Elements::Texts(vec!["x".to_owned(), "é".to_owned()]));
    }

    #[test]
    fn binary_data_is_that_of_the_extension() {
        let json = r#"{"name":"a","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}"#;
        let texts = read(json, b"\x01\0\0\0x\x02\0\0\0\xc3\xa9").unwrap();
        assert_eq!(texts.elements, Elements::Texts(vec!["x".to_owned(), "é".to_owned()]));
        let json = r#"{"name":"a","shape":[1,2],"datatype":"INT32","parameters":{"binary_data_size":8}}"#;
        assert_eq!(
            read(json, b"\x01\0\0\0\xff\xff\xff\xff").unwrap().elements,
            Elements::Integers(vec![1, -1])
        );
    }

    #[test]
    fn damaged_tensors_are_refused() {
        for (json, binary, expected) in [
            (r#"{"name":"a","shape":[3],"datatype":"INT64","data":[1,2]}"#, &b""[..], "2 elements"),
            (r#"{"name":"a","shape":[],"datatype":"INT64","data":[1]}"#, b"", "shape []"),
            (r#"{"name":"a","shape":[4294967296,4294967296],"datatype":"INT64","data":[1]}"#, b"", "shape"),
            (r#"{"name":"a","shape":[-1],"datatype":"INT64","data":[1]}"#, b"", "invalid value"),
            (r#"{"name":"a","shape":[1],"datatype":"FP32","data":[1]}"#, b"", "datatype"),
            (r#"{"name":"a","shape":[1],"datatype":"INT32","data":[3000000000]}"#, b"", "cannot be read"),
            (r#"{"name":"a","shape":[1],"datatype":"INT64","data":[[[[[[[[[1]]]]]]]]]}"#, b"", "nested more"),
            (r#"{"name":"a","shape":[1],"datatype":"INT64","data":[1,[2]]}"#, b"", "cannot be read"),
            (r#"{"name":"a","shape":[1],"datatype":"INT64","data":[[2],1]}"#, b"", "cannot be read"),
            (r#"{"name":"a","shape":[1],"datatype":"INT64","data":7}"#, b"", "cannot be read"),
            (r#"{"name":"a","shape":[1],"datatype":"INT64"}"#, b"", "neither"),
            (
                r#"{"name":"a","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}"#,
                b"1",
                "1 are left",
            ),
            (
                r#"{"name":"a","shape":[1000000000],"datatype":"INT64","parameters":{"binary_data_size":1}}"#,
                b"1",
                "expected 8",
            ),
            (
                r#"{"name":"a","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":3}}"#,
                b"\x01\0\0",
                "element 0",
            ),
            (
                r#"{"name":"a","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}"#,
                b"\xff\xff\xff\xffx",
                "element 0",
            ),
            (
                r#"{"name":"a","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}"#,
                b"\x01\0\0\0\xff",
                "UTF-8",
            ),
        ] {
            let problem = read(json, binary).unwrap_err();
            assert!(problem.contains(expected), "{json}: {problem}");
        }
    }
}
