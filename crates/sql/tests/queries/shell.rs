//! The program: flags, formats, exit codes.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::root;

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert-sql"));
    command.arg("--model").arg(format!("tiny={}", root("tests/golden/checkpoints/bert-f32").display()));
    command.stdin(Stdio::null());
    command
}

pub(crate) fn run(arguments: &[&str]) -> (String, String, i32) {
    texts(program().args(arguments).output().unwrap())
}

pub(crate) fn texts(output: Output) -> (String, String, i32) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

const TOKENS: &str = "select t, tokens(t, 'tiny') as n from (values ('the city'), ('a')) as v(t) order by n";

#[test]
fn rows_are_tables_csv_and_json() {
    let (table, problems, code) = run(&["-c", TOKENS]);
    assert_eq!((problems.as_str(), code), ("", 0));
    assert!(table.contains("| t        | n |") && table.contains("| the city | 2 |"), "{table}");
    assert_eq!(run(&["-o", "csv", "-c", TOKENS]), ("t,n\na,1\nthe city,2\n".into(), String::new(), 0));
    let json = "{\"t\":\"a\",\"n\":1}\n{\"t\":\"the city\",\"n\":2}\n";
    assert_eq!(run(&["--output", "json", "--command", TOKENS]), (json.into(), String::new(), 0));
}

/// CSV has no structs, so they are written as in a table.
#[test]
fn structs_are_written_in_every_format() {
    let sql = "select classify(t, 'tiny') as c from (values ('the city'), (null)) as v(t)";
    let (csv, problems, code) = run(&["-o", "csv", "-c", sql]);
    assert_eq!((problems.as_str(), code), ("", 0));
    assert!(csv.starts_with("c\n\"{label: ") && csv.contains("truncated: false}\""), "{csv}");
    let (json, ..) = run(&["-o", "json", "-c", sql]);
    assert!(json.starts_with("{\"c\":{\"label\":\""), "{json}");
    let (table, ..) = run(&["-c", sql]);
    assert!(table.contains("{label: "), "{table}");
}

#[test]
fn a_table_says_that_it_is_not_all() {
    let (table, _, code) = run(&["--max-rows", "2", "-c", "select * from generate_series(1, 5)"]);
    assert_eq!(code, 0);
    assert!(table.contains("2 of 5 rows") && !table.contains("| 3 "), "{table}");
    let (csv, ..) = run(&["--max-rows", "2", "-o", "csv", "-c", "select * from generate_series(1, 5)"]);
    assert_eq!(csv.lines().count(), 6);
}

#[test]
fn statements_come_from_standard_input() {
    let mut child =
        program().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let script = "create table x as select 'the; city' as t;\nselect tokens(t, 'tiny') as n from x;";
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let (table, problems, code) = texts(child.wait_with_output().unwrap());
    assert_eq!((problems.as_str(), code), ("", 0));
    assert!(table.contains("| n |"), "{table}");
}

#[test]
fn exit_codes_tell_what_happened() {
    let (rows, problem, code) = run(&["-c", "select classify('a', 'no-such-model')", "-c", "select 1"]);
    assert_eq!((rows.as_str(), code), ("", 1), "the first failure ends a script");
    assert!(problem.starts_with("mobilebert-sql: model `no-such-model`: "), "{problem}");
    let (_, problem, code) = run(&["-c", "selec 1"]);
    assert!(code == 1 && problem.contains("mobilebert-sql: "), "{problem}");
    let (_, problem, code) = run(&["--outptu", "csv"]);
    assert!(code == 2 && problem.contains("--output"), "{problem}");
    let (_, problem, code) = run(&["--model", "x"]);
    assert!(code == 2 && problem.contains("NAME=SOURCE"), "{problem}");
    const HUGE: &str = "18446744073709551615";
    let (threads, batches) = (["0", HUGE, "513", "x"], ["0", HUGE, "1048577", "-1"]);
    for (flag, values) in [("--threads", threads), ("--batch-size", batches)] {
        for value in values {
            let (_, problem, code) = run(&[&format!("{flag}={value}"), "-c", "select 1"]);
            assert!(code == 2 && problem.contains(flag), "{flag}={value}: {problem}");
        }
    }
    let (_, problem, code) = run(&["--max-rows", "x"]);
    assert!(code == 2 && problem.contains("--max-rows"), "{problem}");
    let most = ["--threads=512", "--batch-size=1048576", "--max-rows", HUGE, "-c", TOKENS];
    let (rows, problem, code) = run(&most);
    assert!(code == 0 && rows.contains("| the city | 2 |"), "{rows}{problem}");
    let (help, _, code) = run(&["--help"]);
    assert!(
        code == 0 && help.contains("classify(text [, 'MODEL'])") && help.contains("130 Ctrl-C"),
        "{help}"
    );
}

