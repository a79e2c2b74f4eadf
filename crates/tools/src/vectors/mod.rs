//! Writes vectors, with the texts that they belong to, as files that programs for numbers read. A file
//! appears only when it is complete.

mod npy;
#[cfg(feature = "parquet")]
mod parquet;

use std::path::Path;

use mobilebert::Result;

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

/// Makes a Parquet file whose first columns hold the texts `header`; see `ParquetFile`.
///
/// # Errors
/// [`mobilebert::ErrorKind::NotBuilt`] without the feature `parquet`; [`mobilebert::ErrorKind::Io`] if the
/// file cannot be made.
pub fn parquet(path: &Path, header: &[String], dimensions: usize) -> Result<Box<dyn VectorFile>> {
    #[cfg(feature = "parquet")]
    return Ok(Box::new(ParquetFile::create(path, header, dimensions)?));
    #[cfg(not(feature = "parquet"))]
    {
        let _ = (path, header, dimensions);
        let what = "writing Parquet files".to_owned();
        Err(mobilebert::ErrorKind::NotBuilt { what, feature: "parquet" }.into())
    }
}
