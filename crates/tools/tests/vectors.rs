//! Files of vectors, read back by another reader.
#![cfg(feature = "parquet")]

use std::fs::File;

use mobilebert_tools::vectors::{self, VectorRow};
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
