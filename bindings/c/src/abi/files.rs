//! Models that are not in a folder.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mobilebert_bindings::{Bytes, Failure, MemoryFiles, Result};

use super::model::{MobilebertModel, MobilebertOpenOptions};
use crate::call::{ErrorOut, quietly, run};
use crate::memory;

/// The files of a model that is not in a folder, under the names that they have in one: "config.json",
/// "vocab.txt" or "tokenizer.json", "model.safetensors", "tokenizer_config.json" and so on.
pub struct MobilebertFiles(Mutex<MemoryFiles>);

impl MobilebertFiles {
    fn lock(&self) -> MutexGuard<'_, MemoryFiles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: *const c_char, bytes: impl FnOnce(&str) -> Result<Bytes>) -> Result<()> {
        let name = memory::name(name, "name")?.ok_or_else(|| memory::null("name"))?;
        let bytes = bytes(name)?;
        let mut files = self.lock();
        *files = std::mem::take(&mut *files).file(name, bytes);
        Ok(())
    }
}

/// Makes an empty set of files. Error messages call the model by `label`, which may be NULL. The caller frees
/// the set with `mobilebert_files_free`. `error` may be NULL. Errors: "invalid_text" for a label that is not
/// UTF-8. Returns NULL if it fails.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_files_new(
    label: *const c_char,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertFiles>> {
    run(error, || {
        let label = memory::name(label, "label")?.unwrap_or("model in memory");
        Ok(Box::new(MobilebertFiles(Mutex::new(MemoryFiles::new(label)))))
    })
}

/// Adds a copy of `size` bytes as the file `name`. It replaces a file of the same name.
///
/// Errors: "null_argument" if `files`, `name`, or `data` with a `size` that is not 0, are NULL. Returns true
/// if it succeeds. `error` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_files_add(
    files: Option<&MobilebertFiles>,
    name: *const c_char,
    data: *const c_void,
    size: usize,
    error: ErrorOut<'_>,
) -> bool {
    let added = run(error, || {
        let files = memory::required(files, "files")?;
        files.add(name, |_| Ok(memory::array(data.cast::<u8>(), size, "data")?.to_vec().into()))
    });
    added.is_some()
}

/// Adds `size` bytes as the file `name` without a copy. They have to stay where and as they are until the
/// program ends, as constants that are compiled into it do. `mobilebert_files_add` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_files_add_static(
    files: Option<&MobilebertFiles>,
    name: *const c_char,
    data: *const c_void,
    size: usize,
    error: ErrorOut<'_>,
) -> bool {
    let added = run(error, || {
        let files = memory::required(files, "files")?;
        files.add(name, |_| Ok(Bytes::Static(memory::array(data.cast::<u8>(), size, "data")?)))
    });
    added.is_some()
}

/// Adds a part of an open file as the file `name`: `size` bytes from `offset`, which need not be a multiple
/// of anything. This is how a model inside of an archive is read where it lies, such as an uncompressed asset
/// of an Android package.
///
/// The part is mapped and not copied. The descriptor is duplicated, so the caller may close it afterwards.
/// The file must not be shortened or written to before the models that use it are opened and `files` is
/// freed.
///
/// Errors: "io" if the descriptor is not open or not that of a regular file, and if the file ends before the
/// part does; "null_argument" if `files` or `name` are NULL; "input" on Windows, where there is no such
/// function. Returns true if it succeeds. `error` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_files_add_descriptor(
    files: Option<&MobilebertFiles>,
    name: *const c_char,
    descriptor: i32,
    offset: u64,
    size: u64,
    error: ErrorOut<'_>,
) -> bool {
    let added = run(error, || {
        memory::required(files, "files")?.add(name, |name| mapped(name, descriptor, offset, size))
    });
    added.is_some()
}

#[cfg(unix)]
fn mapped(name: &str, descriptor: i32, offset: u64, size: u64) -> Result<Bytes> {
    let map = || {
        let file = memory::file(descriptor)?;
        // An offset near the largest number ends there, behind the end of any file.
        Bytes::map_range(&file, offset..offset.saturating_add(size))
    };
    map().map_err(|error: std::io::Error| Failure::range(name, descriptor, offset, size, error))
}

#[cfg(not(unix))]
fn mapped(name: &str, _: i32, _: u64, _: u64) -> Result<Bytes> {
    Err(Failure::input(name, "descriptors cannot be used on this system; add the bytes of the file"))
}

/// Opens a model from files. The same files can be opened any number of times, and freed afterwards: an open
/// model does not use them. `mobilebert_open` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_open_files(
    files: Option<&MobilebertFiles>,
    options: *const MobilebertOpenOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertModel>> {
    run(error, || {
        let files = memory::required(files, "files")?.lock().clone();
        MobilebertModel::open(files.into(), options)
    })
}

/// Frees a set of files. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_files_free(files: Option<Box<MobilebertFiles>>) {
    quietly(|| drop(files));
}
