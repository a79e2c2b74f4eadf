//! The weight files of a model folder.

use std::path::Path;

use super::{Bytes, Checkpoint};
use crate::error::Result;

impl Checkpoint {
    /// Opens the weights of a folder.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        let mut checkpoint = Self::default();
        checkpoint.add_safetensors("model.safetensors", Bytes::map(&folder.join("model.safetensors"))?)?;
        Ok(checkpoint)
    }
}
