//! Vectors in files.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{piped, run, tiny, write};

/// Reads a `.npy` file of f32, and returns the shape and the numbers.
fn npy(path: &Path) -> ((usize, usize), Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!((10 + length).is_multiple_of(64) && header.ends_with('\n'));
    let shape = header.strip_prefix("{'descr': '<f4', 'fortran_order': False, 'shape': (").unwrap();
    let (rows, columns) = shape.split_once(')').unwrap().0.split_once(", ").unwrap();
    let numbers = bytes[10 + length..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    ((rows.parse().unwrap(), columns.parse().unwrap()), numbers.collect())
}

fn numbers(value: &Value) -> Vec<f32> {
    value["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// Four texts: the second is empty, and the third is longer than the model reads.
fn texts(folder: &Path) -> String {
    write(folder, "in.txt", format!("anna works\n\n{}\nthe king\n", "a ".repeat(3000)))
}

#[test]
fn vectors_in_files_are_those_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny("mobilebert-f32");
    let args = ["embed", "--model", &model, "--quiet", "--input", &texts(folder.path())];
    let lines = run(&[&args[..], &["--json"]].concat()).lines();
    let place = |name: &str| folder.path().join(name);
    let to = |name: &str| {
        let run = run(&[&args[..], &["--output", &place(name).display().to_string()]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{}", run.stderr);
        run.stderr
    };

    let told = to("x.npy");
    let lines_told: Vec<&str> = told.lines().collect();
    assert!(lines_told[0].contains("in.txt, line 2: the text is empty"), "{told}");
    assert!(lines_told[0].ends_with("; row 1 is NaN (counted from 0)"), "{told}");
    assert!(lines_told[1].ends_with("x.npy: the end of 1 text was not read (line 3)"), "{told}");
    let (shape, found) = npy(&place("x.npy"));
    assert_eq!(shape, (4, 16));
    for (row, line) in [(0, &lines[0]), (2, &lines[2]), (3, &lines[3])] {
        assert_eq!(found[16 * row..16 * (row + 1)], numbers(line));
    }
    assert!(found[16..32].iter().all(|x| x.is_nan()));

    to("x.csv");
    let mut rows = csv::Reader::from_path(place("x.csv")).unwrap();
    let header: Vec<String> = rows.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        (header.len(), &header[..3], &header[17..]),
        (
            19,
            &["text", "truncated", "embedding_0"].map(str::to_owned)[..],
            &["embedding_15".to_owned(), "error".to_owned()][..]
        )
    );
    let rows: Vec<csv::StringRecord> = rows.records().map(|row| row.unwrap()).collect();
    let parsed = |row: &csv::StringRecord| {
        row.iter().skip(2).take(16).map(|x| x.parse().unwrap()).collect::<Vec<f32>>()
    };
    assert_eq!(parsed(&rows[0]), numbers(&lines[0]));
    assert_eq!((&rows[0][1], &rows[2][1], &rows[1][2]), ("false", "true", ""));
    assert!(rows[1][18].contains("line 2: the text is empty"));

    to("x.jsonl");
    let text = fs::read_to_string(place("x.jsonl")).unwrap();
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((numbers(&found[2]), found[2]["truncated"].as_bool()), (numbers(&lines[2]), Some(true)));
}

#[test]
fn a_file_of_vectors_appears_only_when_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny("mobilebert-f32");
    let output = folder.path().join("x.npy");
    let name = output.display().to_string();
    let embed =
        |more: &[&str]| run(&[&["embed", "--model", &model, "--quiet", "--output", &name], more].concat());
    embed(&[""]).failed(1, "the text is empty");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(embed(&["anna"]).code, 0);
    let before = fs::read(&output).unwrap();
    let broken = write(folder.path(), "in.csv", "text\nanna\n\"open\n");
    assert_eq!(embed(&["--input", &broken]).code, 1);
    assert_eq!(fs::read(&output).unwrap(), before, "a run that fails leaves the old file");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(embed(&["--input", &texts(folder.path())]).code, 1);
    assert_eq!(npy(&output).0, (4, 16));

    let nothing = piped(&["embed", "--model", &model, "--quiet", "--output", &name, "-"], "");
    assert_eq!((nothing.code, npy(&output).0), (0, (0, 16)));
}

#[test]
fn formats_are_chosen_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny("mobilebert-f32");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let args = ["embed", "--model", &model, "--quiet", "anna", "--output"];
    let odd = place("vectors.bin");
    run(&[&args[..], &[&odd]].concat())
        .failed(2, "this command writes .jsonl, .tsv, .csv, .npy, .parquet files");
    assert_eq!(run(&[&args[..], &[&odd, "--output-format", "npy"]].concat()).code, 0);
    assert_eq!(npy(Path::new(&odd)).0, (1, 16));
    run(&[&args[..], &[&place("missing/x.npy")]].concat())
        .failed(1, "missing: the folder does not exist; make it first");
    let in_folder = folder.path().display().to_string();
    run(&[&args[..], &[&in_folder, "--output-format", "npy"]].concat())
        .failed(1, "is a folder; expected the name of a file");
    #[cfg(unix)]
    {
        run(&[&args[..], &["/dev/null", "--output-format", "npy"]].concat())
            .failed(1, "/dev/null: is no regular file");
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        // A link to a file stays, and that file is replaced. A link to nothing is replaced itself.
        let (target, link) = (folder.path().join("vectors.bin"), place("link.npy"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(run(&["embed", "--model", &model, "--quiet", "king", "--output", &link]).code, 0);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && npy(&target).0 == (1, 16));
        fs::remove_file(&target).unwrap();
        assert_eq!(run(&["embed", "--model", &model, "--quiet", "king", "--output", &link]).code, 0);
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink() && !target.exists());
    }
    for command in ["classify", "tokenize"] {
        run(&[command, "x", "--output", &place("x.npy")]).failed(2, "this command writes .jsonl");
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn what_the_feature_parquet_brings_is_said_with_the_command_that_brings_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.parquet").display().to_string();
    let run = run(&["embed", "--model", &tiny("mobilebert-f32"), "--quiet", "anna", "--output", &output]);
    run.failed(1, "writing Parquet files is not part of this build; the feature `parquet` brings it: ");
    assert!(run.stderr.contains("cargo install --path crates/cli --features parquet"), "{}", run.stderr);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.parquet");
    let args = ["embed", "--model", &tiny("mobilebert-f32"), "--quiet", "--input", &texts(folder.path())];
    let run = run(&[&args[..], &["--output", &output.display().to_string()]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (1, "mobilebert: 1 of 4 inputs failed\n"));
    let bytes = fs::read(&output).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}
