//! Files of vectors, read back by another reader.
#![cfg(feature = "parquet")]

use std::fs::File;

use mobilebert::ErrorKind;
use mobilebert_tools::vectors::{self, NpyFile, VectorRow};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};

fn field<'r>(row: &'r Row, name: &str) -> &'r Field {
    row.get_column_iter().find(|(column, _)| *column == name).map(|(_, field)| field).expect(name)
}

#[test]
fn parquet_holds_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    // More numbers than one row group holds.
    let (count, dimensions) = (10_000, 1024);
    let header = ["text", "error", "text"].map(str::to_owned);
    let vector = |i: usize| (0..dimensions).map(|d| (i * dimensions + d) as f32).collect::<Vec<f32>>();
    let mut file = vectors::parquet(&path, &header, dimensions).unwrap();
    for i in 0..count {
        let (text, numbers, failed) = (format!("Zeile {i} ä"), vector(i), i % 7 == 3);
        file.push(VectorRow {
            cells: &[&text, "mine", ""],
            vector: (!failed).then_some(&numbers),
            truncated: i % 5 == 0,
            error: failed.then_some("too odd"),
        })
        .unwrap();
    }
    assert!(!path.exists());
    file.finish().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    assert!(reader.num_row_groups() > 1);
    let mut read = 0;
    for (i, row) in reader.get_row_iter(None).unwrap().enumerate() {
        let row = row.unwrap();
        let names: Vec<&String> = row.get_column_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["text", "input_error", "input_text", "embedding", "truncated", "error"]);
        assert_eq!(field(&row, "text"), &Field::Str(format!("Zeile {i} ä")));
        assert_eq!(field(&row, "input_error"), &Field::Str("mine".to_owned()));
        assert_eq!(field(&row, "truncated"), &Field::Bool(i % 5 == 0));
        let (embedding, error) = (field(&row, "embedding"), field(&row, "error"));
        if i % 7 == 3 {
            assert_eq!((embedding, error), (&Field::Null, &Field::Str("too odd".to_owned())));
        } else {
            let Field::ListInternal(list) = embedding else { panic!("{embedding}") };
            let numbers: Vec<f32> = list
                .elements()
                .iter()
                .map(|x| match x {
                    Field::Float(x) => *x,
                    other => panic!("{other}"),
                })
                .collect();
            assert_eq!((numbers, error), (vector(i), &Field::Null));
        }
        read += 1;
    }
    assert_eq!(read, count);
}

#[test]
fn a_parquet_file_may_be_empty_or_all_failures() {
    let folder = tempfile::tempdir().unwrap();
    for failures in [0, 3] {
        let path = folder.path().join("x.parquet");
        let mut file = vectors::parquet(&path, &[], 4).unwrap();
        for _ in 0..failures {
            file.push(VectorRow { cells: &[], vector: None, truncated: false, error: Some("no") }).unwrap();
        }
        file.finish().unwrap();
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), failures);
        assert_eq!(reader.get_row_iter(None).unwrap().count() as i64, failures);
    }
}

/// Rows without any text or number take memory too.
#[test]
fn many_rows_of_nothing_do_not_stay_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let rows = 600_000;
    let mut file = vectors::parquet(&path, &["text".to_owned()], 4).unwrap();
    for _ in 0..rows {
        file.push(VectorRow { cells: &[""], vector: None, truncated: false, error: Some("no") }).unwrap();
    }
    file.finish().unwrap();
    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), rows);
    assert!(reader.num_row_groups() > 1);
}

/// A list without numbers could not be told from a row that has failed.
#[test]
fn vectors_without_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let errors = [
        vectors::parquet(&folder.path().join("x.parquet"), &[], 0).err().unwrap(),
        NpyFile::create(&folder.path().join("x.npy"), 0).err().unwrap(),
    ];
    for error in errors {
        assert!(matches!(error.kind(), ErrorKind::Option { option: "dimensions", .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
