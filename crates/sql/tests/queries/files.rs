//! Files in and out: Parquet, CSV, JSON, one by one and by patterns.

use crate::support::{problem, query, reviews, session};

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

/// A text that cannot be read near the end of thousands: what stood there before stays, and nothing new is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_fails_finishes_no_file() {
    let (session, folder) = (session(2), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    session.collect("set mobilebert.on_error = 'fail'").await.unwrap();
    let labels = |text: &str| format!("select classify({text}, 'tiny')['label'] as label from {files}");
    let (good, bad) = (labels("text"), labels("case when id = 2990 then '' else text end"));
    for kind in ["parquet", "csv", "json"] {
        let path = out.join(format!("labels.{kind}"));
        let copy = |select: &str| format!("copy ({select}) to '{}'", path.display());
        let found = problem(&session, &copy(&bad)).await;
        assert!(found.contains("the text is empty"), "{kind}: {found}");
        assert!(!path.exists(), "{kind}");
        assert_eq!(query(&session, &copy(&good)).await, [["3000"]], "{kind}");
        let before = std::fs::read(&path).unwrap();
        problem(&session, &copy(&bad)).await;
        assert_eq!(std::fs::read(&path).unwrap(), before, "{kind}");
    }
    let table = out.join("table");
    std::fs::create_dir(&table).unwrap();
    let create =
        format!("create external table t (label varchar) stored as parquet location '{}/'", table.display());
    session.collect(&create).await.unwrap();
    problem(&session, &format!("insert into t {bad}")).await;
    assert_eq!(std::fs::read_dir(&table).unwrap().count(), 0);
    query(&session, &format!("insert into t {good}")).await;
    assert_eq!(query(&session, "select count(*) from t").await, [["3000"]]);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_of_structs_is_refused_before_a_file_is_begun() {
    let (session, folder) = (session(1), tempfile::tempdir().unwrap());
    let path = folder.path().join("c.csv");
    for column in ["classify('a', 'tiny') as c", "embed('a', 'tiny') as c", "scores('a', 'tiny') as c"] {
        for before in ["", "explain analyze "] {
            let sql = format!("{before}copy (select 1 as n, {column}) to '{}'", path.display());
            let found = problem(&session, &sql).await;
            assert!(found.contains("the column `c`") && found.contains("c['label']"), "{sql}: {found}");
            assert!(!path.exists(), "{sql}");
        }
    }
    let sql = format!("copy (select classify('a', 'tiny')['label'] as c) to '{}'", path.display());
    assert_eq!(query(&session, &sql).await, [["1"]]);
}

/// A file that is there is meant, even if its name would be a pattern.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn names_like_patterns_are_names() {
    let (session, folder) = (session(1), tempfile::tempdir().unwrap());
    for name in ["a[1].csv", "b?.csv", "c*.csv", "d #%20.csv"] {
        std::fs::write(folder.path().join(name.replace(['[', ']', '?', '*'], "1")), "other\n1\n").unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, "text\na joy\n").unwrap();
        let sql = format!("select text from '{}'", path.display());
        assert_eq!(query(&session, &sql).await, [["a joy"]], "{name}");
    }
}
