//! Reads files that contain themselves, nest deeply, repeat one part endlessly or name absurd sizes. Each is
//! refused by name, on a small stack, in little time and memory.
#![allow(clippy::expect_used, clippy::panic, unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::format::{Bytes, Checkpoint};
use mobilebert::{Error, ErrorKind, ModelConfig, Tokenizer, TokenizerFiles};
use mobilebert_tools::convert;

#[path = "support/limited.rs"]
mod limited;

/// The most memory of a reader. That of LiteRT bounds what its lists say together by 16,777,216 numbers of 8
/// bytes.
const MEMORY: usize = 256 << 20;

/// Returns the error of a reader.
fn refused<T>(what: &str, read: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Error {
    let (error, held) = limited::run(what, || read().err());
    assert!(held < MEMORY, "{what}: {held} bytes of memory");
    error.unwrap_or_else(|| panic!("{what} is accepted"))
}

fn format_error(what: &str, read: impl FnOnce() -> Result<(), Error> + Send + 'static) -> String {
    let error = refused(what, read);
    let typed = matches!(error.kind(), ErrorKind::Format { .. } | ErrorKind::Tensor { .. });
    assert!(typed, "{what}: {error}");
    assert!(error.to_string().len() < 1000, "{what}: {error}");
    error.to_string()
}

mod pickles {
    use super::*;

    fn pickle(body: &[u8]) -> Vec<u8> {
        [b"\x80\x02", body, b"."].concat()
    }

    /// Returns a `torch.save` file of the older form, whose description is the pickle of `body`.
    fn file(body: &[u8]) -> Vec<u8> {
        let magic = pickle(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
        // Only storages that a tensor uses may be in the file.
        let has_storage = body.windows(12).any(|w| w == b"FloatStorage");
        let keys: &[u8] = if has_storage { b"](X\x01\0\0\x000e" } else { b"]" };
        let parts = [pickle(b"M\xe9\x03"), pickle(b"}"), pickle(body), pickle(keys)];
        let data = [&6u64.to_le_bytes()[..], &[0; 24]].concat();
        [magic, parts.concat(), data].concat()
    }

    fn read(file: Vec<u8>) -> Result<(), Error> {
        let mut checkpoint = Checkpoint::default();
        checkpoint.add_pytorch("test.bin", Bytes::Owned(file))?;
        for (name, _) in checkpoint.entries() {
            checkpoint.f32(name)?;
        }
        Ok(())
    }

    fn error(what: &str, body: Vec<u8>) -> String {
        format_error(what, move || read(file(&body)))
    }

    fn text(text: &str) -> Vec<u8> {
        [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    /// Returns a state dict with one tensor, whose arguments are pickled values.
    fn tensor(elements: &[u8], offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
        let id =
            [&text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), elements].concat();
        let call =
            [b"ctorch._utils\n_rebuild_tensor_v2\n((", &id[..], b"tQ", offset, shape, strides, b"\x89}tR"];
        [b"}", &text("w")[..], &call.concat(), b"s"].concat()
    }

    #[test]
    fn what_contains_itself_ends() {
        let list = b"]q\0h\0a".to_vec();
        let cases = [
            ("a list in itself", list.clone()),
            ("a list in itself, as a state dict", [b"}", &text("state_dict")[..], &list, b"s"].concat()),
            ("a dict in itself", [b"}q\0", &text("w")[..], b"h\0s"].concat()),
            ("a dict as its own key", b"}q\0h\0h\0s".to_vec()),
            ("a dict below itself", [b"}q\0", &text("model")[..], b"h\0s"].concat()),
            ("a dict as its own attributes", [b"}q\0h\0b", &text("w")[..], b"h\0s"].concat()),
            (
                "two dicts in each other",
                [b"}q\0", &text("model")[..], b"}q\x01", &text("state_dict"), b"h\0ss"].concat(),
            ),
            ("a tuple with a list that contains it", b"]q\0h\0\x85q\x01ah\x01".to_vec()),
            ("a list as its own storage", b"]q\0h\0aQ".to_vec()),
            ("a list as the arguments of a call", b"ccollections\nOrderedDict\n]q\0h\0aR".to_vec()),
            ("a list as its own shape", tensor(b"K\x06", b"K\0", &list, &list)),
            ("a size of a size", b"ctorch\nSize\n]q\0h\0a\x85R".to_vec()),
        ];
        for (what, body) in cases {
            error(what, body);
        }
    }

    #[test]
    fn depth_takes_no_stack() {
        const DEEP: usize = 200_000;
        let dicts = [b"}", &text("model")[..]].concat().repeat(DEEP);
        let cases = [
            ("tuples in tuples", [&b")"[..], &b"\x85".repeat(DEEP)].concat()),
            ("triples in triples", [&b")"[..], &b"22\x87".repeat(DEEP)].concat()),
            ("lists in lists", [b"]".repeat(DEEP), b"a".repeat(DEEP - 1)].concat()),
            ("dicts in dicts", [dicts, b"}".to_vec(), b"s".repeat(DEEP)].concat()),
            ("marks in marks", [b"(".repeat(DEEP), b"t".repeat(DEEP)].concat()),
            ("marks without an end", b"(".repeat(DEEP)),
            ("a list of one list many times", [b"]q\0]q\x01(", &b"h\0".repeat(DEEP)[..], b"e"].concat()),
            ("copies of copies", [&b"]("[..], &b"NNNN2222".repeat(DEEP / 16), b"e"].concat()),
            ("tuples in a tensor's shape", tensor(b"K\x06", b"K\0", &b"\x85".repeat(DEEP), b")")),
        ];
        for (what, body) in cases {
            error(what, body);
        }
        let endless = error("values without an end", b"N".repeat(1 << 21));
        assert!(endless.contains("opcodes"), "{endless}");
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let one = |tail: &[u8]| tensor(b"K\x06", b"K\0", tail, b"K\x01\x85");
        let negative = b"J\xff\xff\xff\xff";
        let long = |bytes: &[u8]| [&[0x8a, bytes.len() as u8][..], bytes].concat();
        let most = long(&i64::MAX.to_le_bytes());
        let beyond = long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        let cases = [
            ("LONG4 beyond the file", b"\x8b\xff\xff\xff\x7f".to_vec()),
            ("LONG4 of a negative length", b"\x8b\xff\xff\xff\xff".to_vec()),
            ("a string beyond the file", b"X\xff\xff\xff\xff".to_vec()),
            ("a long string beyond the file", [b"\x8d", &u64::MAX.to_le_bytes()[..]].concat()),
            ("a memo key that nothing has", b"j\xff\xff\xff\xff".to_vec()),
            ("a memo key that is large", b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff".to_vec()),
            ("a negative dimension", one(&[negative, &b"\x85"[..]].concat())),
            ("a negative offset", tensor(b"K\x06", negative, b"K\x01\x85", b"K\x01\x85")),
            (
                "a negative stride",
                tensor(b"K\x06", b"K\x01", b"K\x02\x85", &[negative, &b"\x85"[..]].concat()),
            ),
            ("a negative storage", tensor(negative, b"K\0", b"K\x01\x85", b"K\x01\x85")),
            ("the largest dimension", one(&[&most[..], b"\x85"].concat())),
            ("a dimension beyond i64", one(&[&beyond[..], b"\x85"].concat())),
            ("the largest storage", tensor(&most, b"K\0", b"K\x01\x85", b"K\x01\x85")),
            ("the largest offset", tensor(b"K\x06", &most, b"K\x01\x85", b"K\x01\x85")),
            (
                "dimensions whose product overflows",
                tensor(b"K\x06", b"K\0", &[&most[..], &most, b"\x86"].concat(), b"K\0K\0\x86"),
            ),
            (
                "no elements, and dimensions whose product overflows",
                tensor(b"K\x06", b"K\0", &[&most[..], &most, b"K\0\x87"].concat(), b"K\x01K\x01K\x01\x87"),
            ),
        ];
        for (what, body) in cases {
            error(what, body);
        }
        // A count of elements behind the pickles.
        let mut huge = file(&tensor(b"K\x06", b"K\0", b"K\x06\x85", b"K\x01\x85"));
        read(huge.clone()).expect("the tensor is right but for its length");
        let at = huge.len() - 32;
        huge[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        format_error("a storage beyond the file", move || read(huge));
    }
}

mod protobufs {
    use super::*;

    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn field(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
        let content = content.as_ref();
        [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
    }

    /// Returns `inner` inside messages of these fields, `times` times.
    fn nested(fields: &[u64], times: usize, inner: Vec<u8>) -> Vec<u8> {
        let (mut heads, mut length) = (Vec::new(), inner.len());
        for number in fields.iter().rev().cycle().take(fields.len() * times) {
            let head = [varint(number << 3 | 2), varint(length as u64)].concat();
            length += head.len();
            heads.push(head);
        }
        heads.reverse();
        [heads.concat(), inner].concat()
    }

    fn node(op: &str, inputs: &[&str], output: &str, more: &[u8]) -> Vec<u8> {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input)).collect();
        field(1, [&inputs[..], &field(2, output), &field(4, op), more].concat())
    }

    fn model(graph: impl AsRef<[u8]>) -> Vec<u8> {
        [b"\x08\x08".to_vec(), field(7, graph)].concat()
    }

    fn read(file: Vec<u8>) -> Result<(), Error> {
        convert::graph_content_hash("test.onnx", file).map(drop)
    }

    /// Asserts that a graph is refused, whether as a file or as a model.
    fn graph_refused(what: &str, nodes: Vec<u8>) {
        let dims = [varint(1 << 3), varint(5), varint(1 << 3), varint(4)].concat();
        let table = [dims, varint(2 << 3), varint(1), field(8, "words"), field(9, [0u8; 80])].concat();
        let words = [field(5, table), node("Gather", &["words", "ids"], "x", &[])].concat();
        let ends = [field(11, field(1, "ids")), field(12, field(1, "y"))].concat();
        let file = model([words, nodes, ends].concat());
        let error = refused(what, move || read(file));
        let typed = matches!(error.kind(), ErrorKind::Format { .. } | ErrorKind::Conversion { .. });
        assert!(typed && error.to_string().len() < 2000, "{what}: {error}");
    }

    /// Returns the scores `softmax(x * x * scale) * x`, which make the reader look for what the scale is.
    fn attention(scale: &[u8], scores: &str) -> Vec<u8> {
        [
            node("MatMul", &["x", "x"], "product", &[]),
            scale.to_vec(),
            node("Softmax", &[scores], "weights", &[]),
            node("MatMul", &["weights", "x"], "y", &[]),
        ]
        .concat()
    }

    #[test]
    fn subgraphs_in_subgraphs_take_no_stack() {
        // A graph's node (1) has an attribute (5) with a graph (6).
        graph_refused("subgraphs", nested(&[1, 5, 6], 10_000, Vec::new()));
        graph_refused("lists of subgraphs", nested(&[1, 5, 11], 10_000, Vec::new()));
        // A value's type (2) is a sequence (4) of a type (1), or an optional value (9) of a type (1).
        graph_refused("sequences of sequences", field(11, field(2, nested(&[4, 1], 10_000, Vec::new()))));
        graph_refused("optional optional values", field(12, field(2, nested(&[9, 1], 10_000, Vec::new()))));
        let file = [b"\x08\x08".to_vec(), b"\x3b".repeat(100_000)].concat();
        assert!(format_error("groups in groups", move || read(file)).contains("wire type 3"));
        let file = [b"\x08\x08".to_vec(), nested(&[7], 10_000, Vec::new())].concat();
        let error = refused("models in models", move || read(file));
        assert!(matches!(error.kind(), ErrorKind::Conversion { .. } | ErrorKind::Format { .. }), "{error}");
    }

    #[test]
    fn long_chains_of_operators_take_no_stack() {
        const LONG: usize = 20_000;
        for op in
            ["Identity", "Transpose", "Reshape", "Add", "Mul", "QuantizeLinear", "DequantizeLinear", "Where"]
        {
            let link = |i: usize| {
                let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
                node(op, &[&from, &from, &from], &to, &[])
            };
            let chain: Vec<u8> = (0..LONG).flat_map(link).collect();
            let (first, last) = ("v0", format!("v{LONG}"));
            let between = [
                node("Identity", &["product"], first, &[]),
                chain.clone(),
                node("Mul", &["product", &last], "scores", &[]),
            ];
            graph_refused(&format!("a chain of {op} at the scores"), attention(&between.concat(), "scores"));
            let behind = [attention(&[], "product"), node("Identity", &["y"], first, &[]), chain].concat();
            let ends = node("Identity", &[&last], "z", &[]);
            graph_refused(&format!("a chain of {op} at the end"), [behind, ends].concat());
        }
    }

    #[test]
    fn operators_that_read_themselves_end() {
        for op in
            ["Identity", "Transpose", "Add", "Mul", "QuantizeLinear", "DequantizeLinear", "Where", "Gather"]
        {
            let circle =
                [node(op, &["b", "b", "b"], "a", &[]), node(op, &["a", "a", "a"], "b", &[])].concat();
            for scores in ["a", "scores"] {
                let scaled = [&circle[..], &node("Mul", &["product", "a"], "scores", &[])].concat();
                graph_refused(&format!("a circle of {op} at {scores}"), attention(&scaled, scores));
            }
        }
        graph_refused("weights that read themselves", node("Softmax", &["y"], "y", &[]));
    }

    /// The product of these dimensions, which `tensors` may have that no weight is read from, leaves 64 bits.
    #[test]
    fn dimensions_whose_product_overflows_are_refused() {
        const BOOL: u64 = 9;
        const INT8: u64 = 3;
        for dims in [&[u64::MAX, u64::MAX][..], &[1 << 40, 1 << 40, 16], &[0, 1 << 40, 1 << 40]] {
            for dtype in [BOOL, INT8] {
                let dims: Vec<u8> = dims.iter().flat_map(|&d| [varint(1 << 3), varint(d)].concat()).collect();
                let constant = [dims, varint(2 << 3), varint(dtype), field(8, "c"), field(9, b"")].concat();
                let one = [varint(2 << 3), varint(1), field(8, "one"), field(9, 1f32.to_le_bytes())].concat();
                let constants = [field(5, &constant), field(5, &one)].concat();
                let what = |place: &str| format!("{constant:?} {place}");
                for (place, scale) in [
                    ("as a scale", node("Mul", &["product", "c"], "scores", &[])),
                    ("as a mask", node("Add", &["product", "c"], "scores", &[])),
                    (
                        "as a dequantised scale",
                        [
                            node("DequantizeLinear", &["c", "one"], "d", &[]),
                            node("Mul", &["product", "d"], "scores", &[]),
                        ]
                        .concat(),
                    ),
                ] {
                    graph_refused(&what(place), [&constants[..], &attention(&scale, "scores")].concat());
                }
                let linear = [
                    node("MatMul", &["x", "c"], "p", &[]),
                    node("Add", &["p", "c"], "q", &[]),
                    node("Gather", &["c", "x"], "r", &[]),
                    node("MatMul", &["q", "r"], "product", &[]),
                    node("Softmax", &["product"], "weights", &[]),
                    node("MatMul", &["weights", "q"], "context", &[]),
                    node("MatMul", &["context", "c"], "dense", &[]),
                    node("Add", &["dense", "c"], "y", &[]),
                ];
                graph_refused(&what("as a weight"), [constants, linear.concat()].concat());
            }
        }
    }
}

mod flatbuffers {
    use super::*;

    fn read(file: Vec<u8>) -> Result<(), Error> {
        convert::graph_content_hash("test.tflite", file).map(drop)
    }

    fn typed(what: &str, mut file: Vec<u8>) {
        file[4..8].copy_from_slice(b"TFL3");
        let error = refused(what, move || read(file));
        let typed = matches!(error.kind(), ErrorKind::Format { .. } | ErrorKind::Conversion { .. });
        assert!(typed && error.to_string().len() < 2000, "{what}: {error}");
    }

    /// An offset of 0 leads to itself, and any other pattern makes tables and lists that overlap each other.
    #[test]
    fn offsets_that_lead_in_circles_end() {
        for byte in 0..=255u8 {
            typed(&format!("bytes of {byte}"), vec![byte; 4096]);
        }
        for word in 0..64u32 {
            typed(&format!("words of {word}"), word.to_le_bytes().repeat(1024));
            let words = [word, 4, 0x0008_0008, 1].map(u32::to_le_bytes).concat();
            typed(&format!("four words with {word}"), words.repeat(256));
        }
    }

    /// Appends a table whose fields are offsets to these positions, with its list of fields at 8.
    fn table(file: &mut Vec<u8>, fields: [usize; 6]) {
        let at = file.len();
        word(file, at - 8);
        for to in fields {
            let here = file.len();
            word(file, if to == 0 { 0 } else { to - here });
        }
    }

    fn word(file: &mut Vec<u8>, value: usize) {
        file.extend((value as u32).to_le_bytes());
    }

    /// A file of 2 MB whose list of tensors leads to one table 100,000 times, so that they have 40 GB of
    /// names.
    #[test]
    fn tables_that_are_listed_many_times_are_counted() {
        const ELEMENTS: usize = 100_000;
        let (subgraphs, subgraph, list) = (52, 60, 88);
        // The position of the model, the identifier, and the list of fields of all tables.
        let mut file = [&24u32.to_le_bytes()[..], b"TFL3"].concat();
        file.extend([16u16, 32, 4, 8, 12, 16, 20, 24].map(u16::to_le_bytes).concat());
        // The model has operator codes, subgraphs and buffers, and its subgraph has tensors.
        table(&mut file, [0, list, subgraphs, 0, list, 0]);
        assert_eq!(file.len(), subgraphs);
        word(&mut file, 1);
        word(&mut file, 4);
        assert_eq!(file.len(), subgraph);
        table(&mut file, [list, 0, 0, 0, 0, 0]);
        assert_eq!(file.len(), list);
        word(&mut file, ELEMENTS);
        (0..ELEMENTS).for_each(|i| word(&mut file, 4 * (ELEMENTS - i)));
        // The shape, the type, the buffer and the name of a tensor.
        let name = file.len() + 28;
        table(&mut file, [name, 0, 0, name, 0, 0]);
        assert_eq!(file.len(), name);
        word(&mut file, 4 * ELEMENTS);
        file.resize(file.len() + 16 * ELEMENTS, b'n');
        let error = format_error("a list of one table", move || read(file));
        assert!(error.contains("tensors, operators and inputs"), "{error}");
    }
}

mod json {
    use super::*;

    const DEEP: usize = 100_000;

    /// Returns JSON values that nest deeply, with their names.
    fn deep() -> [(&'static str, String); 4] {
        [
            ("lists", format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP))),
            ("lists without an end", "[".repeat(DEEP)),
            ("objects", format!("{}1{}", r#"{"a":"#.repeat(DEEP), "}".repeat(DEEP))),
            // As deep as the reader of JSON goes.
            ("lists within the limit", format!("{}{}", "[".repeat(120), "]".repeat(120))),
        ]
    }

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints").join(name)
    }

    #[test]
    fn headers_of_safetensors() {
        for (what, value) in deep() {
            for header in [
                format!(r#"{{"a":{value}}}"#),
                format!(r#"{{"__metadata__":{value}}}"#),
                format!(r#"{{"a":{{"dtype":"I8","shape":{value},"data_offsets":[0,0]}}}}"#),
                format!(r#"{{"a":{{"dtype":{value},"shape":[1],"data_offsets":[0,1]}}}}"#),
                format!(r#"{{"a":{{"x":{value},"dtype":"I8","shape":[1],"data_offsets":[0,1]}}}}"#),
            ] {
                let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
                format_error(&format!("{what} in {}", &header[..16]), move || {
                    Checkpoint::default().add_safetensors("test.safetensors", Bytes::Owned(file))
                });
            }
        }
    }

    #[test]
    fn configurations() {
        let config = fs::read_to_string(golden("mobilebert-f32").join("config.json")).expect("the golden");
        for (what, value) in deep() {
            for field in ["hidden_size", "id2label", "architectures", "quantization_config", "model_type"] {
                let text = config.trim_end().trim_end_matches('}');
                let text = text.replace(&format!("\"{field}\""), "\"other\"");
                let text = format!("{text},\"{field}\":{value}}}");
                let error = refused(&format!("{what} as {field}"), move || ModelConfig::from_json(&text));
                assert!(error.to_string().len() < 1000, "{error}");
            }
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().to_owned();
            let index = format!(r#"{{"weight_map":{{"a":{value}}}}}"#);
            fs::write(path.join("model.safetensors.index.json"), index).expect("a file");
            refused(&format!("{what} in an index"), move || Checkpoint::open_folder(&path));
        }
    }

    #[test]
    fn settings_of_tokenizers() {
        let vocab = fs::read(golden("bert-f32").join("vocab.txt")).expect("the golden");
        for (what, value) in deep() {
            for field in ["do_lower_case", "unk_token", "added_tokens_decoder"] {
                let (vocab, text) = (vocab.clone(), format!(r#"{{"{field}":{value}}}"#));
                refused(&format!("{what} as {field}"), move || {
                    let files = TokenizerFiles::new("test").vocab("vocab.txt", &vocab);
                    Tokenizer::from_files(&files.tokenizer_config("tokenizer_config.json", text.as_bytes()))
                });
            }
        }
    }

    /// Nests the parts of a tokenizer that contain parts of their kind. What is within the limit of JSON may
    /// be accepted, but not be slow.
    #[test]
    fn parts_of_tokenizers() {
        for depth in [20, 40, 60, 10_000] {
            for (part, list, inner) in
                [("normalizer", "normalizers", "Lowercase"), ("pre_tokenizer", "pretokenizers", "Whitespace")]
            {
                let head = format!(r#"{{"type":"Sequence","{list}":["#);
                let nested = format!(r#"{}{{"type":"{inner}"}}{}"#, head.repeat(depth), "]}".repeat(depth));
                let text = format!(
                    r###"{{"version":"1.0","{part}":{nested},"model":{{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"a":4}}}}}}"###
                );
                let what = format!("{depth} {part}s in each other");
                let (refused, _) = limited::run(&what, move || {
                    let files = TokenizerFiles::new("test").tokenizer_json("tokenizer.json", text.as_bytes());
                    Tokenizer::from_files(&files).and_then(|tokenizer| tokenizer.encode("a A")).is_err()
                });
                assert!(refused || depth < 10_000, "{what} are accepted");
            }
        }
    }
}
