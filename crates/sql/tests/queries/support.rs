//! Sessions with the tiny models of the checkout, and texts in files.

use std::path::{Path, PathBuf};

use datafusion::arrow::array::{Array as _, RecordBatch};
use datafusion::arrow::util::display::array_value_to_string;
use mobilebert_sql::{Session, Settings};

use crate::texts;

/// Returns a folder of the checkout.
pub(crate) fn root(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// Names for the tiny models, which answer at once but know nothing.
pub(crate) fn models() -> Vec<(String, String)> {
    let of = |name: &str, folder: &str| {
        let folder = root(&format!("tests/golden/checkpoints/{folder}"));
        (name.to_owned(), folder.to_str().unwrap().to_owned())
    };
    vec![of("tiny", "bert-f32"), of("tiny-ner", "mobilebert-ner-f32"), of("tiny-mlm", "mobilebert-mlm-f32")]
}

pub(crate) fn session(threads: usize) -> Session {
    let settings = Settings::with(|settings| {
        settings.threads = threads;
        settings.models = models();
    });
    Session::new(&settings).unwrap()
}

/// Writes 3,000 different texts into four files, and returns a pattern that names them.
pub(crate) async fn reviews(session: &Session, folder: &Path) -> String {
    for file in 0..4 {
        let path = folder.join(format!("part-{file}.parquet"));
        texts::write(session, &path, file * 750..(file + 1) * 750).await.unwrap();
    }
    format!("'{}/*.parquet'", folder.display())
}

/// Returns the rows as text, sorted.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |column: &datafusion::arrow::array::ArrayRef| match column.is_null(row) {
                true => "NULL".to_owned(),
                false => array_value_to_string(column, row).unwrap(),
            };
            rows.push(batch.columns().iter().map(value).collect());
        }
    }
    rows.sort();
    rows
}

/// Runs a query and returns its rows.
pub(crate) async fn query(session: &Session, sql: &str) -> Vec<Vec<String>> {
    rows(&session.collect(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")))
}

/// Runs a query that fails, and returns its message.
pub(crate) async fn problem(session: &Session, sql: &str) -> String {
    match session.collect(sql).await {
        Ok(batches) => panic!("{sql} has rows: {:?}", rows(&batches)),
        Err(error) => error.to_string(),
    }
}

/// Returns how many texts the models of a session have read.
pub(crate) fn computed(session: &Session) -> u64 {
    session.registry().counts().iter().map(|(_, counts)| counts.computed).sum()
}
