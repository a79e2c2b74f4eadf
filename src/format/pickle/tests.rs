//! Tests state dicts that are assembled byte by byte, and inputs that must be refused.

use super::machine::MAX_OPERATIONS;
use super::*;
use crate::format::ElementType;

/// Returns a pickle of `body` in protocol 2.
fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn int(value: i32) -> Vec<u8> {
    [b"J", &value.to_le_bytes()[..]].concat()
}

fn ints(values: &[i32]) -> Vec<u8> {
    let items: Vec<u8> = values.iter().flat_map(|&v| int(v)).collect();
    [b"(", &items[..], b"t"].concat()
}

/// Returns a call of `_rebuild_tensor_v2` on the six f32 of storage "0".
fn tensor(offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x06tQ".to_vec(),
        int(offset),
        ints(shape),
        ints(strides),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", &items[..], b"u"].concat()
}

/// Returns a legacy file around the pickle of `body`, with the six f32 0.0 to 5.0 in storage "0" if the
/// tensors need it.
fn legacy(body: &[u8], keys: &[u8]) -> Vec<u8> {
    let mut file = pickle(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
    file.extend(pickle(b"M\xe9\x03"));
    file.extend(pickle(&dict(&[("little_endian", b"\x88".to_vec())])));
    file.extend(pickle(body));
    file.extend(pickle(keys));
    file.extend(6u64.to_le_bytes());
    file.extend((0..6u8).flat_map(|i| f32::from(i).to_le_bytes()));
    file
}

const KEYS: &[u8] = b"](X\x01\0\0\x000e";

fn read_legacy(body: &[u8]) -> Result<Vec<(String, Entry)>> {
    let has_storage = body.windows(12).any(|w| w == b"FloatStorage");
    read("test.bin", Bytes::Owned(legacy(body, if has_storage { KEYS } else { b"]" })))
        .map(|contents| contents.entries)
}

fn error(body: &[u8]) -> String {
    read_legacy(body).expect_err("an error").to_string()
}

#[test]
fn a_state_dict_becomes_entries_that_point_into_the_file() {
    let body = dict(&[("b", tensor(4, &[2], &[1])), ("a", tensor(0, &[2, 2], &[2, 1]))]);
    let Contents { bytes, entries, .. } =
        read("test.bin", Bytes::Owned(legacy(&body, KEYS))).expect("a state dict");
    let data = bytes.len() - 24;
    assert_eq!(
        entries,
        [
            ("a".into(), Entry::new(vec![2, 2], ElementType::F32, data..data + 16)),
            ("b".into(), Entry::new(vec![2], ElementType::F32, data + 16..data + 24)),
        ]
    );
}

#[test]
fn wrappers_are_looked_through() {
    let inner = dict(&[("w", tensor(0, &[6], &[1]))]);
    for wrapper in ["state_dict", "model"] {
        let body = dict(&[("epoch", int(3)), (wrapper, inner.clone())]);
        let names: Vec<_> = read_legacy(&body).expect(wrapper).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["w"], "{wrapper}");
    }
}

#[test]
fn a_dict_inside_itself_ends() {
    // Memo 0 is the dict, and its entry `model` is set to the dict itself.
    let body = [b"}q\0".to_vec(), text("model"), b"h\0s".to_vec()].concat();
    assert!(error(&body).contains("found a dict"), "{}", error(&body));
}

#[test]
fn parameters_metadata_and_newer_opcodes_are_understood() {
    let parameter = [
        b"\x8c\x0ctorch._utils\x8c\x12_rebuild_parameter\x93".to_vec(),
        tensor(0, &[6], &[1]),
        b"\x88}\x87R".to_vec(),
    ]
    .concat();
    let body = [
        b"\x95\0\0\0\0\0\0\0\0ccollections\nOrderedDict\n)R\x94".to_vec(),
        text("w"),
        parameter,
        b"s}".to_vec(),
        text("_metadata"),
        b"}sb".to_vec(),
    ]
    .concat();
    assert_eq!(read_legacy(&body).expect("a state dict").len(), 1);
}

