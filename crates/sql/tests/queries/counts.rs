//! A text is sent through the model once, however often a query mentions it, and not at all if a cheap filter
//! drops it.

use crate::support::{computed, query, reviews, session};

/// DataFusion would send 6,000 rows through the model.
#[tokio::test(flavor = "multi_thread")]
async fn two_mentions_compute_once() {
    for threads in [1, 2, 4] {
        let (session, folder) = (session(threads), tempfile::tempdir().unwrap());
        let files = reviews(&session, folder.path()).await;
        let sql = format!(
            "select classify(text, 'tiny')['label'] as label, count(*), avg(classify(text, 'tiny')['score']) \
             from {files} group by 1"
        );
        let labels = query(&session, &sql).await;
        assert_eq!(labels.iter().map(|row| row[1].parse::<u64>().unwrap()).sum::<u64>(), 3000);
        assert_eq!(computed(&session), 3000, "{threads} threads");
    }
}

/// A filter by a model hands its rows on in other buffers, many batches later.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_by_a_model_and_its_result_compute_once() {
    for threads in [1, 2, 4] {
        let (session, folder) = (session(threads), tempfile::tempdir().unwrap());
        let files = reviews(&session, folder.path()).await;
        let all = query(&session, &format!("select classify(text, 'tiny')['score'] from {files}")).await;
        let mut scores: Vec<f32> = all.iter().map(|row| row[0].parse().unwrap()).collect();
        scores.sort_by(f32::total_cmp);
        let before = computed(&session);
        for (part, above) in [(2, scores[1500]), (100, scores[2970])] {
            let sql = format!(
                "select classify(text, 'tiny')['label'] as label, count(*), \
                 avg(classify(text, 'tiny')['score']) from {files} \
                 where classify(text, 'tiny')['score'] > arrow_cast({above}, 'Float32') group by 1"
            );
            let start = computed(&session);
            let found = query(&session, &sql).await;
            let count: u64 = found.iter().map(|row| row[1].parse::<u64>().unwrap()).sum();
            assert!(count > 0 && count <= 3000 / part, "{count} of one in {part}");
            assert_eq!(computed(&session) - start, 3000, "one in {part}, {threads} threads");
        }
        assert_eq!(before, 3000);
    }
}

