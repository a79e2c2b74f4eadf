//! PyTorch's `torch.save` files.

use super::checkpoint::{Entry, format_error};
use super::mmap::Bytes;
use crate::error::Result;

pub(super) fn read(label: &str, bytes: Bytes) -> Result<(Bytes, Vec<(String, Entry)>)> {
    let _ = Entry::new;
    let _ = bytes;
    Err(format_error(label, 0, "safetensors", "PyTorch"))
}
