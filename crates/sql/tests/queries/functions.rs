//! Each function in SQL: its result, its type, and what it refuses.

use datafusion::arrow::array::{Array as _, Float32Array, Int64Array};
use mobilebert::{ClassifyOptions, Embedder, QuestionAnswering, TextClassification, TokenClassification};

use crate::support::{problem, query, reviews, root, session};

/// 300 texts over two threads and four files have the bits that each has alone.
#[tokio::test(flavor = "multi_thread")]
async fn scores_have_the_bits_of_direct_calls() {
    let (session, folder) = (session(2), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    let direct = TextClassification::open(root("models/sentiment")).unwrap();
    let sql = format!(
        "select id, text, classify(text)['label'], classify(text)['score'] \
         from {files} where id % 10 = 0 order by id"
    );
    let (mut ids, mut labels) = (Vec::new(), std::collections::BTreeSet::new());
    for batch in session.collect(&sql).await.unwrap() {
        let id = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let score = batch.column(3).as_any().downcast_ref::<Float32Array>().unwrap();
        for row in 0..batch.num_rows() {
            let text = |i: usize| {
                datafusion::arrow::util::display::array_value_to_string(batch.column(i), row).unwrap()
            };
            let expected = direct.classify(&text(1)).unwrap();
            let best = expected.best().unwrap();
            assert_eq!((text(2), score.value(row).to_bits()), (best.label.clone(), best.score.to_bits()));
            ids.push(id.value(row));
            labels.insert(text(2));
        }
    }
    assert_eq!(ids, (0..300).map(|i| i * 10).collect::<Vec<_>>());
    assert!(!labels.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn literals_are_computed_too() {
    let session = session(2);
    let found = query(
        &session,
        "select classify('a joy to watch')['label'], classify(null)['label'], classify('')['label'], \
         tokens('a joy to watch')",
    )
    .await;
    assert_eq!(found, [["positive", "NULL", "NULL", "4"]]);
    assert_eq!(query(&session, "select 1 where classify('a joy to watch')['score'] > 0.9").await, [["1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_works_on_columns() {
    let session = session(2);
    let answer = QuestionAnswering::open(root("models/qa")).unwrap();
    let context = "The engine was built by Ada in London.";
    let expected = answer.answer("Who built it?", context).unwrap();
    let sql = format!(
        "select a['answer'], a['start'], a['end'], a['score'] = arrow_cast({}, 'Float32') from \
         (select answer('Who built it?', c) as a from (values ('{context}'), (null)) as t(c))",
        expected.score
    );
    let rows = query(&session, &sql).await;
    let (start, end) = (expected.start.to_string(), expected.end.to_string());
    assert_eq!(rows[0], [&expected.answer, &start, &end, "true"]);
    assert_eq!(rows[1], ["NULL"; 4]);

    let direct = TextClassification::open(root("models/sentiment")).unwrap();
    let options = ClassifyOptions::with(|o| o.top_k = usize::MAX);
    let all = direct.classify_with("fine", &options).unwrap();
    for label in &all.labels {
        let sql = format!(
            "select scores(t)['{}'] = arrow_cast({}, 'Float32') from (values ('fine')) as v(t)",
            label.label, label.score
        );
        assert_eq!(query(&session, &sql).await, [["true"]], "{}", label.label);
    }

    let tagger = TokenClassification::open(root("tests/golden/checkpoints/mobilebert-ner-f32")).unwrap();
    let entities = tagger.tag("anna works in paris").unwrap();
    let sql = "select e['entity'], e['word'], e['start'], e['end'] from \
               (select unnest(tag(t, 'tiny-ner')) as e from (values ('anna works in paris')) as v(t))";
    let mut expected: Vec<_> = entities
        .iter()
        .map(|e| vec![e.label.clone(), e.word.clone(), e.start.to_string(), e.end.to_string()])
        .collect();
    expected.sort();
    assert_eq!(query(&session, sql).await, expected);
    assert!(!expected.is_empty());

    let sql = "select count(*), min(f['score']) > 0, max(f['mask']) from \
               (select unnest(fill_mask(t, 'tiny-mlm')) as f from (values ('the [MASK] is [MASK]')) as v(t))";
    assert_eq!(query(&session, sql).await, [["10", "true", "1"]]);

    let embedder = Embedder::open(root("models/embed")).unwrap();
    let (a, b) = (embedder.embed("How old are you?").unwrap(), embedder.embed("What is your age?").unwrap());
    let sql = format!(
        "select similarity(a, b) = arrow_cast({}, 'Float32'), array_length(embed(a)), embed(a)[1] = \
         arrow_cast({}, 'Float32'), classify_pair(a, b, 'tiny')['label'] is not null, \
         arrow_typeof(similarity(a, b)) from (values ('How old are you?', 'What is your age?')) as v(a, b)",
        a.cosine(&b),
        a.embedding[0]
    );
    let length = a.embedding.len().to_string();
    assert_eq!(query(&session, &sql).await, [["true", &length, "true", "true", "Float32"]]);
}

/// Columns of all string types, in one query.
#[tokio::test(flavor = "multi_thread")]
async fn all_string_types_are_read() {
    let session = session(1);
    for kind in ["Utf8", "LargeUtf8", "Utf8View", "Dictionary(Int32, Utf8)", "Dictionary(UInt8, LargeUtf8)"] {
        let sql = format!(
            "select tokens(arrow_cast(t, '{kind}')), count(*) \
             from (values ('a joy'), ('two hours of it'), ('a joy')) as v(t) group by 1"
        );
        assert_eq!(query(&session, &sql).await, [["2", "2"], ["4", "1"]], "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_while_planning() {
    let session = session(1);
    for (sql, expected) in [
        (
            "select classify(t, m) from (values ('a', 'tiny'), ('b', 'tiny')) as v(t, m)",
            "has to be a literal",
        ),
        ("select classify('a', '/no/such/model')", "/no/such/model"),
        ("select classify('a', 'qa')", "question answering"),
        ("select classify(1)", "expected texts"),
        ("select classify('a', 1)", "expected texts"),
        ("select classify('a', null)", "expected its name"),
        ("select classify()", "classify(text [, 'MODEL'])"),
        ("select answer('a')", "answer(question, context [, 'MODEL'])"),
        ("select fill_mask('a')", "fill_mask(…, 'MODEL')"),
    ] {
        let found = problem(&session, sql).await;
        assert!(found.contains(expected), "{sql}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_read_are_null_or_an_error() {
    let session = session(1);
    let sql = "select classify(t, 'tiny')['label'] is null from (values ('a joy'), (''), (null)) as v(t)";
    assert_eq!(query(&session, sql).await, [["false"], ["true"], ["true"]]);
    session.collect("set mobilebert.on_error = 'fail'").await.unwrap();
    let found = problem(&session, sql).await;
    assert!(found.contains("the text is empty") && found.contains("mobilebert.on_error"), "{found}");
    session.collect("set mobilebert.on_error = 'perhaps'").await.unwrap();
    let found = problem(&session, sql).await;
    assert!(found.contains("perhaps") && found.contains("`null` or `fail`"), "{found}");
    session.collect("set mobilebert.on_error = 'null'").await.unwrap();
    assert_eq!(query(&session, sql).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_stopped_ends() {
    let (session, folder) = (session(2), tempfile::tempdir().unwrap());
    let files = reviews(&session, folder.path()).await;
    session.registry().stop().stop();
    let found = problem(&session, &format!("select classify(text, 'tiny')['label'] from {files}")).await;
    assert!(found.contains("cancelled"), "{found}");
    session.registry().stop().renew();
    assert_eq!(
        query(&session, &format!("select count(classify(text, 'tiny')) from {files}")).await,
        [["3000"]]
    );
}

/// What `information_schema` says of the functions, and what their errors say.
#[tokio::test(flavor = "multi_thread")]
async fn functions_are_described() {
    let sql = "select description, syntax_example from information_schema.routines where routine_name = ";
    let session = session(1);
    for (name, usage) in
        [("answer", "answer(question, context [, 'MODEL'])"), ("tag", "tag(text [, 'MODEL'])")]
    {
        let found = query(&session, &format!("{sql}'{name}'")).await;
        assert!(!found.is_empty() && found.iter().all(|row| row[1] == usage), "{found:?}");
        assert!(found[0][0].starts_with("Finds the "), "{found:?}");
    }
}