/// The order of the conditions in the query does not matter, nor whether they stand in an outer query.
#[tokio::test(flavor = "multi_thread")]
async fn cheap_filters_run_before_the_model() {
    let (session, folder) = (session(2), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    for sql in [
        format!(
            "select id from {files} \
             where classify(text, 'tiny')['score'] > 0 and stars = 3 and text like '%9'"
        ),
        format!(
            "select id from (select id, stars, text, classify(text, 'tiny') as c from {files}) \
             where c['score'] > 0 and stars = 3 and text like '%9'"
        ),
        format!(
            "with c as (select id, stars, text, classify(text, 'tiny')['score'] as s from {files}) \
             select id from c where s > 0 and text like '%9' and stars = 3"
        ),
    ] {
        let before = computed(&session);
        let found = query(&session, &sql).await;
        let cheap =
            query(&session, &format!("select id from {files} where stars = 3 and text like '%9'")).await;
        assert_eq!(found, cheap);
        assert_eq!(computed(&session) - before, cheap.len() as u64, "{sql}");
    }
    let plan = query(
        &session,
        &format!("explain select id from {files} where classify(text, 'tiny')['score'] > 0 and stars = 3"),
    )
    .await;
    let plan = plan.iter().find(|row| row[0] == "physical_plan").unwrap()[1].clone();
    let (model, cheap) = (plan.find("FilterExec: get_field(classify"), plan.find("FilterExec: stars"));
    assert!(model.is_some() && cheap > model, "the model's filter is above the cheap one:\n{plan}");
}

/// With filters in the scan of Parquet, and with joins, the rows are the same. What is promised of the order
/// is that a condition on one table runs before a join, and a cheap one before those of a model on the same
/// table.
#[tokio::test(flavor = "multi_thread")]
async fn filters_in_scans_and_joins() {
    let (session, folder) = (session(2), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    let cheap = query(&session, &format!("select id from {files} where stars = 3")).await;
    let join = format!(
        "select a.id from {files} a join {files} b on a.id = b.id \
         where classify(a.text, 'tiny')['score'] > 0 and a.stars = 3"
    );
    let before = computed(&session);
    assert_eq!(query(&session, &join).await, cheap);
    assert_eq!(computed(&session) - before, cheap.len() as u64);
    for reorder in ["false", "true"] {
        for setting in ["pushdown_filters = true".to_owned(), format!("reorder_filters = {reorder}")] {
            let set = format!("set datafusion.execution.parquet.{setting}");
            session.collect(&set).await.unwrap();
        }
        let filter =
            format!("select id from {files} where classify(text, 'tiny')['score'] > 0 and stars = 3");
        let before = computed(&session);
        assert_eq!(query(&session, &filter).await, cheap, "reorder_filters = {reorder}");
        // The order is DataFusion's, but no text is computed twice.
        assert!(computed(&session) - before <= 3000);
        assert_eq!(query(&session, &join).await, cheap, "reorder_filters = {reorder}");
    }
}

/// Two models on one text are two columns, also below a join.
#[tokio::test(flavor = "multi_thread")]
async fn two_models_on_a_side_of_a_join() {
    let session = session(2);
    session
        .collect(
            "create table a as \
             select * from (values (1, 'the city'), (2, 'who wrote a book')) as v(id, text); \
             create table b as select id, classify(text, 'tiny')['score'] as s, \
             classify(text, 'sentiment')['score'] as t from a",
        )
        .await
        .unwrap();
    let sql = "select a.id, b.id from a join b on classify(a.text, 'tiny')['score'] = b.s \
               and classify(a.text, 'sentiment')['score'] = b.t";
    assert_eq!(query(&session, sql).await, [["1", "1"], ["2", "2"]]);
    let sql = "select id, classify(text, 'tiny')['score'] = s, classify(text, 'sentiment')['score'] = t \
               from a join b using (id) where classify(text, 'tiny')['score'] > 0 \
               and classify(text, 'sentiment')['score'] > 0";
    assert_eq!(query(&session, sql).await, [["1", "true", "true"], ["2", "true", "true"]]);
    // Columns of a result are called as in the query.
    let rows = session.collect("select tokens(text, 'tiny') from a").await.unwrap();
    let name = rows[0].schema().field(0).name().clone();
    assert_eq!(name, "tokens(a.text,Utf8(\"tiny\"))");
}

/// A limit needs no more than a batch of each thread.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_does_not_compute_all() {
    let (session, folder) = (session(1), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    query(&session, &format!("select classify(text, 'tiny')['label'] from {files} limit 5")).await;
    assert!(computed(&session) <= 1024, "{}", computed(&session));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_analyze_counts_calls_and_rows() {
    let (session, folder) = (session(1), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    let sql = format!(
        "explain analyze select classify(text, 'tiny')['label'], classify(text, 'tiny')['score'] from {files}"
    );
    let plan = query(&session, &sql).await;
    let calls: Vec<_> = plan.iter().filter(|row| row[0] == "Model calls").collect();
    assert_eq!(calls.len(), 1, "{plan:?}");
    let line = &calls[0][1];
    assert!(line.starts_with("classify(tiny@") && line.contains("computed=3000, failed=0"), "{line}");
    assert!(plan.iter().any(|row| row[0].contains("Plan with Metrics")), "{plan:?}");
}

/// The model runs on as many threads as there are partitions, also for a single file.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_file_is_shared_by_all_threads() {
    let (session, folder) = (session(4), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    let file = folder.path().join("all.parquet");
    query(&session, &format!("copy (select * from {files}) to '{}'", file.display())).await;
    let sql = format!("explain select classify(text, 'tiny')['label'] from '{}'", file.display());
    let plan = query(&session, &sql).await;
    let plan = plan.iter().find(|row| row[0] == "physical_plan").unwrap()[1].clone();
    let (model, shared) = (plan.find("classify"), plan.find("RepartitionExec"));
    assert!(model.is_some() && shared > model, "the rows are shared out below the model:\n{plan}");
}
