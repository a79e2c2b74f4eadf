//! Packed files and folders of texts.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::{QUESTION, command, finished, piped, run, tiny, write};

fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

const CSV: &str = "id,text\n1,a joy to watch\n2,dull\n";
const JSONL: &str = "{\"text\":\"a joy to watch\"}\n{\"text\":\"dull\"}\n";

#[test]
fn what_gzip_has_packed_is_unpacked_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("in.csv", CSV),
        ("in.tsv", "id\ttext\n1\ta joy to watch\n2\tdull\n"),
        ("in.jsonl", JSONL),
        ("in.txt", "a joy to watch\ndull\n"),
    ] {
        let plain = write(folder.path(), name, text);
        let expected = run(&["classify", "--json", "--input", &plain]);
        assert_eq!((expected.code, expected.lines().len()), (0, 2), "{}", expected.stderr);
        let (name, packed) = (format!("{name}.GZ"), gzip(text));
        let packed_name = write(folder.path(), &name, &packed);
        let plain_name = write(folder.path(), name.trim_end_matches(".GZ"), &packed);
        for file in [packed_name, plain_name] {
            let found = run(&["classify", "--json", "--input", &file]);
            assert_eq!((found.code, &found.stdout), (0, &expected.stdout), "{file}: {}", found.stderr);
        }
        let format = name.trim_end_matches(".GZ").rsplit_once('.').unwrap().1.to_owned();
        let stdin = piped(&["classify", "--json", "--input", "-", "--format", &format], packed);
        assert_eq!((stdin.code, &stdin.stdout), (0, &expected.stdout), "{format}: {}", stdin.stderr);
    }
    let lines = piped(&["classify", "--json", "-"], gzip("a joy to watch\ndull\n"));
    assert_eq!((lines.code, lines.lines().len()), (0, 2));
    let ids = piped(&["infer", "--model", &tiny("mobilebert-f32"), "-"], gzip("{\"ids\":[2,3]}\n"));
    assert_eq!((ids.code, ids.stderr.as_str()), (0, ""));
    // A name that says gzip and a content that does not: the content decides.
    let unpacked = write(folder.path(), "not.csv.gz", CSV);
    assert_eq!(run(&["classify", "--json", "--input", &unpacked]).lines().len(), 2);
}

#[test]
fn contexts_and_questions_may_be_packed() {
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.gz", gzip("It was built by Ada."));
    let questions = write(folder.path(), "questions.gz", gzip("Who built it?\n"));
    let args = ["answer", "--context-file", &context, "--questions-file", &questions, "--json"];
    assert_eq!(run(&args).line()["answer"], "Ada");
    let stdin = piped(&[&QUESTION[..], &["--context", "-", "--json"]].concat(), gzip("It was built by Ada."));
    assert_eq!(stdin.line()["answer"], "Ada");
}

#[test]
fn members_that_were_joined_are_read_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    // The second member begins inside of a line.
    let file = write(folder.path(), "in.txt.gz", [gzip("a joy\ndu"), gzip("ll\n"), gzip("a joy\n")].concat());
    let found = run(&["tokenize", "--input", &file]);
    assert_eq!(
        (found.code, found.stdout.as_str()),
        (0, "[CLS] a joy [SEP]\n[CLS] dull [SEP]\n[CLS] a joy [SEP]\n"),
        "{}",
        found.stderr
    );
}

#[test]
fn broken_gzip_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..4000).map(|i| format!("{i},text {} of many\n", i * 7919 % 4001)).collect();
    for (name, format) in [("in.csv.gz", "csv"), ("in.tsv.gz", "tsv"), ("in.txt.gz", "txt")] {
        let mark = if format == "tsv" { "\t" } else { "," };
        let packed = gzip(format!("id,text\n{rows}").replace(',', mark));
        let cut = write(folder.path(), name, &packed[..packed.len() / 2]);
        let found = run(&["tokenize", "--input", &cut, "--format", format]);
        assert!(found.code == 1 && found.stdout.lines().count() > 100, "{}", found.stderr);
        let line = found.stdout.lines().count() + if format == "txt" { 1 } else { 2 };
        let expected = format!("{name}, line {line}: the gzip data ends too early");
        assert!(found.stderr.contains(&expected), "{expected} in {}", found.stderr);
        // The checksum at the end is wrong.
        let mut damaged = packed.clone();
        let at = damaged.len() - 6;
        damaged[at] ^= 1;
        let found = run(&["tokenize", "--input", &write(folder.path(), name, damaged), "--format", format]);
        assert!(found.code == 1 && found.stderr.contains(": the gzip data is damaged: "), "{}", found.stderr);
    }
    let packed = gzip(&rows);
    let short = write(folder.path(), "short.txt.gz", &packed[..5]);
    run(&["tokenize", "--input", &short]).failed(1, "short.txt.gz, line 1: the gzip data ends too early");
    let context = write(folder.path(), "context.gz", &packed[..packed.len() - 12]);
    let args = [&QUESTION[..], &["--context-file", &context]].concat();
    run(&args).failed(1, "the gzip data ends too early");
    piped(&["classify", "-"], &packed[..20]).failed(1, "stdin, line 1: the gzip data ends too early");
    let trailing = write(folder.path(), "trailing.txt.gz", [gzip("a joy\n"), b"more".to_vec()].concat());
    let found = run(&["tokenize", "--input", &trailing]);
    assert!(
        found.code == 1 && found.stderr.contains("trailing.txt.gz, line 2: the gzip data"),
        "{}",
        found.stderr
    );
}

