//! Writes a model folder beside its destination, and puts it in place only when it is complete.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use mobilebert::text::TOKENIZER_FILES;
use mobilebert::{Error, ErrorKind, Result};

/// The folders that this process has under construction.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A set of paths is whole after every call, so a thread that panicked has left nothing half done.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every model folder and file of vectors that this process has under construction. It is for programs that are
/// about to end because a signal has stopped them. A folder that is just being put in its place is waited for.
///
/// The program should end while the result lives: until then, runs that are writing wait where they would otherwise
/// fail, or put what is left in its place.
pub fn remove_unfinished() -> Removed {
    let unfinished = unfinished();
    for folder in unfinished.iter() {
        // A thread may add a file while the folder is emptied, which a second attempt removes, too. What then remains
        // is removed by the next run that writes to the same destination.
        let _ = fs::remove_dir_all(folder).or_else(|_| fs::remove_dir_all(folder));
    }
    Removed { unfinished }
}

/// What [`remove_unfinished`] has removed. It holds up all runs that are writing.
pub struct Removed {
    unfinished: MutexGuard<'static, BTreeSet<PathBuf>>,
}

impl Removed {
    /// Returns the number of folders that were under construction.
    pub fn folders(&self) -> usize {
        self.unfinished.len()
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        self.unfinished.clear();
    }
}

/// A folder under construction beside its destination. It is removed on drop unless it was renamed.
pub(crate) struct Partial {
    pub(crate) folder: PathBuf,
    /// The lock held while the folder is under construction. The system releases it when the process ends for
    /// any reason, so that others can tell a folder that was left behind from one that is being written.
    lock: Option<File>,
    /// The folders of ended processes that were removed.
    removed: Vec<PathBuf>,
    finished: bool,
}

/// The file that a process locks in its folder under construction.
const LOCK: &str = ".lock";

/// The ending of folders under construction.
const PARTIAL: &str = "partial";

impl Partial {
    /// Makes a folder that did not exist, so that a failure removes nothing that belongs to anybody else.
    pub(crate) fn create(destination: &Path) -> Result<Self> {
        let parent = destination.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        let removed = remove_abandoned(destination, parent);
        let folder = unused(destination, PARTIAL, |folder| {
            let mut unfinished = unfinished();
            fs::create_dir(folder)?;
            unfinished.insert(folder.to_owned());
            Ok(())
        })?;
        // A file system without locks only loses the cleaning up.
        let lock = File::create(folder.join(LOCK)).ok().filter(|file| file.try_lock().is_ok());
        Ok(Self { folder, lock, removed, finished: false })
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        }
        fs::write(&path, bytes).map_err(|e| Error::io(&path, e))
    }

    /// Returns a note that names the folders of ended processes that were removed, if there are any.
    pub(crate) fn removed_note(&self) -> Option<String> {
        let names: Vec<String> = self.removed.iter().map(|path| path.display().to_string()).collect();
        (!names.is_empty())
            .then(|| format!("removed what runs that did not end had left behind: {}", names.join(", ")))
    }

    /// Returns the path of the folder as models are opened by it.
    pub(crate) fn path(&self) -> Result<&str> {
        self.folder.to_str().ok_or_else(|| {
            let problem = "the name of the destination has to be Unicode".to_owned();
            ErrorKind::Input { place: self.folder.display().to_string(), problem }.into()
        })
    }

    /// Puts the folder in its place. With `force`, a model folder that stands there is replaced, and comes back if
    /// that fails. What stands there is checked again, because hours may have passed since the first check.
    pub(crate) fn rename(mut self, destination: &Path, force: bool) -> Result<()> {
        check_destination(destination, None, force)?;
        // The file is closed first, because Windows renames no folder with an open file.
        drop(self.lock.take());
        match fs::remove_file(self.folder.join(LOCK)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(self.folder.join(LOCK), e));
            }
            _ => {}
        }
        // Nobody removes the folder, or ends the process, between the two renamings.
        let mut unfinished = unfinished();
        if !unfinished.contains(&self.folder) {
            return Err(Error::io(&self.folder, std::io::ErrorKind::NotFound.into()));
        }
        // Without `force`, a folder that has appeared since the check makes the renaming fail.
        let old = match destination.symlink_metadata() {
            Ok(_) if force => Some(unused(destination, "replaced", |path| fs::rename(destination, path))?),
            _ => None,
        };
        if let Err(error) = fs::rename(&self.folder, destination) {
            if let Some(old) = &old {
                // If this fails too, the model is whole under its other name. The first error is reported.
                let _ = fs::rename(old, destination);
            }
            return Err(Error::io(destination, error));
        }
        self.finished = true;
        unfinished.remove(&self.folder);
        // What was replaced goes, too, before a signal ends the process.
        match old {
            Some(old) => fs::remove_dir_all(&old).map_err(|e| Error::io(old, e)),
            None => Ok(()),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            drop(self.lock.take());
            // Nothing more can be done about a folder that cannot be removed. The first error is reported.
            let _ = fs::remove_dir_all(&self.folder);
            unfinished().remove(&self.folder);
        }
    }
}

