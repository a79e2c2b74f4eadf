//! Tables of different short texts.

use std::ops::Range;
use std::path::Path;

use datafusion::error::Result;
use mobilebert_sql::Session;

/// Writes a Parquet file of one row for each number, with the columns `id`, `stars` and `text`.
pub(crate) async fn write(session: &Session, path: &Path, ids: Range<usize>) -> Result<()> {
    const WORDS: &str =
        "'the a who what where is was in of and to it paris france city king wrote book anna works'";
    let word = |nth: &str| format!("split_part({WORDS}, ' ', cast(1 + {nth} % 20 as int))");
    let sql = format!(
        "copy (select value as id, value % 7 as stars, \
         {} || ' ' || {} || ' ' || {} || ' number ' || value as text \
         from range({}, {})) to '{}' stored as parquet",
        word("value"),
        word("(value * 3)"),
        word("(value / 20)"),
        ids.start,
        ids.end,
        path.display()
    );
    session.collect(&sql).await.map(drop)
}