/// A kilobyte that unpacks to a megabyte of zeros, many times, must not take all memory.
#[test]
fn a_line_that_unpacks_to_no_end_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = gzip(vec![b'a'; 1 << 20]);
    let bomb = write(folder.path(), "bomb.gz", zeros.repeat(260));
    for args in [
        &["tokenize", "--input", &bomb, "--format", "txt"][..],
        &["tokenize", "--input", &bomb, "--format", "csv", "--no-header"],
        &["tokenize", "--input", &bomb, "--format", "jsonl"],
    ] {
        run(args).failed(1, "bomb.gz, line 1: the line is longer than 256 MiB, the limit");
    }
    let context = [&QUESTION[..], &["--context-file", &bomb]].concat();
    run(&context).failed(1, "bomb.gz: the text is longer than 256 MiB, the limit");
    #[cfg(target_os = "linux")]
    run(&["tokenize", "--input", "/dev/zero", "--format", "txt"])
        .failed(1, "/dev/zero, line 1: the line is longer");
}

#[test]
fn other_packers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, program) in
        [("a.csv.xz", "xz -dc"), ("a.csv.zst", "zstd -dc"), ("a.bz2", "bzip2 -dc"), ("a.zip", "unzip -p")]
    {
        let file = write(folder.path(), name, "");
        run(&["classify", "--input", &file]).failed(2, program);
    }
    run(&["classify", "--input", &write(folder.path(), "a.gz", "")]).failed(2, "expected the extension");
    let output = folder.path().join("out.csv.gz").display().to_string();
    run(&["classify", "x", "--output", &output]).failed(2, "this command writes .jsonl, .tsv, .csv files");
    assert!(!Path::new(&output).exists());
}

/// Three texts, one of them packed and one not UTF-8, and what is no text.
fn texts(folder: &Path) -> String {
    write(folder, "b.txt", "a joy to watch\nfrom the beginning");
    write(folder, "a.md.gz", gzip("dull"));
    write(folder, "c.TXT", b"bad \xff".as_slice());
    write(folder, "photo.jpg", b"\xff\xd8".as_slice());
    write(folder, ".hidden.txt", "hidden");
    fs::create_dir(folder.join("inner.txt")).unwrap();
    folder.display().to_string()
}

#[test]
fn each_file_of_a_folder_is_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let input = texts(folder.path());
    let found = run(&["classify", "--json", "--input", &input]);
    let lines = found.lines();
    let files: Vec<&str> = lines.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!((found.code, files), (1, vec!["a.md.gz", "b.txt", "c.TXT"]));
    assert_eq!((&lines[0]["label"], &lines[1]["label"]), (&json!("negative"), &json!("positive")));
    assert!(
        lines[2]["error"].as_str().unwrap().ends_with("c.TXT, line 1: byte 4: expected UTF-8; found 0xff")
    );
    let warning = "not read, because they are no texts by their names: photo.jpg; not read, because they are folders: \
                   inner.txt\n";
    assert!(found.stderr.contains(warning), "{}", found.stderr);
    assert!(found.stderr.ends_with("1 of 3 inputs failed\n"));

    let plain = run(&["classify", "--quiet", "--input", &input]);
    let second = plain.stdout.lines().nth(1).unwrap();
    assert!(second.starts_with("positive\t") && second.ends_with("\tb.txt"), "{second}");
    let out = folder.path().join("out.csv").display().to_string();
    assert_eq!(run(&["classify", "--input", &input, "--output", &out]).code, 1);
    let rows = fs::read_to_string(&out).unwrap();
    assert!(rows.starts_with("file,label,score,truncated,error\na.md.gz,negative,"), "{rows}");
    for (command, model) in
        [("embed", "mobilebert-f32"), ("tag", "mobilebert-ner-f32"), ("tokenize", "mobilebert-f32")]
    {
        let found = run(&[command, "--model", &tiny(model), "--json", "--quiet", "--input", &input]);
        assert_eq!((found.lines().len(), &found.lines()[0]["file"]), (3, &json!("a.md.gz")), "{command}");
    }
}

