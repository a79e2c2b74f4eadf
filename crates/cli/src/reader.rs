//! Opens the files, pipes and folders that texts come from. What gzip has packed is unpacked.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use mobilebert_tools::dataset::{MAX_LINE, foreign_encoding, wrong_encoding};
use mobilebert_tools::files;

use super::failure::Failure;

/// The name of standard input in error messages.
pub(super) const STDIN: &str = "stdin";
/// The argument that stands for standard input.
pub(super) const DASH: &str = "-";

/// The first bytes of a file that gzip has packed. No text in UTF-8 begins with them.
static GZIP: [u8; 2] = [0x1f, 0x8b];

/// The extensions of the files in a folder that are texts, also with `.gz` behind them.
const TEXT_EXTENSIONS: [&str; 3] = ["txt", "text", "md"];

/// A source of text that has been opened.
pub(super) struct Opened {
    /// The bytes of the text, unpacked.
    pub(super) reader: Box<dyn BufRead + Send>,
    /// The name in messages.
    pub(super) place: String,
    /// The number of bytes, if it is known: of a file that is not packed.
    pub(super) length: Option<u64>,
    /// True if reading may wait for somebody, as at a pipe.
    pub(super) waits: bool,
}

/// Opens a file, or standard input if the path is `-`. Nothing is read of what may have to be waited for.
pub(super) fn open(path: &Path) -> Result<Opened, Failure> {
    let opened = if path.as_os_str() == DASH { Ok(open_stdin()) } else { open_file(path) };
    opened.map_err(|e| cannot_read(&name(path), &e))
}

fn open_stdin() -> Opened {
    let reader = Box::new(Unpacked::new(io::stdin()));
    Opened { reader, place: STDIN.to_owned(), length: None, waits: !stdin_is_file() }
}

fn open_file(path: &Path) -> io::Result<Opened> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder; expected a file"));
    }
    let waits = !metadata.is_file();
    let mut reader = Unpacked::new(file);
    let length = if waits || reader.is_packed()? { None } else { Some(metadata.len()) };
    Ok(Opened { reader: Box::new(reader), place: name(path), length, waits })
}

/// Returns the name of a file, or of standard input, in messages.
fn name(path: &Path) -> String {
    if path.as_os_str() == DASH { STDIN.to_owned() } else { path.display().to_string() }
}

/// A text whose source is read when the text is wanted, and not before. Its first bytes tell whether it has to
/// be unpacked.
struct Unpacked {
    /// The source, until its first bytes have been read.
    source: Option<Box<dyn Read + Send>>,
    reader: Box<dyn BufRead + Send>,
    packed: bool,
}

impl Unpacked {
    fn new(source: impl Read + Send + 'static) -> Self {
        Self { source: Some(Box::new(source)), reader: Box::new(io::empty()), packed: false }
    }

    /// Reads the first bytes, and returns true if the source is packed.
    fn is_packed(&mut self) -> io::Result<bool> {
        if let Some(source) = self.source.take() {
            (self.reader, self.packed) = unpacked(source)?;
        }
        Ok(self.packed)
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_packed()?;
        self.reader.read(buffer)
    }
}

impl BufRead for Unpacked {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.is_packed()?;
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

/// Returns a reader of the text, and whether it was packed. It waits for no more bytes than it needs to find
/// out, because the other end of a pipe may wait for an answer to a short line.
fn unpacked(source: impl Read + Send + 'static) -> io::Result<(Box<dyn BufRead + Send>, bool)> {
    let mut source = BufReader::new(source);
    let start = peek(&mut source)?;
    if start != &GZIP[..1] {
        let packed = start.starts_with(&GZIP);
        return Ok(if packed { (unpacking(source), true) } else { (Box::new(source), false) });
    }
    // No text begins with this byte alone, so nobody waits for an answer to it.
    source.consume(1);
    let packed = peek(&mut source)?.starts_with(&GZIP[1..]);
    let source = Cursor::new(&GZIP[..1]).chain(source);
    Ok(if packed { (unpacking(source), true) } else { (Box::new(source), false) })
}

/// Returns the next bytes. Unlike `fill_buf`, it goes on after a signal.
fn peek(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    reader.fill_buf()
}

fn unpacking(source: impl BufRead + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::new(Unpacking(MultiGzDecoder::new(source))))
}

/// Unpacks gzip, with errors that say what is wrong.
struct Unpacking<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    "the gzip data ends too early; is the file complete?".to_owned()
                }
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    format!("the gzip data is damaged: {error}")
                }
                _ => return error,
            };
            io::Error::new(io::ErrorKind::InvalidData, problem)
        })
    }
}

/// A problem of a text: the line, if it is in one, and a description.
pub(super) type Problem = (Option<usize>, String);

/// Reads a file as one text.
pub(super) fn read_file(path: &Path) -> Result<String, Problem> {
    open_file(path).map_err(|error| (None, error.to_string())).and_then(read_to_end)
}

