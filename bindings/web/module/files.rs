//! The files of a model, which arrive in pieces.

use mobilebert_bindings::{Failure, MemoryFiles};
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;

use crate::failure::{Result, thrown};

/// The files of a model while they are loaded, one after another: `begin`, `push` each piece, `end`.
///
/// A piece is copied into the file that grows here, so the module holds each file once, and JavaScript holds
/// no more of it than the piece.
#[wasm_bindgen]
pub struct Files {
    whole: MemoryFiles,
    name: String,
    bytes: Vec<u8>,
    hash: Option<Sha256>,
}

#[wasm_bindgen]
impl Files {
    /// Makes an empty set of files. Messages call the model by `label`.
    #[wasm_bindgen(constructor)]
    pub fn new(label: String) -> Self {
        Self { whole: MemoryFiles::new(label), name: String::new(), bytes: Vec::new(), hash: None }
    }

    /// Begins a file, of which `size` bytes are expected; 0 if that is not known. With `hashed`, `end`
    /// returns its SHA-256.
    ///
    /// # Errors
    /// `input` if the file does not fit the memory.
    pub fn begin(&mut self, name: String, size: f64, hashed: bool) -> Result<()> {
        self.name = name;
        self.bytes = Vec::new();
        self.hash = hashed.then(Sha256::new);
        // A size above 4 GiB becomes the largest number of the target, which does not fit either.
        self.make_room(size as usize, true)
    }

    /// Adds a piece to the file.
    ///
    /// # Errors
    /// `input` if it does not fit the memory.
    pub fn push(&mut self, piece: &[u8]) -> Result<()> {
        self.make_room(piece.len(), false)?;
        if let Some(hash) = &mut self.hash {
            hash.update(piece);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Ends the file and returns its SHA-256 in hexadecimal, or nothing if that was not asked for.
    pub fn end(&mut self) -> String {
        let (name, bytes) = (std::mem::take(&mut self.name), std::mem::take(&mut self.bytes));
        self.whole = std::mem::take(&mut self.whole).file(name, bytes);
        let hash = self.hash.take().map(Sha256::finalize);
        hash.iter().flatten().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Files {
    pub(crate) fn into_files(self) -> MemoryFiles {
        self.whole
    }

    fn make_room(&mut self, more: usize, exactly: bool) -> Result<()> {
        let reserved =
            if exactly { self.bytes.try_reserve_exact(more) } else { self.bytes.try_reserve(more) };
        reserved.map_err(|_| {
            let size = self.bytes.len().saturating_add(more);
            thrown(Failure::input(
                &self.name,
                format!("its {size} bytes do not fit the memory of the module"),
            ))
        })
    }
}
