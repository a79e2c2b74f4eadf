//! Tests safetensors files that are broken or malicious. Each is refused with an error that names the defect,
//! its position, the expected content and the content that was found.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use mobilebert::ErrorKind;
use mobilebert::format::{Bytes, Checkpoint};

/// Returns a file with this header, followed by `data` zero bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

fn error(file: Vec<u8>) -> String {
    let mut checkpoint = Checkpoint::default();
    let error = checkpoint.add_safetensors("test.safetensors", Bytes::Owned(file)).expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::Format { .. }), "{error}");
    assert_eq!(checkpoint.entries().count(), 0);
    error.to_string()
}

/// Asserts that files are refused. A case is a header, the length of the data, and a part of the message.
fn refused(cases: &[(&str, usize, &str)]) {
    for (header, data, message) in cases {
        let error = error(file(header, *data));
        assert!(error.contains(message), "{header}\nexpected: {message}\nfound: {error}");
        assert!(error.starts_with("test.safetensors, byte "), "{error}");
    }
}

#[test]
fn truncated_anywhere() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/checkpoints/mobilebert-f32/model.safetensors");
    let whole = fs::read(path).expect("the golden");
    let header = u64::from_le_bytes(*whole.first_chunk().expect("a length")) as usize;
    let places = (0..16).chain([header / 2, header + 7, header + 8, header + 9, whole.len() / 2]);
    for length in places.chain(whole.len() - 5..whole.len()) {
        error(whole[..length].to_vec());
    }
    let mut longer = whole;
    longer.push(0);
    assert!(error(longer).contains("the end of the file; found 1 bytes that belong to no tensor"));
}

#[test]
fn every_byte_of_the_header_may_be_wrong() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let whole = file(header, 8);
    for position in 0..8 + header.len() {
        for byte in [0, 1, b'"', b'0', b'9', b'{', b'[', 0x80, 0xff] {
            let mut broken = whole.clone();
            broken[position] = byte;
            let mut checkpoint = Checkpoint::default();
            if checkpoint.add_safetensors("test.safetensors", Bytes::Owned(broken)).is_ok() {
                for (name, entry) in checkpoint.entries() {
                    assert!(entry.byte_len() <= 8, "{name}");
                }
            }
        }
    }
}

#[test]
fn header_length() {
    for length in [3, 100, 100_000_001, 1 << 32, u64::MAX, u64::MAX - 7] {
        let mut file = file("{}", 0);
        file[..8].copy_from_slice(&length.to_le_bytes());
        assert!(error(file).contains(&format!("found {length}")));
    }
    assert!(error(file("", 0)).contains("a JSON object as header"));
    assert!(error(file(" {}", 0)).contains("a JSON object as header"));
}

#[test]
fn overlaps_and_holes() {
    refused(&[
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            12,
            "tensor `b` at data_offsets [8, ..], without gap or overlap; found [4, 12]",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            8,
            "tensor `b` at data_offsets [8, ..], without gap or overlap; found [0, 8]",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}"#,
            20,
            "tensor `b` at data_offsets [8, ..], without gap or overlap; found [12, 20]",
        ),
        (r#"{"a":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}}"#, 3, "tensor `a` at data_offsets [0, ..]"),
        (r#"{}"#, 1, "found 1 bytes that belong to no tensor"),
    ]);
}

#[test]
fn offsets() {
    refused(&[
        (
            r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
            8,
            "tensor `a`, 16 bytes; found only 8 bytes before the file ends",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            8,
            "tensor `a` at data_offsets [0, ..]",
        ),
        (
            r#"{"a":{"dtype":"I8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#,
            8,
            "the bytes of tensor `a`",
        ),
        (
            r#"{"a":{"dtype":"I8","shape":[1000000000000],"data_offsets":[0,1000000000000]}}"#,
            8,
            "only 8 bytes before the file ends",
        ),
        (
            r#"{"a":{"dtype":"I8","shape":[0],"data_offsets":[18446744073709551615,18446744073709551615]}}"#,
            0,
            "tensor `a` at data_offsets [0, ..]",
        ),
        (r#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[-1,0]}}"#, 1, "invalid value: integer `-1`"),
        (r#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1e30]}}"#, 1, "invalid type"),
        (r#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[0]}}"#, 1, "tuple of size 2"),
    ]);
}

#[test]
fn shapes() {
    refused(&[
        (
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            8,
            "the bytes of tensor `a`, F32 [3]; found 8 bytes",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
            0,
            "tensor `a`, F32",
        ),
        (r#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}"#, 0, "tensor `a`, F32"),
        (r#"{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}"#, 0, "tensor `a`, F64"),
        (r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,0]}}"#, 0, "tensor `a`, F4"),
        (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "invalid value: integer `-1`"),
        (r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "invalid type: floating point"),
        (r#"{"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}"#, 8, "expected a sequence"),
    ]);
}

#[test]
fn names_and_types() {
    refused(&[
        (
            r#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}"#,
            2,
            "`a` a second time",
        ),
        (
            r#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
            1,
            "`a` a second time",
        ),
        (r#"{"a":{"dtype":"FOO","shape":[1],"data_offsets":[0,1]}}"#, 1, "unknown variant `FOO`"),
        (r#"{"a":{"shape":[1],"data_offsets":[0,1]}}"#, 1, "missing field `dtype`"),
        (r#"{"a":{"dtype":"I8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1, "duplicate field"),
        (r#"{"a":1}"#, 1, "invalid type: integer `1`"),
        (r#"{"__metadata__":{"a":1}}"#, 0, "invalid type: integer `1`"),
        (r#"[]"#, 0, "a JSON object as header"),
    ]);
    let long = format!(r#"{{"a":{{"dtype":"{}"}}}}"#, "x".repeat(1 << 20));
    assert!(error(file(&long, 0)).len() < 1000);
}

#[test]
fn json() {
    let depth = 200_000;
    let nested = |value: &str| format!(r#"{{"a":{}{value}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(error(file(&nested("1"), 0)).contains("a header from tensor names"));
    let unknown_field = format!(r#"{{"a":{{"x":{}1{}}}}}"#, r#"{"b":"#.repeat(depth), "}".repeat(depth));
    assert!(error(file(&unknown_field, 0)).contains("missing field"));
    refused(&[
        (r#"{"a":"#, 0, "EOF while parsing"),
        (r#"{"a":{"dtype":"F32"}"#, 0, "missing field"),
        (r#"{} {}"#, 0, "trailing characters"),
        ("{\"\u{0}\":1}", 0, "control character"),
    ]);
    let mut not_utf8 = file(r#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    not_utf8[10] = 0xff;
    assert!(error(not_utf8).contains("invalid unicode"));
}

#[test]
fn errors_point_at_the_place_in_the_header() {
    let message = error(file("{\n\"a\":\n!}", 0));
    assert!(message.starts_with("test.safetensors, byte 16:"), "{message}");
}

#[test]
fn a_refused_file_leaves_the_checkpoint_as_it_was() {
    let one = |name: &str, dtype: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,4]}}}}"#);
        Bytes::Owned(file(&header, 4))
    };
    let mut checkpoint = Checkpoint::default();
    checkpoint.add_safetensors("one", one("a", "F32")).expect("a file");
    let error = checkpoint.add_safetensors("two", one("a", "F32")).expect_err("refused").to_string();
    assert!(error.contains("`a`, which is also in one"), "{error}");
    checkpoint.add_safetensors("three", one("b", "F32")).expect("a file");
    assert_eq!(checkpoint.file_of("b"), "three");
    assert_eq!(checkpoint.f32("a").expect("a tensor").as_ref(), [0.0]);
}