#[test]
fn failed_texts_are_told_and_a_summary_is_given_on_demand() {
    let sql =
        "select tokens(t, 'tiny'), classify(t, 'tiny')['label'] from (values ('the city'), ('')) as v(t)";
    let (_, problems, code) = run(&["-c", sql]);
    assert_eq!(code, 0);
    assert!(problems.contains("1 texts could not be read, and their rows are NULL"), "{problems}");
    let (_, problems, _) = run(&["--progress", "always", "-c", sql]);
    assert!(problems.contains("2 rows in ") && problems.contains("classify(tiny@"), "{problems}");
    let (_, problems, code) = run(&["-c", "set mobilebert.on_error = 'fail'", "-c", sql]);
    assert!(code == 1 && problems.contains("the text is empty"), "{problems}");
}

#[test]
fn mistakes_that_are_often_the_first_are_explained() {
    const FILES: &str = "the name of a file stands in quotes";
    for (sql, expected) in [
        ("select classify(review) from reviews/a.csv", FILES),
        ("select classify(review) from reviews/*.csv", FILES),
        ("select classify(review) from reviews.csv", FILES),
        ("select classify(review) from 'reviews'", FILES),
        ("select classify(t).label from (values ('a')) as v(t)", "as in classify(text)['label']"),
        ("selec 1", "sql parser error: Expected: an SQL statement, found: selec at Line: 1, Column: 1\n"),
        ("select classify(1)", "mobilebert-sql: expected texts in classify(text [, 'MODEL']); found Int64\n"),
        ("select clasify('a')", "Did you mean 'classify'?"),
    ] {
        let (rows, problem, code) = run(&["-c", sql]);
        assert!(code == 1 && problem.contains(expected), "{sql}: {rows}{problem}");
        assert_eq!(problem.contains(FILES), expected == FILES, "{sql}: {problem}");
    }
}

/// Each is parsed by itself, all of them before the first one runs.
#[test]
fn commands_are_statements_of_their_own() {
    let two = ["-o", "csv", "-c", "select 1 as a -- one", "-c", "select 2 as b"];
    assert_eq!(run(&two), ("a\n1\nb\n2\n".into(), String::new(), 0));
    let (rows, problem, code) = run(&["-c", "select 1", "-c", "selec 2"]);
    assert!(rows.is_empty() && code == 1 && problem.contains("selec"), "{rows}{problem}");
}

fn wait(child: &mut Child) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the program does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Also in the middle of a batch, and with a thread for all.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_query() {
    // Hours of work, were it not stopped, and minutes for each batch of a million texts.
    let sql = "select count(classify('number ' || value, 'sentiment')) from generate_series(1, 10000000)";
    for options in [&["--threads=1", "--batch-size=1000000"][..], &["--threads=2"]] {
        let mut child = program().args(options).args(["-c", sql]).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(4));
        assert!(child.try_wait().unwrap().is_none(), "it is still running");
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let start = Instant::now();
        assert_eq!(wait(&mut child), 130, "{options:?}");
        assert!(start.elapsed() < Duration::from_secs(10), "{options:?}: {:?}", start.elapsed());
        let mut problem = String::new();
        child.stderr.take().unwrap().read_to_string(&mut problem).unwrap();
        assert!(problem.contains("mobilebert-sql: cancelled"), "{problem}");
    }
}
