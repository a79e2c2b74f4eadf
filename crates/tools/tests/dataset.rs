//! Tests which data files are read, and how each kind of damage is reported.

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::{Error, ErrorKind, TagScheme};
use mobilebert_tools::dataset::{GlueTask, Gold, Squad, TableOptions, Tagged};
use mobilebert_tools::metrics::squad::Version;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// Returns the text of the error without the folder.
fn message<T>(result: Result<T, Error>, path: &Path) -> String {
    let Err(error) = result else { panic!("{} was read", path.display()) };
    assert!(matches!(error.kind(), ErrorKind::Input { .. }), "{error:?}");
    error.to_string().replace(&format!("{}/", path.parent().unwrap().display()), "")
}

const V1: &str = r#"{"version": "1.1", "data": [{"title": "T", "paragraphs": [
 {"context": "Zoë built it.", "qas": [
  {"id": "a", "question": "Who?", "answers": [{"text": "Zoë", "answer_start": 0}, {"text": "built", "answer_start": 4}]},
  {"id": "b", "question": "What?", "answers": [{"text": "it.", "answer_start": 10}]}
 ]}
]}]}"#;

#[test]
fn squad_of_both_versions() {
    let folder = Folder::new();
    let data = Squad::read(&folder.file("one.json", V1)).unwrap();
    assert_eq!((data.version, data.questions.len(), data.contexts.len()), (Version::V1, 2, 1));
    assert_eq!(data.questions[0].references(), ["Zoë", "built"]);
    let two = V1.replace(r#""id": "b""#, r#""is_impossible": true, "id": "b""#);
    let two = two.replace(r#"{"text": "it.", "answer_start": 10}"#, "");
    let with_mark = format!("\u{feff}{}", two.replace('\n', "\r\n"));
    let data = Squad::read(&folder.file("two.json", with_mark)).unwrap();
    assert_eq!((data.version, data.questions[1].answers.len()), (Version::V2, 0));
}

#[test]
fn damaged_squad_files_name_line_and_reason() {
    let folder = Folder::new();
    for (from, to, expected) in [
        (r#""id": "b""#, r#""id": "a""#, "d.json, line 4: question `a`: the id occurs a second time"),
        (r#""id": "b", "#, "", ": missing field `id`"),
        (r#""question": "What?", "#, "", ": missing field `question`"),
        (r#""What?""#, r#"" ""#, "d.json, line 4: question `b`: the question or its context is empty"),
        ("10", "9", "answer `it.` is not at character 9 of the context; the first one is at 10"),
        ("10", "900", "answer `it.` is not at character 900 of the context; the first one is at 10"),
        (
            r#""it.""#,
            r#""them""#,
            "answer `them` is not at character 10 of the context; the context does not hold it",
        ),
        (r#"{"text": "it.", "answer_start": 10}"#, "", "d.json, line 4: question `b`: has no answers"),
        (r#""qas""#, r#""questions""#, "missing field `qas`"),
        (r#""What?","#, r#""What?""#, "d.json, line 4: column"),
        ("]}]}", "", "d.json, line 6: column"),
    ] {
        let path = folder.file("d.json", V1.replace(from, to));
        let found = message(Squad::read(&path), &path);
        assert!(found.contains(expected), "{from} -> {to}:\n{found}\n{expected}");
    }
    for (content, expected) in [
        ("", "d.json, line 1: the file is empty"),
        ("\u{feff}\r\n", "d.json, line 1: the file is empty"),
        (r#"{"data": []}"#, "d.json, line 1: there are no questions in it"),
    ] {
        let path = folder.file("d.json", content);
        assert_eq!(message(Squad::read(&path), &path), expected);
    }
    let path = folder.file("d.json", b"{\n\"data\": \"\xff\"}");
    assert_eq!(message(Squad::read(&path), &path), "d.json, line 2: expected UTF-8; found byte 0xff");
    let absent = folder.0.path().join("absent.json");
    assert!(matches!(Squad::read(&absent).unwrap_err().kind(), ErrorKind::Io { .. }));
}

#[test]
fn glue_in_its_official_forms() {
    let folder = Folder::new();
    let read = |task: GlueTask, text: &str| task.read(&folder.file("d.tsv", text)).unwrap();
    let class = |class| Some(Gold::Class(class));

    let data =
        read(GlueTask::Sst2, "\u{feff}sentence\tlabel\r\n\"quoted\tok\r\n".replace("ok", "1").as_str());
    assert_eq!((data.examples[0].text.as_str(), data.examples[0].gold), ("\"quoted", class(1)));

    let data = read(GlueTask::Mrpc, "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tone\ttwo\n");
    assert_eq!((data.examples[0].pair.as_deref(), data.examples[0].gold), (Some("two"), class(1)));

    let data =
        read(GlueTask::Qqp, "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta?\tb?\t0\n");
    assert_eq!((data.examples[0].text.as_str(), data.examples[0].gold), ("a?", class(0)));

    let data = read(GlueTask::Qnli, "index\tquestion\tsentence\tlabel\n0\tq\ts\tnot_entailment\n");
    assert_eq!((data.examples[0].pair.as_deref(), data.examples[0].gold), (Some("s"), class(1)));

    let data = read(GlueTask::Cola, "gj04\t1\t\tA sentence.\ngj04\t0\t*\tNot one.\n");
    assert_eq!((data.examples[0].text.as_str(), data.examples[1].gold), ("A sentence.", class(0)));
    assert_eq!(read(GlueTask::Cola, "sentence\tlabel\nYes.\t1\n").examples[0].line, 2);

    let data = read(GlueTask::StsB, "index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.800\n");
    assert_eq!((data.examples[0].gold, data.classes.len()), (Some(Gold::Value(3.8)), 0));

    let data = read(
        GlueTask::Mnli,
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\tcontradiction\n",
    );
    assert_eq!(data.examples[0].gold, class(2));

    let data = read(GlueTask::Rte, "index\tsentence1\tsentence2\n0\ta\tb\n");
    assert_eq!((data.examples[0].gold, data.gold_classes()), (None, None));
    assert_eq!(read(GlueTask::Sst2, "sentence\tlabel\nhidden\t-1\n").examples[0].gold, None);
}

#[test]
fn damaged_glue_files_name_line_and_reason() {
    let folder = Folder::new();
    for (task, text, expected) in [
        (GlueTask::Sst2, "", "d.tsv, line 1: the file is empty"),
        (GlueTask::Sst2, "sentence\tlabel\n", "d.tsv, line 1: there are no rows below the header"),
        (GlueTask::Sst2, "text\tlabel\na\t1\n", "d.tsv, line 1: no column `sentence`; it has text, label"),
        (
            GlueTask::Sst2,
            "sentence\tlabel\na\t1\nb\n",
            "d.tsv, line 3: has 1 columns; expected 2, as in the first line",
        ),
        (
            GlueTask::Sst2,
            "sentence\tlabel\na\tgood\n",
            "d.tsv, line 2: label `good`; expected `0`, `negative`, `1`, `positive`",
        ),
        (GlueTask::Sst2, "sentence\tlabel\n\n \t1\n", "d.tsv, line 3: `sentence` is empty"),
        (
            GlueTask::StsB,
            "sentence1\tsentence2\tscore\na\tb\t7\n",
            "d.tsv, line 2: label `7`; expected a number from 0 to 5",
        ),
        (
            GlueTask::StsB,
            "sentence1\tsentence2\tscore\na\tb\tNaN\n",
            "d.tsv, line 2: label `NaN`; expected a number from 0 to 5",
        ),
        (
            GlueTask::Rte,
            "index\tsentence1\tsentence2\tlabel\n4\ta\tb\tentailment\n4\tc\td\tentailment\n",
            "d.tsv, line 3: index 4 occurs a second time; the first is in line 2",
        ),
    ] {
        let path = folder.file("d.tsv", text);
        assert_eq!(message(task.read(&path), &path), expected);
    }
}

#[test]
fn tables_by_extension() {
    let folder = Folder::new();
    let csv = folder.file("d.csv", "id,body,kind\n1,\"two\nlines\",b\n2,\"say \"\"hi\"\"\",a\n");
    let options = TableOptions::new().text("body").label("kind");
    let data = options.read(&csv).unwrap();
    assert_eq!(
        (data.examples[0].text.as_str(), data.examples[1].text.as_str()),
        ("two\nlines", "say \"hi\"")
    );
    assert_eq!((data.examples[1].line, data.classes.concat().join(" ")), (4, "a b".to_owned()));
    assert_eq!(data.gold_classes(), Some(vec![1, 0]));

    let lines = folder.file(
        "d.jsonl",
        "{\"text\": \"x\", \"label\": 2}\n\n{\"label\": \"1\", \"text\": \"y\", \"more\": null}\n",
    );
    let data = TableOptions::new().read(&lines).unwrap();
    assert_eq!((data.classes.concat().join(" "), data.examples[1].line), ("1 2".to_owned(), 3));

    for (name, text, expected) in [
        (
            "d.jsonl",
            "{\"text\": \"x\", \"label\": 1}\n{\"text\": \"y\"}\n",
            "d.jsonl, line 2: no field `label`",
        ),
        (
            "d.jsonl",
            "{\"text\": \"x\", \"label\": 1}\n{\"text\": \n",
            "d.jsonl, line 2: expected a JSON object",
        ),
        (
            "d.jsonl",
            "{\"text\": \"good\", \"text\": \"bad\", \"label\": 1}\n",
            "d.jsonl, line 1: expected a JSON object: the key \"text\" is there twice",
        ),
        ("d.csv", "text,label\na,b,c\n", "d.csv, line 2: has 3 columns; expected 2, as in the first line"),
        ("d.csv", "text,kind\na,b\n", "d.csv, line 1: no column `label`; it has text, kind"),
    ] {
        let path = folder.file(name, text);
        let found = message(TableOptions::new().read(&path), &path);
        assert!(found.starts_with(expected), "{found}");
    }
    let path = folder.file("d.xls", "x");
    assert_eq!(
        message(TableOptions::new().read(&path), &path),
        "d.xls: expected the extension .tsv, .csv or .jsonl"
    );
}

#[test]
fn conll_files() {
    let folder = Folder::new();
    let text = "-DOCSTART- -X- O\r\n\r\nAda NNP B-NP B-PER\r\nis VBZ B-VP O\r\n\r\n\r\nParis\tB-LOC\r\n";
    let data = Tagged::read(&folder.file("d.conll", text)).unwrap();
    assert_eq!(data.sentences.len(), 2);
    assert_eq!(
        (data.sentences[0].words.join(" "), data.sentences[0].tags.join(" ")),
        ("Ada is".into(), "B-PER O".into())
    );
    assert_eq!((data.sentences[1].line, data.sentences[1].words[0].as_str()), (7, "Paris"));
    for (tags, scheme) in [
        ("B-A I-A O", TagScheme::Bio),
        ("B-A I-A E-A S-B O", TagScheme::Bioes),
        ("B-A I-A L-A U-B O", TagScheme::Bilou),
        ("B-A E-A S-B O", TagScheme::Bio),
    ] {
        let text: String = tags.split(' ').map(|tag| format!("w\t{tag}\n")).collect();
        assert_eq!(Tagged::read(&folder.file("d.conll", &text)).unwrap().scheme, scheme, "{tags}");
    }
    for (text, expected) in [
        ("Ada\n", "d.conll, line 1: `Ada` has one column; expected a word and its tag"),
        (
            "Ada\tPER\n",
            "d.conll, line 1: tag `PER`; expected `O` or a type behind `B-`, `I-`, `E-`, `S-`, `L-` or `U-`",
        ),
        ("Ada\tO\n\tO\n", "d.conll, line 2: the word is empty"),
        (
            "Ada\tB-PER\nLi\tL-PER\n\nBo\tS-PER\n",
            "d.conll, line 4: tag `S-PER`, but line 2 has a tag with one of `L-`, `U-`; expected one scheme: BIOES has \
             `E-` and `S-`, BILOU has `L-` and `U-`",
        ),
        ("\n\n", "d.conll, line 1: the file is empty"),
        ("-DOCSTART- O\n", "d.conll, line 1: there are no words"),
    ] {
        let path = folder.file("d.conll", text);
        assert_eq!(message(Tagged::read(&path), &path), expected);
    }
}

#[test]
fn tables_that_a_lenient_reader_would_misread() {
    let folder = Folder::new();
    let utf16: Vec<u8> = "text,label\na,b\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let read = |content: &[u8]| {
        let path = folder.file("d.csv", content);
        message(TableOptions::new().read(&path), &path)
    };
    for (content, expected) in [
        (
            &b"text,label\na,b\n\"c,d\ne,f\n"[..],
            "d.csv, line 3: the quotation mark that opens here is never closed",
        ),
        (
            b"text,label\n\"a,b\n\"c\",d\n",
            "d.csv, line 2: the quotation mark that opens here is closed in line 3",
        ),
        (b"text;label\na;b\n", "no column `text`; it has text;label; it seems to be cut at `;`"),
        (&utf16, "d.csv, line 1: the text is UTF-16 (little-endian); expected UTF-8"),
    ] {
        let found = read(content);
        assert!(found.contains(expected), "{found}");
    }
    for (name, content) in
        [("d.csv", "text,label,label\na,b,c\n"), ("d.tsv", "label\ttext\tlabel\nb\ta\tc\n")]
    {
        let path = folder.file(name, content);
        let found = message(TableOptions::new().read(&path), &path);
        assert!(found.contains("line 1: there are two columns `label`"), "{found}");
    }
    let path = folder.file("two.csv", "text,label,note,note\na,b,c,d\n");
    assert_eq!(TableOptions::new().read(&path).unwrap().examples.len(), 1, "notes are not read");
    let path = folder.file("t.csv", " text , label\na,b\n");
    assert_eq!(TableOptions::new().read(&path).unwrap().examples[0].text, "a", "headers are trimmed");
}