#[test]
fn foreign_globals_are_named_with_their_place() {
    let body = b"cposix\ngetcwd\n)R";
    let message = error(body);
    let place = legacy(body, b"]").windows(6).position(|w| w == b"cposix").expect("the global");
    assert!(message.contains("`posix.getcwd`"), "{message}");
    assert!(message.starts_with(&format!("test.bin, byte {place}:")), "{message}");
    for (module, name) in
        [("builtins", "eval"), ("os", "system"), ("torch.hub", "load"), ("torch", "load"), ("torch", "")]
    {
        let message = error(format!("c{module}\n{name}\n)R").as_bytes());
        assert!(message.contains(&format!("`{module}.{name}`")), "{message}");
    }
}

#[test]
fn foreign_opcodes_are_named() {
    for opcode in [b'i', b'o', 0x81, 0x92, b'P', 0x82, b'I', b'S', b'V', b'p', b'B', b'C', 0x8f, 0x97] {
        let message = error(&[opcode]);
        assert!(message.contains(&format!("found opcode {opcode:#04x}")), "{message}");
    }
}

#[test]
fn calls_other_than_rebuilding_are_refused() {
    for body in [
        &b"ctorch\nFloatStorage\n)R"[..],
        b"ccollections\nOrderedDict\n(K\x01tR",
        b"ctorch\nfloat32\n)R",
        b"ctorch\nSize\nK\x01\x85R",
        b"K\x01)R",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        b"K\x01Q",
        b")Q",
        b"K\x01}b",
    ] {
        assert!(matches!(read_legacy(body).expect_err("refused").kind(), crate::ErrorKind::Format { .. }));
    }
}

#[test]
fn broken_stacks_are_refused() {
    for body in [
        &b""[..],
        b"0",
        b"1",
        b"2",
        b"t",
        b"\x85",
        b"a",
        b"(a",
        b"]a",
        b"(e",
        b"s",
        b"(u",
        b"}K\x01u",
        b"}(K\x01u",
        b"h\0",
        b"j\xff\xff\xff\xff",
        b"q\0",
        b"K\x01(.",
        b"(K\x01(0000",
        b"R",
        b"b",
        b"Q",
        b"\x93",
        b"]((10e",
        b"X\xff\xff\xff\xff",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\xff",
        b"X\x01\0\0\0\xff",
        b"\x80\x06",
        b"\x80\x00",
    ] {
        assert!(read_legacy(body).is_err(), "{body:?}");
    }
}

#[test]
fn values_that_are_no_state_dict_are_refused() {
    assert!(error(b"K\x01").contains("found an int"));
    assert!(error(b"]").contains("found a list"));
    assert!(error(&dict(&[("w", int(1))])).contains("found an int under \"w\""));
    assert!(error(b"}(K\x01K\x02u").contains("found an int as a key"));
    assert!(error(&dict(&[(&"n".repeat(MAX_NAME + 1), int(1))])).contains("at most 512 bytes"));
}

#[test]
fn tensors_stay_inside_their_storage() {
    for (offset, shape, strides) in [
        (0, &[7][..], &[1][..]),
        (1, &[6], &[1]),
        (6, &[1], &[1]),
        (i32::MAX, &[1], &[1]),
        (0, &[i32::MAX, i32::MAX, i32::MAX, i32::MAX], &[1, 1, 1, 1]),
        (0, &[2, 2], &[i32::MAX, 1]),
        (0, &[i32::MAX, i32::MAX], &[i32::MAX, i32::MAX]),
    ] {
        let message = error(&dict(&[("w", tensor(offset, shape, strides))]));
        assert!(message.contains("a storage of 24 bytes; found `w`"), "{message}");
    }
    for (offset, shape, strides) in [
        (-1, &[1][..], &[1][..]),
        (0, &[-1], &[1]),
        (0, &[1], &[-1]),
        (0, &[2, 3], &[1]),
        (0, &[1; 9], &[1; 9]),
    ] {
        assert!(read_legacy(&dict(&[("w", tensor(offset, shape, strides))])).is_err());
    }
}

