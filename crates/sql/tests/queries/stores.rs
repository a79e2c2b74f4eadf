//! Tables in object stores, and what is said of those that cannot be read.

use crate::shell::run;

/// What cannot be read is told with its name, and nothing is tried for minutes.
#[test]
fn names_of_files_that_cannot_be_read_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("notes.txt"), "a joy").unwrap();
    std::fs::create_dir(path("mixed")).unwrap();
    std::fs::write(path("mixed/a.csv"), "text\na joy\n").unwrap();
    std::fs::write(path("mixed/b.json"), "{\"text\": \"a joy\"}\n").unwrap();
    for (name, expected) in [
        (path("none.parquet"), "no file is called"),
        (path("none-*.csv"), "no file is called"),
        (
            path("notes.txt"),
            "notes.txt` is no kind of file that is known by its ending; expected one of .parquet, .csv",
        ),
        (path("*/a.csv"), "expected them after the last slash"),
        ("s3://b/x*/a.csv".to_owned(), "expected them after the last slash"),
        (path("mixed/"), "files of two kinds, .csv and .json"),
        ("hdfs://host/a.csv".to_owned(), "begins with file, s3, gs, az, http or https"),
        // Nothing says that this is a file.
        ("reviews".to_owned(), "table 'datafusion.public.reviews' not found"),
    ] {
        let (rows, problem, code) = run(&["-c", &format!("select * from '{name}'")]);
        assert!(code == 1 && problem.contains(expected), "{name}: {rows}{problem}");
        assert!(!problem.contains("Internal error"), "{name}: {problem}");
    }
    // Files that are no tables, such as those that Spark leaves, are passed over.
    std::fs::remove_file(path("mixed/b.json")).unwrap();
    std::fs::write(path("mixed/_SUCCESS"), "").unwrap();
    std::fs::write(path("mixed/.a.csv.crc"), "crc").unwrap();
    let (rows, problem, code) = run(&["-o", "csv", "-c", &format!("select * from '{}'", path("mixed"))]);
    assert_eq!((rows.as_str(), problem.as_str(), code), ("text\na joy\n", "", 0));
}

#[cfg(not(feature = "object-stores"))]
#[test]
fn a_build_without_object_stores_says_so() {
    let expected = "this build lacks object stores; build with --features object-stores";
    for url in
        ["s3://bucket/a.csv", "gs://bucket/*.parquet", "az://box/a.csv", "http://user:secret@host/a.csv"]
    {
        for sql in [
            format!("select * from '{url}'"),
            format!("copy (select 1) to '{url}'"),
            format!("create external table t stored as csv location '{url}'"),
        ] {
            let (rows, problem, code) = run(&["-c", &sql]);
            assert!(code == 1 && problem.contains(expected), "{sql}: {rows}{problem}");
            assert!(!problem.contains("secret"), "{sql}: {problem}");
        }
    }
}

#[cfg(feature = "object-stores")]
mod built {
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use crate::bucket::Server;
    use crate::shell::{program, texts};

