//! ARRAYS -> TEXTS: columns of any string type as distinct texts and the rows that hold them.

use std::collections::HashMap;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, LargeStringArray, StringArray, StringViewArray};
use arrow_schema::DataType;

use crate::call::Function;
use crate::error::{Error, Result};

/// An argument of a function for a batch of rows.
#[derive(Debug, Clone)]
pub enum Argument {
    /// A text for each row: Utf8, LargeUtf8, Utf8View, a dictionary of these, or NULL.
    Column(ArrayRef),
    /// The same text for all rows.
    Literal(Option<String>),
}

/// True if a column of this type holds texts.
pub fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => !matches!(**values, DataType::Dictionary(..)) && is_text(values),
        _ => false,
    }
}

/// Distinct texts, in the order in which they first appear. The number of a text is its index.
#[derive(Debug, Default)]
pub(crate) struct Texts<'a> {
    numbers: HashMap<&'a str, usize>,
    texts: Vec<&'a str>,
}

/// The strings of a column that is no dictionary.
enum Strings<'a> {
    Short(&'a StringArray),
    Long(&'a LargeStringArray),
    View(&'a StringViewArray),
    Null,
}

impl<'a> Strings<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => array.as_string_opt().map(Self::Short),
            DataType::LargeUtf8 => array.as_string_opt().map(Self::Long),
            DataType::Utf8View => array.as_string_view_opt().map(Self::View),
            DataType::Null => Some(Self::Null),
            _ => None,
        }
    }

    fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Short(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Long(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Null => None,
        }
    }
}

impl<'a> Texts<'a> {
    /// Returns all texts.
    pub(crate) fn all(&self) -> &[&'a str] {
        &self.texts
    }

    fn number(&mut self, text: &'a str) -> usize {
        let next = self.texts.len();
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.texts.push(text);
        }
        number
    }

    /// Takes up the texts of an argument, and returns the number of each row's text, or `None` for NULL.
    pub(crate) fn add(
        &mut self,
        argument: &'a Argument,
        rows: usize,
        (function, index): (Function, usize),
    ) -> Result<Vec<Option<usize>>> {
        let array = match argument {
            Argument::Literal(text) => {
                let number = text.as_deref().filter(|_| rows > 0).map(|text| self.number(text));
                return Ok(vec![number; rows]);
            }
            Argument::Column(array) => array,
        };
        if array.len() != rows {
            return Err(Error::Shape {
                function,
                expected: format!("{rows} rows in argument {}", index + 1),
                found: array.len().to_string(),
            });
        }
        if let Some(strings) = Strings::of(array) {
            return Ok((0..rows).map(|row| strings.get(row).map(|text| self.number(text))).collect());
        }
        let wrong = || Error::NotText { function, argument: index, found: array.data_type().clone() };
        let dictionary = array.as_any_dictionary_opt().ok_or_else(wrong)?;
        let values = dictionary.values();
        let strings = Strings::of(values).ok_or_else(wrong)?;
        if values.is_empty() {
            return Ok(vec![None; rows]);
        }
        // A dictionary may hold many values that no row of this batch has.
        let mut seen: HashMap<usize, Option<usize>> = HashMap::new();
        let keys = dictionary.normalized_keys();
        let number = |(row, key): (usize, usize)| match dictionary.keys().is_valid(row) {
            true => *seen.entry(key).or_insert_with(|| strings.get(key).map(|text| self.number(text))),
            false => None,
        };
        Ok(keys.into_iter().enumerate().map(number).collect())
    }
}
