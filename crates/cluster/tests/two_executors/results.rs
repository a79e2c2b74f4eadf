//! The rows and bits of one machine, and what is said of what cannot be.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Cluster, alone, local, model, models, port, program, sorted, texts};

/// Queries whose rows hold what models computed: labels, scores with all their digits, vectors, groups.
fn queries(files: &str) -> Vec<String> {
    vec![
        format!("select id, classify(text, 'tiny')['label'], classify(text, 'tiny')['score'] from {files}"),
        format!(
            "select id, embed(text, 'tiny') as v from {files} where stars = 3 and tokens(text, 'tiny') > 2"
        ),
        format!(
            "select classify(text, 'tiny')['label'] as label, stars, count(*), \
             max(classify(text, 'tiny')['score']) from {files} group by 1, 2"
        ),
        format!(
            "select a.id, similarity(a.text, b.text, 'tiny') as s \
             from {files} a join {files} b on a.id = b.id + 1 where a.stars = 2"
        ),
    ]
}

#[test]
fn two_executors_give_the_rows_and_bits_of_one_machine() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let files = texts(folder.path(), 2000);
    let cluster = Cluster::start(&[models(), models()]);
    for sql in queries(&files) {
        let (found, expected) = (cluster.query(&sql).unwrap(), local(&sql));
        assert!(expected.len() > 2, "{sql}");
        assert!(found == expected, "{sql}:\n{:?}\n{:?}", &found[..2], &expected[..2]);
    }
    // Both have worked: each left results of tasks in its folder.
    for executor in 0..2 {
        let work = cluster.folder.path().join(format!("work-{executor}"));
        assert!(files_below(&work) > 0, "executor {executor} had nothing to do");
    }
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// The options of a session reach the executors with the calls. A text that cannot be read is an error unless
/// the query says otherwise, because the client does not know how many there were.
#[test]
fn options_reach_the_executors() {
    let _alone = alone();
    let cluster = Cluster::start(&[models()]);
    let sql = "select classify(t, 'tiny')['label'] is null as n from (values ('a film'), ('')) as v(t)";
    let problem = cluster.query(sql).unwrap_err();
    assert!(problem.contains("the text is empty"), "{problem}");
    let output = cluster.client("set mobilebert.on_error = 'null'").args(["-c", sql]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(sorted(&String::from_utf8(output.stdout).unwrap()), ["false", "n", "true"]);
}

/// An executor that has other files under the same name computes nothing.
#[test]
fn an_executor_with_other_weights_is_refused() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let files = texts(folder.path(), 80);
    let other = vec![model("tiny", "tests/golden/checkpoints/electra-f32"), models().remove(1)];
    let cluster = Cluster::start(&[other]);
    let sql = format!("select embed(text, 'tiny') from {files}");
    let start = Instant::now();
    let problem = cluster.query(&sql).unwrap_err();
    let told =
        "mobilebert-cluster: model `tiny` has other content than the query was planned with: expected sha ";
    assert!(problem.starts_with(told), "{problem}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// Executors write the files of a copy, and finish none of a copy that fails. The rows of all files come from
/// other tasks than the one that writes them, those of a single one from the same.
#[test]
fn copies_are_whole_or_not_there() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let all = texts(folder.path(), 800);
    let one = all.replace("*.parquet", "part-0.parquet");
    let cluster = Cluster::start(&[models(), models()]);
    let run = |sql: &str| {
        let output = cluster.client(sql).args(["--batch-size", "16"]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    for (files, rows, kind) in
        [(&all, 800, "parquet"), (&one, 100, "parquet"), (&one, 100, "csv"), (&one, 100, "json")]
    {
        let path = cluster.folder.path().join(format!("labels.{kind}"));
        let copy = |text: &str| {
            let select = format!("select id, classify({text}, 'tiny')['label'] as label from {files}");
            format!("copy ({select}) to '{}'", path.display())
        };
        std::fs::write(&path, "before").unwrap();
        let (succeeded, problem) = run(&copy("case when id = 99 then '' else text end"));
        assert!(!succeeded && problem.starts_with("mobilebert-cluster: classify, row "), "{kind}: {problem}");
        assert!(problem.contains("the text \"\": the text is empty"), "{kind}: {problem}");
        assert_eq!(std::fs::read(&path).unwrap(), b"before", "{files} to {kind}");
        assert_eq!(run(&copy("text")), (true, String::new()), "{files} to {kind}");
        let sql = format!("select count(label), count(distinct id) from '{}'", path.display());
        assert!(local(&sql).contains(&format!("{rows},{rows}")), "{files} to {kind}");
    }
}

fn told(mut command: Command) -> String {
    let output = command.output().unwrap();
    let problem = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{problem}");
    problem
}

#[test]
fn what_does_not_work_is_told() {
    let _alone = alone();
    let cluster = Cluster::start(&[models()]);
    let problem = cluster.query("select value from generate_series(1, 2)").unwrap_err();
    assert!(problem.contains("only the client has") && !problem.contains("Internal error"), "{problem}");
    let mut second = program(&[]);
    second.args(["scheduler", "--listen", &format!("127.0.0.1:{}", cluster.port)]);
    let problem = told(second);
    assert!(problem.contains(&format!("cannot listen on 127.0.0.1:{}", cluster.port)), "{problem}");
    let (mut taken, at) = (program(&[]), cluster.port.to_string());
    taken.args(["executor", "--scheduler-port", &at, "--vcores", "1", "--port", &at]);
    let problem = told(taken);
    assert!(problem.contains(&format!("cannot listen on 127.0.0.1:{at}")), "{problem}");
    for nobody in [format!("127.0.0.1:{}", port()), "nonsense".to_owned()] {
        let mut client = program(&[]);
        client.args(["sql", "--scheduler", &nobody, "-c", "select 1"]);
        let problem = told(client);
        assert!(problem.contains(&format!("cannot reach the scheduler at {nobody}: ")), "{problem}");
    }
}

/// Numbers that make no sense are wrong usage, and not a panic later.
#[test]
fn numbers_have_ranges() {
    const HUGE: &str = "18446744073709551615";
    for (command, flag, values) in [
        ("sql", "--partitions", &["0", HUGE, "x"][..]),
        ("sql", "--batch-size", &["0", HUGE]),
        ("executor", "--vcores", &["0", HUGE, "-1"]),
        ("executor", "--memory", &["0", HUGE]),
        ("executor", "--port", &["0", "65536"]),
        ("executor", "--scheduler-port", &["0", "65536"]),
        ("scheduler", "--executor-timeout", &["0", "9", HUGE]),
        ("scheduler", "--listen", &["127.0.0.1:0", "127.0.0.1:65536", "50050"]),
    ] {
        for value in values {
            let output = program(&[]).arg(command).arg(format!("{flag}={value}")).output().unwrap();
            let problem = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(2) && problem.contains(flag), "{flag}={value}: {problem}");
        }
    }
}
