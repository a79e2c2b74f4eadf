//! Checks the HTML report: hostile texts, folders, sums, dates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap()
}

/// Runs a task from another folder, so that all paths are absolute.
fn run(folder: &Path, task: &str, model: &Path, data: &Path, more: &[&str]) -> (String, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert-eval"));
    command.current_dir(folder).env_remove("HOME").env_remove("XDG_CACHE_HOME");
    command.arg(task).arg("--model").arg(model).arg("--data").arg(data);
    let output =
        command.args(["--report", "r.html", "--report", "r.md", "--report", "r.json"]).args(more).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = serde_json::from_str(&fs::read_to_string(folder.join("r.json")).unwrap()).unwrap();
    (fs::read_to_string(folder.join("r.html")).unwrap(), json)
}

fn sum(confusion: &Value) -> (u64, u64) {
    let rows: Vec<Vec<u64>> = serde_json::from_value(confusion["counts"].clone()).unwrap();
    let columns = confusion["predicted"].as_array().unwrap().len();
    assert!(
        rows.iter().all(|row| row.len() == columns)
            && rows.len() == confusion["gold"].as_array().unwrap().len()
    );
    (rows.iter().flatten().sum(), (0..rows.len()).map(|i| rows[i][i]).sum())
}

/// The model of sentiments with other names for its labels.
fn renamed(folder: &Path, labels: [&str; 2]) -> PathBuf {
    let (source, model) = (root().join("models/sentiment"), folder.join("model"));
    fs::create_dir(&model).unwrap();
    for file in ["model.safetensors", "vocab.txt", "tokenizer_config.json"] {
        fs::copy(source.join(file), model.join(file)).unwrap();
    }
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(source.join("config.json")).unwrap()).unwrap();
    config["id2label"] = json!({"0": labels[0], "1": labels[1]});
    config["label2id"] = json!({labels[0]: 0, labels[1]: 1});
    fs::write(model.join("config.json"), config.to_string()).unwrap();
    model
}

#[test]
fn hostile_texts_are_texts() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, good) = ("<img src=x onerror=alert(1)>|'\"", "</style></title><b>good</b>");
    let model = renamed(folder.path(), [bad, good]);
    let data = folder.path().join("d.jsonl");
    let texts = [
        ("<script>alert('text')</script> a joy & a delight", bad),
        ("a joy\u{202e}evil\u{0}\u{7}\u{2066} to watch</bdi></section>", bad),
        ("a joy to watch", good),
        ("dull and pointless", bad),
        (&format!("a joy to watch {}", "x".repeat(3000)), bad),
    ];
    let lines = texts.map(|(text, label)| format!("{}\n", json!({"text": text, "label": label}))).concat();
    fs::write(&data, lines).unwrap();
    let (page, json) = run(folder.path(), "classify", &model, &data, &[]);

    for foreign in
        ["<script", "<img", "<b>good", "onerror=alert(1)>", "http:", "https:", "url(", "\u{0}", "\u{7}"]
    {
        assert!(!page.contains(foreign), "{foreign:?}");
    }
    for element in ["</style>", "<html", "</head>", "</body>"] {
        assert_eq!(page.matches(element).count(), 1, "{element}");
    }
    assert_eq!(page.matches("<bdi>").count(), page.matches("</bdi>").count());
    assert_eq!(page.matches("<section>").count(), page.matches("</section>").count());
    assert!(page.contains("&lt;script&gt;alert(&#39;text&#39;)&lt;/script&gt; a joy &amp; a delight"));
    assert!(page.contains("more characters)"), "a long text is cut");
    let markdown = fs::read_to_string(folder.path().join("r.md")).unwrap();
    assert!(!markdown.contains("<img") && markdown.contains("&lt;img"), "{markdown}");

    let run = &json["runs"][0];
    let (total, right) = sum(&run["confusion"]);
    assert_eq!((total, total - right), (5, run["wrong"]["total"].as_u64().unwrap()));
    assert_eq!(run["wrong"]["listed"].as_array().unwrap().len() as u64, total - right);
    assert!(total - right >= 3, "{run}");
}

#[test]
fn a_report_says_what_and_when_and_names_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("my-data.json");
    fs::copy(root().join("eval/samples/questions.json"), &data).unwrap();
    let model = root().join("models/qa");
    let (page, json) = run(folder.path(), "squad", &model, &data, &["--predictions", "p.json"]);
    assert!(page.contains("<title>Evaluation of qa int8 on squad</title>"));
    assert!(page.contains("<h1>Evaluation of qa int8 on squad</h1>"));
    assert!(page.contains("name=\"viewport\"") && page.contains("prefers-color-scheme: dark"));
    let run = &json["runs"][0];
    let date = run["date"].as_str().unwrap();
    let form: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00 00:00 UTC");
    assert!(page.contains(&date[..10]) && page.contains(date), "{date}");
    let markdown = fs::read_to_string(folder.path().join("r.md")).unwrap();
    assert!(markdown.contains(date) && markdown.contains("my-data.json"));
    assert_eq!((&run["data"], &run["model"]), (&json!("my-data.json"), &json!("qa")));
    for text in [&page, &markdown, &json.to_string()] {
        for path in [folder.path(), &root(), &model] {
            assert!(!text.contains(path.to_str().unwrap()), "{}", path.display());
        }
    }
    assert!(page.contains("The axis of f1 begins at"), "the axis of this score does not begin at 0");

    let answers: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("p.json")).unwrap()).unwrap();
    let listed = run["wrong"]["listed"].as_array().unwrap();
    // exact is 48.33, as README.md says.
    assert_eq!((&run["total"], &run["wrong"]["total"], listed.len()), (&json!(60), &json!(31), 31));
    for wrong in listed {
        let id = wrong["id"].as_str().unwrap();
        let written = answers[id].as_str().unwrap();
        let expected = if written.is_empty() { "no answer" } else { written };
        assert_eq!(wrong["predicted"], expected, "{id}");
        for part in ["question", "context"] {
            assert!(wrong["texts"].as_array().unwrap().iter().any(|text| text["name"] == part), "{wrong}");
        }
    }
    assert!(run["confusion"].is_null());
    assert!(markdown.contains("31 of 60 examples are wrong; an HTML report shows 31 of them."), "{markdown}");
}

#[test]
fn words_and_many_wrong_examples_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let model = root().join("tests/golden/checkpoints/mobilebert-ner-f32");
    let data = folder.path().join("d.conll");
    fs::write(&data, "Ada\tB-PER\nis\tO\nin\tO\nParis\tB-LOC\n\n".repeat(70)).unwrap();
    let (page, json) = run(folder.path(), "ner", &model, &data, &[]);
    let run = &json["runs"][0];
    let (words, right) = sum(&run["confusion"]);
    assert_eq!((words, run["confusion"]["unit"].as_str()), (280, Some("words")));
    assert!(right < words, "this model was not trained");
    assert_eq!((&run["wrong"]["total"], run["wrong"]["listed"].as_array().unwrap().len()), (&json!(70), 50));
    assert!(page.contains("50 of the 70 wrong examples are shown; 70 examples in all"));
    assert!(page.contains("<summary>40 more</summary>") && page.contains("PER Ada · LOC Paris"));
}
