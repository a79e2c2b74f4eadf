//! Writes vectors, with the texts that they belong to, as files that programs for numbers read. A file
//! appears only when it is complete.

mod npy;
#[cfg(feature = "parquet")]
mod parquet;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use mobilebert::{Error, ErrorKind, Result};

pub use npy::NpyFile;
#[cfg(feature = "parquet")]
pub use parquet::ParquetFile;

/// A row of a file of vectors.
#[derive(Debug, Clone, Copy)]
pub struct VectorRow<'r> {
    /// The texts of the row's other columns, as many as the file has.
    pub cells: &'r [&'r str],
    /// The vector, or `None` if the row has failed.
    pub vector: Option<&'r [f32]>,
    /// True if the end of the text was not read.
    pub truncated: bool,
    /// The reason why the row has no vector.
    pub error: Option<&'r str>,
}

/// A file of vectors that is written row by row.
pub trait VectorFile {
    /// Appends a row.
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Io`] if the file cannot be written.
    ///
    /// # Panics
    /// Panics if the vector does not have as many numbers, or the row as many cells, as the file was made
    /// for.
    fn push(&mut self, row: VectorRow<'_>) -> Result<()>;

    /// Completes the file and puts it in its place.
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Io`] if the file cannot be written.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Returns the names that the columns of an input have in an output with columns of its own. A column whose
/// name is `taken` by the output, or by a column in front of it, has `input_` in front of its name, and if
/// that is taken too, `input_2_` and so on.
pub fn input_names(columns: &[&str], taken: impl Fn(&str) -> bool) -> Vec<String> {
    let given: HashSet<&str> = columns.iter().copied().collect();
    let mut used = HashSet::new();
    let mut renamed: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::with_capacity(columns.len());
    for &column in columns {
        let mut name = column.to_owned();
        // A column that keeps its name goes before one that gets it.
        while taken(&name) || used.contains(&name) || (name != column && given.contains(name.as_str())) {
            let count = renamed.entry(column).or_default();
            *count += 1;
            name = match count {
                1 => format!("input_{column}"),
                count => format!("input_{count}_{column}"),
            };
        }
        used.insert(name.clone());
        names.push(name);
    }
    names
}

/// Checks that vectors have numbers. A list without numbers could not be told from a row that has failed.
fn check_dimensions(dimensions: usize) -> Result<()> {
    match dimensions {
        0 => Err(Error::option("dimensions", "at least one number in a vector", dimensions)),
        _ => Ok(()),
    }
}

/// Makes a Parquet file whose first columns hold texts and have the names `header`; see `ParquetFile`.
///
/// # Errors
/// [`mobilebert::ErrorKind::NotBuilt`] without the feature `parquet`, and the errors of
/// `ParquetFile::create`.
pub fn parquet(path: &Path, header: &[String], dimensions: usize) -> Result<Box<dyn VectorFile>> {
    #[cfg(feature = "parquet")]
    return Ok(Box::new(ParquetFile::create(path, header, dimensions)?));
    #[cfg(not(feature = "parquet"))]
    {
        let _ = (path, header, dimensions);
        Err(not_built())
    }
}

/// Checks that this build writes Parquet files, for a caller who wants to know before there are vectors.
///
/// # Errors
/// [`mobilebert::ErrorKind::NotBuilt`] without the feature `parquet`.
pub fn check_parquet() -> Result<()> {
    if cfg!(feature = "parquet") { Ok(()) } else { Err(not_built()) }
}

fn not_built() -> Error {
    ErrorKind::NotBuilt { what: "writing Parquet files".to_owned(), feature: "parquet" }.into()
}

#[cfg(test)]
mod tests {
    use super::input_names;

    #[test]
    fn names_of_columns_are_there_once() {
        let names = |columns: &[&str]| input_names(columns, |name| ["label", "error"].contains(&name));
        assert_eq!(names(&["text", "error", "label"]), ["text", "input_error", "input_label"]);
        assert_eq!(names(&["label", "input_label"]), ["input_2_label", "input_label"]);
        assert_eq!(names(&["", "id", "", "id", ""]), ["", "id", "input_", "input_id", "input_2_"]);
    }
}