#[test]
fn a_folder_without_texts_or_with_flags_of_tables_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    run(&["classify", "--input", &path])
        .failed(1, "the folder has no texts; expected files that end in .txt, .text, .md");
    write(folder.path(), "a.txt", "dull");
    for flags in [
        &["--format", "txt"][..],
        &["--no-header"],
        &["--delimiter", ";"],
        &["--text-column", "1"],
        &["--pair-column", "1"],
    ] {
        let args = [&["classify", "--input", &path], flags].concat();
        run(&args).failed(2, &format!("{} goes with a file, and --input {path} is a folder", flags[0]));
    }
    let inside = folder.path().join("b.txt").display().to_string();
    let args = ["classify", "--input", &path, "--output", &inside, "--output-format", "jsonl"];
    run(&args).failed(2, "would be a text of the folder");
    run(&["answer", "--input", &path])
        .failed(2, "to ask its texts, pass it as --context-file, with --question");
    let questions = ["answer", "--context", "x", "--questions-file", &path];
    run(&questions).failed(1, "is a folder; expected a file");
    run(&["infer", &path]).failed(1, "is a folder; expected a file");
}

#[test]
fn questions_are_put_to_each_text_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.txt", "It was built by Ada in London.");
    write(folder.path(), "2.txt", "It was built by Grace in Rome.");
    write(folder.path(), "3.txt", " ");
    let path = folder.path().display().to_string();
    let args = [&QUESTION[..], &["--question", "Where was it built?", "--context-file", &path]].concat();
    let found = run(&[&args[..], &["--json"]].concat());
    let lines = found.lines();
    let expected = [("1.txt", "Ada"), ("1.txt", "London"), ("2.txt", "Grace"), ("2.txt", "Rome")];
    for (line, (file, answer)) in lines.iter().zip(expected) {
        assert_eq!((&line["file"], &line["answer"]), (&json!(file), &json!(answer)));
    }
    assert_eq!((found.code, lines.len(), &lines[3]["question_index"]), (1, 6, &json!(1)));
    assert_eq!((&lines[4]["file"], &lines[4]["code"]), (&json!("3.txt"), &json!("empty_text")));
    let plain = run(&args).stdout;
    assert!(plain.starts_with("1.txt: 1. Who built it?\nAda\t"), "{plain}");
    let out = folder.path().join("out.csv").display().to_string();
    run(&[&args[..], &["--output", &out]].concat());
    let rows = fs::read_to_string(out).unwrap();
    assert!(
        rows.starts_with("file,question,question_index,score,start,end,answer,error\n1.txt,Who built it?,0,"),
        "{rows}"
    );
}

#[test]
fn an_output_never_destroys_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "in.jsonl", JSONL);
    let intact = || assert_eq!(fs::read_to_string(&file).unwrap(), JSONL);
    run(&["classify", "--input", &file, "--output", &file]).failed(2, "is read from, as ");
    intact();
    let stdin = |args: &[&str]| finished(command(args).stdin(File::open(&file).unwrap()).output().unwrap());
    for args in [
        &["classify", "--input", "-", "--format", "jsonl", "--output", &file][..],
        &["classify", "-", "--output", &file],
    ] {
        stdin(args).failed(2, "is read from, as standard input");
        intact();
    }
    let context = [&QUESTION[..], &["--context-file", &file, "--output", &file]].concat();
    run(&context).failed(2, "is read from");
    run(&["answer", "--context", "x", "--questions-file", &file, "--output", &file])
        .failed(2, "is read from");
    intact();
    #[cfg(unix)]
    {
        let link = folder.path().join("link.jsonl");
        fs::hard_link(&file, &link).unwrap();
        run(&["classify", "--input", &file, "--output", &link.display().to_string()])
            .failed(2, "is read from");
        intact();
    }
}
