//! A model folder being written: beside its destination, tensor by tensor, in place only when it is complete.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use mobilebert::{Error, ErrorKind, Result};

/// A folder under construction beside its destination; gone again unless it is renamed.
pub(crate) struct Partial {
    pub(crate) folder: PathBuf,
    finished: bool,
}

impl Partial {
    /// Makes a folder that did not exist, so that what is removed on failure is nobody else's.
    pub(crate) fn create(destination: &Path) -> Result<Self> {
        let parent = destination.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        let folder = unused(destination, "partial", |folder| fs::create_dir(folder))?;
        Ok(Self { folder, finished: false })
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(|e| Error::io(&path, e))
    }

    /// Where it is, as models are opened.
    pub(crate) fn path(&self) -> Result<&str> {
        self.folder.to_str().ok_or_else(|| {
            let problem = "the name of the destination has to be Unicode".to_owned();
            ErrorKind::Input { place: self.folder.display().to_string(), problem }.into()
        })
    }

    /// Puts the folder in its place; one that stands there is replaced, and comes back if that fails.
    pub(crate) fn rename(mut self, destination: &Path) -> Result<()> {
        let old = match destination.symlink_metadata() {
            Ok(_) => Some(unused(destination, "replaced", |path| fs::rename(destination, path))?),
            Err(_) => None,
        };
        if let Err(error) = fs::rename(&self.folder, destination) {
            if let Some(old) = &old {
                // If this fails too, the model is whole under its other name; the first error is the one to report.
                let _ = fs::rename(old, destination);
            }
            return Err(Error::io(destination, error));
        }
        self.finished = true;
        match old {
            Some(old) => fs::remove_dir_all(&old).map_err(|e| Error::io(old, e)),
            None => Ok(()),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing more can be done about a folder that cannot be removed; the first error is the one to report.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Does `make` with a name beside `destination` that nothing has yet.
fn unused(destination: &Path, ending: &str, make: impl Fn(&Path) -> std::io::Result<()>) -> Result<PathBuf> {
    let name = destination.file_name().unwrap_or_default().display().to_string();
    // WebAssembly has no processes; what others have written is seen below.
    let process = if cfg!(target_family = "wasm") { 0 } else { std::process::id() };
    let mut attempt = 0;
    loop {
        let path = destination.with_file_name(format!(".{name}.{process}-{attempt}.{ending}"));
        if path.symlink_metadata().is_ok() {
            attempt += 1;
            continue;
        }
        match make(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => attempt += 1,
            Err(e) => return Err(Error::io(path, e)),
        }
    }
}

/// Refuses a destination that exists, unless `force` allows to replace it and it is a model folder without the source.
pub(crate) fn check_destination(destination: &Path, source: Option<&Path>, force: bool) -> Result<()> {
    let refuse = |problem: &str| {
        let place = destination.display().to_string();
        Err(ErrorKind::Input { place, problem: problem.to_owned() }.into())
    };
    if destination.symlink_metadata().is_err() {
        return Ok(());
    }
    if !force {
        return refuse("already exists; remove it or choose another destination, or allow to replace it");
    }
    let canonical = fs::canonicalize(destination).map_err(|e| Error::io(destination, e))?;
    let inside = |path: &Path| fs::canonicalize(path).is_ok_and(|path| path.starts_with(&canonical));
    if source.is_some_and(inside) {
        return refuse("holds the source; choose another destination");
    }
    if !destination.is_dir() || destination.is_symlink() {
        return refuse("is not a folder; remove it or choose another destination");
    }
    let empty = fs::read_dir(destination).map_err(|e| Error::io(destination, e))?.next().is_none();
    if !empty && !destination.join("config.json").is_file() {
        return refuse("is not a model folder, so it is not replaced; choose another destination");
    }
    Ok(())
}

/// One tensor of a file to be written.
pub(super) struct Planned {
    pub(super) name: String,
    /// As safetensors calls it.
    pub(super) dtype: &'static str,
    pub(super) shape: Vec<usize>,
    /// Length of its data.
    pub(super) bytes: usize,
}

/// A safetensors file that is written tensor by tensor in the order of the plan.
pub(super) struct TensorFile {
    path: PathBuf,
    file: BufWriter<File>,
    left: VecDeque<Planned>,
    written: u64,
}

impl TensorFile {
    /// Writes the header.
    pub(super) fn create(path: PathBuf, plan: Vec<Planned>, metadata: &Value) -> Result<Self> {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), metadata.clone());
        let mut end = 0;
        for Planned { name, dtype, shape, bytes } in &plan {
            let start = end;
            end += bytes;
            let tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
            header.insert(name.clone(), tensor);
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // Tensors begin at a multiple of 8, so that maps of the file are aligned.
        header.resize(header.len().next_multiple_of(8), b' ');
        let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
        let mut file = Self { path, file: BufWriter::new(file), left: plan.into(), written: 0 };
        file.raw(&(header.len() as u64).to_le_bytes())?;
        file.raw(&header)?;
        Ok(file)
    }

    /// Appends the data of the next tensor, little-endian.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let planned = self.left.pop_front().map(|planned| planned.bytes);
        debug_assert_eq!(planned, Some(bytes.len()));
        self.raw(bytes)
    }

    /// Ends the file and gives its length.
    pub(super) fn finish(mut self) -> Result<u64> {
        debug_assert!(self.left.is_empty());
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|e| Error::io(&self.path, e))?;
        Ok(self.written)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, e))
    }
}
