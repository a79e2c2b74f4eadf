//! A file that appears only when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind as IoErrorKind, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use mobilebert::{Error, ErrorKind, Result};

use super::Partial;

/// The name of the file while it is under construction.
const NAME: &str = "file";

/// A file under construction beside its destination, in a folder that is removed on drop.
pub(crate) struct PartialFile {
    partial: Partial,
    /// The path at which the file is written.
    path: PathBuf,
    destination: PathBuf,
    file: BufWriter<File>,
}

impl PartialFile {
    /// Makes the file. The folder of the destination has to exist. A file at the destination is replaced when
    /// the new one is complete; a destination of another kind, such as a device, is refused.
    pub(crate) fn create(destination: &Path) -> Result<Self> {
        let destination = match fs::metadata(destination) {
            Ok(metadata) if !metadata.is_file() => {
                let found = if metadata.is_dir() { "a folder" } else { "no regular file" };
                let problem = format!("is {found}; expected the name of a file that may be replaced");
                let place = destination.display().to_string();
                return Err(ErrorKind::Input { place, problem }.into());
            }
            // A link to a file stays, and that file is replaced. A link to nothing is replaced itself.
            Ok(_) => fs::canonicalize(destination).map_err(|e| Error::io(destination, e))?,
            Err(_) => destination.to_owned(),
        };
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            let problem = "the folder does not exist; make it first";
            return Err(Error::io(parent, io::Error::new(IoErrorKind::NotFound, problem)));
        }
        let partial = Partial::create(&destination)?;
        let path = partial.folder.join(NAME);
        let file = BufWriter::new(File::create(&path).map_err(|e| Error::io(&destination, e))?);
        Ok(Self { partial, path, destination, file })
    }

    /// Makes an error about the file.
    pub(crate) fn error(&self, error: std::io::Error) -> Error {
        Error::io(&self.destination, error)
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| self.error(e))
    }

    /// Replaces the beginning of the file.
    pub(crate) fn rewrite_start(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|e| self.error(e))
    }

    /// Returns a second handle of the file, for a writer of a format that takes one. Nothing else must have
    /// been written.
    #[cfg(feature = "parquet")]
    pub(crate) fn handle(&self) -> Result<File> {
        self.file.get_ref().try_clone().map_err(|e| self.error(e))
    }

    /// Puts the file in its place.
    pub(crate) fn finish(mut self) -> Result<()> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|e| self.error(e))?;
        let Self { partial, path, destination, file } = self;
        // The file is closed first, because Windows renames no open file.
        drop(file);
        fs::rename(&path, &destination).map_err(|e| Error::io(&destination, e))?;
        drop(partial);
        Ok(())
    }
}
