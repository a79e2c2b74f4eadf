//! Files in and out: Parquet, CSV, JSON, one by one and by patterns.

use crate::support::{query, reviews, session};

#[tokio::test(flavor = "multi_thread")]
async fn results_go_into_files_and_come_back() {
    let (session, folder) = (session(2), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    let select = format!(
        "select id, classify(text, 'tiny')['label'] as label, classify(text, 'tiny')['score'] as score \
         from {files}"
    );
    let expected = query(&session, &select).await;
    assert_eq!(expected.len(), 3000);
    for kind in ["parquet", "csv", "json"] {
        let path = folder.path().join(format!("labels.{kind}"));
        let options = if kind == "csv" { " options ('format.has_header' 'true')" } else { "" };
        let copy = format!("copy ({select}) to '{}' stored as {kind}{options}", path.display());
        assert_eq!(query(&session, &copy).await, [["3000"]], "{kind}");
        let read =
            format!("select id, label, arrow_cast(score, 'Float32') as score from '{}'", path.display());
        let found = query(&session, &read).await;
        assert_eq!(found, expected, "{kind}");
    }
}

/// Structs and vectors keep their types in Parquet.
#[tokio::test(flavor = "multi_thread")]
async fn nested_results_go_into_parquet() {
    let (session, folder) = (session(2), tempfile::tempdir().unwrap());
    let path = folder.path().join("nested.parquet");
    let copy = format!(
        "copy (select classify(t, 'tiny') as c, embed(t, 'tiny') as v, scores(t, 'tiny') as s from \
         (values ('a joy'), (null)) as x(t)) to '{}' stored as parquet",
        path.display()
    );
    query(&session, &copy).await;
    let sql = format!(
        "select c['label'] is null, array_length(v) > 0, s is null from '{}' where c is not null",
        path.display()
    );
    assert_eq!(query(&session, &sql).await, [["false", "true", "false"]]);
    assert_eq!(
        query(&session, &format!("select count(*) from '{}' where c is null", path.display())).await,
        [["1"]]
    );
}
