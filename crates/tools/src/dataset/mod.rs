//! Readers of data files as examples: SQuAD, GLUE, CoNLL and tables with a label column. A row that cannot be
//! used is an [`ErrorKind::Input`](mobilebert::ErrorKind::Input) that names file, line and reason; no row is
//! skipped silently.
//!
//! Files are UTF-8. A byte order mark is skipped and lines may end in `\r\n`.

mod conll;
mod delimited;
mod glue;
mod labelled;
mod source;
mod squad;
mod table;

pub use conll::{Sentence, Tagged};
pub use delimited::{
    Delimited, DelimitedError, DelimitedRow, MAX_LINE, foreign_encoding, read_line, wrong_encoding,
};
pub use glue::GlueTask;
pub use labelled::{Example, Gold, Labelled, TableOptions};
pub use squad::{GoldAnswer, Question, Squad};