    /// Runs the program with the settings of a store.
    fn run(port: u16, sql: &str) -> (String, String, i32) {
        let mut program = program();
        program.args(["--output", "csv", "--threads", "2", "-c", sql]);
        program.envs([
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{port}").as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ]);
        texts(program.output().unwrap())
    }

    /// Runs a query that has to succeed.
    fn rows(port: u16, sql: &str) -> String {
        let (rows, problem, code) = run(port, sql);
        assert_eq!((problem.as_str(), code), ("", 0), "{sql}");
        rows
    }

    /// Writes tables into a bucket and reads them in every way.
    fn write_and_read(port: u16) {
        let labels = |from: &str| {
            format!("select id, classify(text, 'tiny')['score'] as s, tokens(text, 'tiny') as n from {from}")
        };
        let texts = "(select value as id, 'the city number ' || value as text from range(0, 300))";
        let expected = rows(port, &format!("{} order by id", labels(texts)));
        assert_eq!(expected.lines().count(), 301);
        for (file, kind) in [("a", "parquet"), ("b", "parquet"), ("c", "csv"), ("d", "json")] {
            let half = match file {
                "a" => "where id < 100",
                "b" => "where id >= 100",
                _ => "",
            };
            let to = format!("s3://reviews/{kind}/{file}.{kind}");
            let copied = rows(port, &format!("copy (select * from {texts} {half}) to '{to}'"));
            assert!(copied.starts_with("count\n"), "{copied}");
        }
        for name in ["parquet/", "parquet/*.parquet", "csv/c.csv", "csv/*", "json/d.json"] {
            let sql = format!("{} order by id", labels(&format!("'s3://reviews/{name}'")));
            assert_eq!(rows(port, &sql), expected, "{name}");
        }
        let table = "create external table t stored as parquet location 's3://reviews/parquet/'; \
                     select count(*) as n from t";
        assert_eq!(rows(port, table), "n\n300\n");
        // A copy that fails puts nothing there.
        let fails = "copy (select case when id = 299 then cast(text as int) else id end as n \
                     from 's3://reviews/csv/c.csv') to 's3://reviews/none/a.csv'";
        let (_, problem, code) = run(port, fails);
        assert!(code == 1 && problem.contains("Cannot cast"), "{problem}");
        let (_, problem, code) = run(port, "select * from 's3://reviews/none/a.csv'");
        assert!(code == 1 && problem.contains("no file is called `s3://reviews/none/a.csv`"), "{problem}");
    }

    #[test]
    fn tables_in_buckets_are_written_and_read() {
        let server = Server::start();
        write_and_read(server.port);
        // Plain HTTP reads the same objects.
        let url = format!("http://127.0.0.1:{}/reviews/csv/c.csv", server.port);
        assert_eq!(rows(server.port, &format!("select count(*) as n from '{url}'")), "n\n300\n");
    }

    /// A model reads slower than stores wait, so no request may depend on it.
    #[test]
    fn large_files_are_read_in_pieces() {
        const PIECE: usize = 4 << 20;
        let server = Server::start();
        let lines =
            (0..200_000).map(|i| format!("{i},a text of some length that makes the file large {i}\n"));
        let csv = format!("id,text\n{}", lines.collect::<String>());
        let size = csv.len();
        assert!(size > 2 * PIECE);
        server.put("/reviews/large.csv", csv.into_bytes());
        server.requests();
        let sql =
            "select count(*) as n, sum(id) as s, count(distinct text) as t from 's3://reviews/large.csv'";
        assert_eq!(rows(server.port, sql), format!("n,s,t\n200000,{},200000\n", 199_999_usize * 100_000));
        let ranges: Vec<_> = server.requests().into_iter().filter(|asked| asked.starts_with("GET")).collect();
        assert!(ranges.len() > size / PIECE, "{ranges:?}");
        for asked in ranges {
            let (_, range) = asked.split_once("bytes=").unwrap_or_else(|| panic!("{asked}"));
            let (first, last) = range.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert!(last - first < PIECE, "{asked}");
        }
    }

    #[test]
    fn a_store_that_is_not_there_is_told_in_time() {
        // A port that nobody listens on.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let start = Instant::now();
        let (rows, problem, code) = run(port, "select * from 's3://reviews/a.csv'");
        assert!(code == 1 && problem.contains("reviews"), "{rows}{problem}");
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }

    struct Process(Child);

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// The same with a server of others, which checks more than ours.
    #[test]
    #[ignore = "needs moto_server: pip install 'moto[server]'"]
    fn tables_in_buckets_of_moto() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server has to be on PATH: pip install 'moto[server]'");
        let _server = Process(server);
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "moto_server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        let made = std::net::TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            use std::io::{Read as _, Write as _};
            let head =
                "PUT /reviews HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        assert!(made.as_ref().unwrap().contains(" 200 "), "{made:?}");
        write_and_read(port);
        // Large enough for an upload in parts.
        let large = "select value as id, sha256('number ' || value) as text from range(0, 400000)";
        rows(port, &format!("copy ({large}) to 's3://reviews/large/large.parquet'"));
        rows(port, &format!("copy ({large}) to 's3://reviews/large/large.csv'"));
        for kind in ["parquet", "csv"] {
            let sql =
                format!("select count(*) as n, count(distinct id) as d from 's3://reviews/large/*.{kind}'");
            assert_eq!(rows(port, &sql), "n,d\n400000,400000\n", "{kind}");
        }
    }
}