/// Removes folders under construction of the same destination whose process has ended, and returns their
/// paths. A folder that cannot be removed stays, because the run does not need it to be gone.
fn remove_abandoned(destination: &Path, parent: &Path) -> Vec<PathBuf> {
    let name = destination.file_name().unwrap_or_default().display().to_string();
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let is_ours = |path: &PathBuf| {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let middle = file_name
            .strip_prefix(&format!(".{name}."))
            .and_then(|rest| rest.strip_suffix(&format!(".{PARTIAL}")))
            .and_then(|middle| middle.split_once('-'));
        middle.is_some_and(|(process, attempt)| {
            process.parse::<u32>().is_ok() && attempt.parse::<u32>().is_ok()
        }) && path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
    };
    let abandoned = entries.flatten().map(|entry| entry.path()).filter(is_ours).filter(|path| {
        // Without the file, nobody can tell whether another process is about to lock it.
        File::open(path.join(LOCK)).is_ok_and(|file| file.try_lock().is_ok())
    });
    abandoned.filter(|path| fs::remove_dir_all(path).is_ok()).collect()
}

/// Calls `make` with a name beside `destination` that nothing has yet.
fn unused(destination: &Path, ending: &str, make: impl Fn(&Path) -> std::io::Result<()>) -> Result<PathBuf> {
    let name = destination.file_name().unwrap_or_default().display().to_string();
    // WebAssembly has no processes. Names that others have taken are noticed below.
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

/// Refuses a destination that exists, unless `force` allows it to be replaced and it is a model folder that
/// does not hold the source.
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
    let mut others = Vec::new();
    for entry in fs::read_dir(destination).map_err(|e| Error::io(destination, e))? {
        let entry = entry.map_err(|e| Error::io(destination, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().map_err(|e| Error::io(entry.path(), e))?.is_dir();
        if !belongs_to_model(&name, is_folder) {
            others.push(name);
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    others.sort();
    let more = others.len().saturating_sub(MOST_LISTED);
    others.truncate(MOST_LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    refuse(&format!(
        "holds what is no part of a model and would be lost ({}{more}); move it, or choose another destination",
        others.join(", ")
    ))
}

/// The most names that an error lists.
const MOST_LISTED: usize = 10;

/// Returns true if this package, `transformers` or sentence-transformers writes a file of this name.
fn belongs_to_model(name: &str, is_folder: bool) -> bool {
    const FILES: [&str; 16] = [
        "README.md",
        "LICENSE",
        "LICENSE.txt",
        ".gitattributes",
        "config.json",
        "generation_config.json",
        "expected.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "quantization.json",
        "quantization.md",
        "quantization.svg",
        "self-check.json",
        "tokenizer.model",
        "training_args.bin",
    ];
    if is_folder {
        return ["1_Pooling", "2_Normalize"].contains(&name);
    }
    let is_weights = ["model", "pytorch_model"].iter().any(|stem| {
        name.strip_prefix(stem).is_some_and(|rest| {
            let rest = rest.strip_suffix(".index.json").unwrap_or(rest);
            let shard = rest.strip_suffix(".safetensors").or_else(|| rest.strip_suffix(".bin"));
            shard.is_some_and(|shard| {
                shard.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | 'o' | 'f'))
            })
        })
    });
    is_weights || FILES.contains(&name) || TOKENIZER_FILES.contains(&name)
}

/// One tensor of a file to be written.
pub(super) struct Planned {
    pub(super) name: String,
    /// The number type, as safetensors calls it.
    pub(super) dtype: &'static str,
    pub(super) shape: Vec<usize>,
    /// The length of its data.
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
    /// Makes the file and writes its header.
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

    /// Appends the data of the next tensor as little-endian bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let planned = self.left.pop_front().map(|planned| planned.bytes);
        debug_assert_eq!(planned, Some(bytes.len()));
        self.raw(bytes)
    }

    /// Ends the file and returns its length.
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