/// Reads the whole text.
fn read_to_end(opened: Opened) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    let read = opened.reader.take(MAX_LINE as u64 + 1).read_to_end(&mut bytes);
    if let Err(error) = read {
        let line = (error.kind() == io::ErrorKind::InvalidData).then(|| line_of(&bytes, bytes.len()));
        return Err((line, error.to_string()));
    }
    if bytes.len() > MAX_LINE {
        return Err((None, format!("the text is longer than {} MiB, the limit", MAX_LINE >> 20)));
    }
    if let Some(encoding) = foreign_encoding(&bytes) {
        return Err((Some(1), wrong_encoding(encoding)));
    }
    String::from_utf8(bytes).map_err(|e| {
        let (bytes, bad) = (e.as_bytes(), e.utf8_error().valid_up_to());
        let start = bytes[..bad].iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        (Some(line_of(bytes, bad)), not_utf8(&bytes[start..], bad - start))
    })
}

/// Returns the number of the line that holds a byte.
fn line_of(bytes: &[u8], byte: usize) -> usize {
    bytes[..byte].iter().filter(|&&b| b == b'\n').count() + 1
}

/// Returns the place of a problem.
pub(super) fn place_of(place: &str, line: Option<usize>) -> String {
    line.map_or_else(|| place.to_owned(), |line| format!("{place}, line {line}"))
}

/// Reads the whole file, or all of standard input if the path is `-`.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let opened = open(path)?;
    let place = opened.place.clone();
    read_to_end(opened)
        .map_err(|(line, problem)| Failure::Input(format!("{}: {problem}", place_of(&place, line))))
}

/// The texts of a folder.
pub(super) struct Folder {
    /// The texts with their sizes, sorted by name.
    pub(super) files: Vec<(PathBuf, u64)>,
    /// The names of the folders in the folder that are not hidden.
    pub(super) folders: Vec<String>,
    /// The names of everything else in the folder that is not hidden.
    pub(super) others: Vec<String>,
}

/// Lists the texts of a folder, without those in folders inside of it.
pub(super) fn folder(path: &Path) -> Result<Folder, Failure> {
    let place = path.display().to_string();
    let failed = |e: io::Error| cannot_read(&place, &e);
    let mut found = Folder { files: Vec::new(), folders: Vec::new(), others: Vec::new() };
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, file) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        // The metadata are those of a link's target. A link to nothing is a text that cannot be read.
        let metadata = fs::metadata(&file);
        let size = metadata.as_ref().map_or(Some(0), |m| m.is_file().then_some(m.len()));
        match size {
            _ if name.starts_with('.') => {}
            Some(size) if is_text_name(&file) => found.files.push((file, size)),
            None if metadata.is_ok_and(|m| m.is_dir()) => found.folders.push(name),
            _ => found.others.push(name),
        }
    }
    found.files.sort();
    found.folders.sort();
    found.others.sort();
    if found.files.is_empty() {
        let extensions = TEXT_EXTENSIONS.map(|extension| format!(".{extension}")).join(", ");
        return Err(Failure::Input(format!(
            "{place}: the folder has no texts; expected files that end in {extensions}, or in these with .gz; hidden files \
             and folders in it are not read"
        )));
    }
    Ok(found)
}

/// Returns true if a file in a folder is a text by its name.
pub(super) fn is_text_name(path: &Path) -> bool {
    let name = without_gz(path);
    let extension = name.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| TEXT_EXTENSIONS.contains(&extension.as_str()))
}

/// Returns the path without a `.gz` at its end.
pub(super) fn without_gz(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("gz") => path.with_extension(""),
        _ => path.to_owned(),
    }
}

/// Returns true if writing to `output` would destroy what is read from `input`, which may be `-`.
pub(super) fn is_same_file(input: &Path, output: &Path) -> bool {
    if input.as_os_str() != DASH {
        return output.is_file() && files::is_same_file(input, output);
    }
    let (Some(read), Ok(written)) = (stdin_metadata(), fs::metadata(output)) else { return false };
    read.is_file() && written.is_file() && files::is_same_metadata(&read, &written) == Some(true)
}

#[cfg(unix)]
fn stdin_metadata() -> Option<Metadata> {
    use std::os::fd::AsFd as _;
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    stdin.and_then(|file| file.metadata()).ok()
}

#[cfg(not(unix))]
fn stdin_metadata() -> Option<Metadata> {
    None
}

/// Returns true if standard input is a file, and not a pipe whose other end may wait for answers.
pub(super) fn stdin_is_file() -> bool {
    stdin_metadata().is_some_and(|metadata| metadata.is_file())
}

pub(super) fn cannot_read(place: &str, error: &io::Error) -> Failure {
    Failure::Input(format!("{place}: {error}"))
}

/// Describes the place where a line stops being UTF-8. `byte` is counted from 0 in the line.
pub(super) fn not_utf8(line: &[u8], byte: usize) -> String {
    let found = line.get(byte).map_or("the end".to_owned(), |b| format!("0x{b:02x}"));
    format!("byte {byte}: expected UTF-8; found {found}")
}