#[test]
fn strided_tensors_are_brought_into_order() {
    let body = dict(&[
        ("rows", tensor(0, &[2, 3], &[3, 1])),
        ("second_column", tensor(1, &[2], &[3])),
        ("transposed", tensor(0, &[3, 2], &[1, 3])),
    ]);
    let contents = read("test.bin", Bytes::Owned(legacy(&body, KEYS))).expect("a state dict");
    assert_eq!(contents.entries.len(), 1);
    let mut checkpoint = crate::format::Checkpoint::default();
    checkpoint.add_pytorch("test.bin", Bytes::Owned(legacy(&body, KEYS))).expect("a state dict");
    assert_eq!(*checkpoint.f32("transposed").expect("f32"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(*checkpoint.f32("second_column").expect("f32"), [1.0, 4.0]);
    assert_eq!(checkpoint.entry("transposed").expect("there").shape, [3, 2]);
    assert_eq!(checkpoint.files().count(), 1, "the copies are no file");
}

#[test]
fn tensors_that_repeat_elements_are_listed_but_not_readable() {
    let entries = read_legacy(&dict(&[("w", tensor(0, &[1000, 2], &[0, 1]))])).expect("a state dict");
    let dtype = entries[0].1.dtype.as_ref().expect_err("unreadable");
    assert_eq!(dtype, "F32 with strides [0, 1] (call `.contiguous()` before saving)");
    for (shape, strides) in [(&[1, 6][..], &[9, 1][..]), (&[6, 1], &[1, 7]), (&[0, 3], &[1, 1]), (&[], &[])] {
        let entries = read_legacy(&dict(&[("w", tensor(0, shape, strides))])).expect("a state dict");
        assert_eq!(entries[0].1.dtype, Ok(ElementType::F32), "{shape:?} {strides:?}");
    }
}

#[test]
fn broadcast_views_cannot_claim_more_than_they_have() {
    // The tensor has 2^31 - 1 rows, all of them the same element. It is inside the storage but cannot be
    // read.
    let entries = read_legacy(&dict(&[("w", tensor(0, &[i32::MAX, 6], &[0, 1]))])).expect("a state dict");
    assert!(entries[0].1.dtype.is_err());
}

#[test]
fn storages_are_where_the_keys_say() {
    let body = dict(&[("w", tensor(0, &[6], &[1]))]);
    for keys in [&b"]"[..], b"N", b"](X\x01\0\0\x001e", b"](K\x01e"] {
        assert!(read("test.bin", Bytes::Owned(legacy(&body, keys))).is_err(), "{keys:?}");
    }
    let file = legacy(&body, KEYS);
    for (count, cut) in [(7u64, 0), (u64::MAX, 0), (5, 4), (1 << 62, 0)] {
        let mut file = file.clone();
        let at = file.len() - 32;
        file[at..at + 8].copy_from_slice(&count.to_le_bytes());
        file.truncate(file.len() - cut);
        assert!(read("test.bin", Bytes::Owned(file)).is_err(), "{count}");
    }
}

#[test]
fn endless_pickles_are_cut_off() {
    let message = error(&vec![b'N'; MAX_OPERATIONS + 1]);
    assert!(message.contains("1048576 opcodes"), "{message}");
}

#[test]
fn sharing_does_not_multiply() {
    // Each tuple holds the one before twice, so a copy would have 2^400 leaves.
    let mut body = b")".to_vec();
    body.extend(b"2\x86".repeat(400));
    assert!(error(&body).contains("found a tuple"));
}

#[test]
fn other_files_are_told_from_pytorch() {
    for file in [&b""[..], b"PK", b"PK\x03\x04", b"{}", b"\x80\x02}.", &[0; 64]] {
        let error = read("test.bin", Bytes::Owned(file.to_vec())).expect_err("refused");
        assert!(matches!(error.kind(), crate::ErrorKind::Format { .. }), "{error}");
    }
}
