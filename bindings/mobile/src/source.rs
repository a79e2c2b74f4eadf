//! Where models come from.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use mobilebert_bindings::{Bytes, MemoryFiles, Source, find};

use crate::descriptor;
use crate::failure::Result;

/// The place to find a model.
#[derive(Debug, uniffi::Object)]
pub(crate) struct ModelSource {
    source: Mutex<Source>,
}

impl ModelSource {
    fn new(source: Source) -> Self {
        Self { source: Mutex::new(source) }
    }

    pub(crate) fn get(&self) -> Source {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, name: String, bytes: Bytes) -> Result<()> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *source {
            Source::Memory(files) => *files = std::mem::take(files).file(name, bytes),
            _ => {
                let problem = "the model is a folder; expected one of files in memory";
                return Err(mobilebert_bindings::Failure::input(name, problem).into());
            }
        }
        Ok(())
    }
}

#[uniffi::export]
impl ModelSource {
    /// Finds a model by a built-in name, a path or a hub id.
    #[uniffi::constructor]
    fn named(name: String) -> Result<Self> {
        Ok(Self::new(find(&name)?))
    }

    /// Names a model folder.
    #[uniffi::constructor]
    fn folder(path: String) -> Self {
        Self::new(Source::Folder(PathBuf::from(path)))
    }

    /// Begins a model whose files are added one by one. Error messages call it by `label`.
    #[uniffi::constructor]
    fn files(label: String) -> Self {
        Self::new(Source::Memory(MemoryFiles::new(label)))
    }

    /// Adds a file by its bytes. They are copied: a model is opened after this call has ended.
    fn add_bytes(&self, name: String, bytes: &[u8]) -> Result<()> {
        self.add(name, bytes.to_vec().into())
    }

    /// Adds a file that lies in a range of an open file, which is mapped and not read. The descriptor stays
    /// the caller's. A range that no file has is the failure `input`, and one that this file does not have is
    /// `io`, as for a descriptor that is not open.
    fn add_range(&self, name: String, descriptor: i32, offset: i64, length: i64) -> Result<()> {
        let odd = |problem: &str| {
            let range = format!("descriptor {descriptor}, offset {offset}, size {length}");
            mobilebert_bindings::Failure::input(name.as_str(), format!("{range}: {problem}"))
        };
        let start = u64::try_from(offset).map_err(|_| odd("expected an offset of 0 or more"))?;
        let length = u64::try_from(length).map_err(|_| odd("expected a length of 0 or more"))?;
        // Two such numbers have a sum.
        let end = start.saturating_add(length);
        let bytes =
            descriptor::duplicate(descriptor).and_then(|file| Bytes::map_range(&file, start..end)).map_err(
                |error| mobilebert_bindings::Failure::range(name.as_str(), descriptor, offset, length, error),
            )?;
        self.add(name, bytes)
    }
}
