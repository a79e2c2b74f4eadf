//! NumPy's format for one array (`numpy.lib.format`, version 1.0): magic, version, length of the header, the
//! header as a Python dictionary, the numbers.

use std::path::Path;

use mobilebert::Result;

use super::{VectorFile, VectorRow, check_dimensions};
use crate::writer::{PartialFile, le_bytes};

/// The length of everything in front of the numbers. NumPy wants a multiple of 64. The largest shape fits.
const START: usize = 128;

/// A `.npy` file: little-endian f32 of the shape (rows, dimensions). It has no place for texts. A row without
/// a vector is all NaN, so that row `i` of the file is input `i`.
///
/// ```
/// use mobilebert_tools::vectors::{NpyFile, VectorFile as _, VectorRow};
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("x.npy");
/// let mut file = Box::new(NpyFile::create(&path, 2)?);
/// file.push(VectorRow { cells: &[], vector: Some(&[0.5, -1.0]), truncated: false, error: None })?;
/// assert!(!path.exists());
/// file.finish()?;
/// let bytes = std::fs::read(&path).unwrap();
/// assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
/// assert_eq!(bytes[128..], [0.5_f32.to_le_bytes(), (-1.0_f32).to_le_bytes()].concat());
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub struct NpyFile {
    file: PartialFile,
    dimensions: usize,
    rows: u64,
}

impl NpyFile {
    /// Makes a file for vectors of so many numbers.
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Io`] if it cannot be made; [`mobilebert::ErrorKind::Input`] if there is a
    /// folder or a device of that name; [`mobilebert::ErrorKind::Option`] if `dimensions` is 0.
    pub fn create(path: &Path, dimensions: usize) -> Result<Self> {
        check_dimensions(dimensions)?;
        let mut file = PartialFile::create(path)?;
        // The number of rows is known at the end, and the header has the same length then.
        file.write(&start(0, dimensions))?;
        Ok(Self { file, dimensions, rows: 0 })
    }
}

impl VectorFile for NpyFile {
    fn push(&mut self, row: VectorRow<'_>) -> Result<()> {
        self.rows += 1;
        match row.vector {
            Some(vector) => {
                assert_eq!(vector.len(), self.dimensions, "numbers of a vector");
                self.file.write(&le_bytes(vector))
            }
            None => self.file.write(&le_bytes(&vec![f32::NAN; self.dimensions])),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.file.rewrite_start(&start(self.rows, self.dimensions))?;
        self.file.finish()
    }
}

/// Returns everything in front of the numbers.
fn start(rows: u64, dimensions: usize) -> Vec<u8> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let mut bytes = MAGIC.to_vec();
    bytes.extend(((START - MAGIC.len() - 2) as u16).to_le_bytes());
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimensions}), }}");
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(START - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_shape_fits_into_the_header() {
        let bytes = start(u64::MAX, usize::MAX);
        let text = String::from_utf8_lossy(&bytes[10..]);
        assert_eq!((bytes.len(), bytes[8], bytes[9]), (START, 118, 0));
        assert!(text.trim_end().ends_with("), }") && text.ends_with('\n'), "{text}");
    }
}
