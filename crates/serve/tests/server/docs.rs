//! The `curl` lines of the documentation print what stands below them.
//!
//! A fenced `text` block below an `sh` block is the answers of its `curl` lines, one a line; `...` stands for
//! any text. Other commands of a block are not run here.

use crate::support::{Server, root};

/// Splits a command into words, as a shell does with single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

/// Does what a `curl` line does, and returns what it prints.
fn curl(server: &Server, line: &str) -> String {
    let mut words = words(line).into_iter().skip(1);
    let (mut path, mut body, mut headers) = (String::new(), None, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-s" => {}
            "--json" => {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
                body = words.next();
            }
            "-H" => {
                let header = words.next().unwrap();
                let (name, value) = header.split_once(": ").unwrap();
                headers.push((name.to_owned(), value.to_owned()));
            }
            url => {
                path = url
                    .trim_start_matches("http://")
                    .split_once('/')
                    .map(|(_, path)| format!("/{path}"))
                    .unwrap()
            }
        }
    }
    let method = if body.is_some() { "POST" } else { "GET" };
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = server.client().send(method, &path, &headers, body.unwrap_or_default().as_bytes()).unwrap();
    answer.text().trim_end().to_owned()
}

fn fits(sample: &str, found: &str) -> bool {
    let mut parts = sample.split("...");
    let Some(mut rest) = parts.next().and_then(|first| found.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Returns the `curl` lines of each block, and what stands below it.
fn blocks(document: &str) -> Vec<(Vec<String>, String)> {
    let mut blocks = Vec::new();
    let mut commands: Option<Vec<String>> = None;
    for (i, part) in document.split("```").enumerate().filter(|(i, _)| i % 2 == 1) {
        let (language, text) = part.split_once('\n').unwrap();
        match (language, commands.take()) {
            ("sh", _) => {
                let text = text.replace("\\\n", " ");
                let lines = text.lines().map(str::trim).filter(|line| line.starts_with("curl "));
                commands = Some(lines.map(str::to_owned).collect());
            }
            ("text", Some(commands)) if !commands.is_empty() => blocks.push((commands, text.to_owned())),
            _ => {}
        }
        assert!(i < 1000);
    }
    blocks
}

#[test]
fn the_curl_lines_print_what_stands_below_them() {
    let models =
        ["qa", "sentiment", "ner", "embed"].map(|name| format!("{name}={}", root(&format!("models/{name}"))));
    let tiny = format!("mlm={}", root("tests/golden/checkpoints/mobilebert-mlm-f32"));
    let server = Server::start(&[models.to_vec(), vec![tiny]].concat(), &[]);
    let mut problems = Vec::new();
    let mut ran = 0;
    for document in ["README.md", "docs/serving.md"] {
        let text = std::fs::read_to_string(root(document)).unwrap();
        for (commands, expected) in blocks(&text) {
            let found: Vec<String> = commands.iter().map(|command| curl(&server, command)).collect();
            let expected: Vec<&str> = expected.lines().collect();
            ran += commands.len();
            let same = expected.len() == found.len() && expected.iter().zip(&found).all(|(e, f)| fits(e, f));
            if !same {
                problems.push(format!("{document}: {commands:#?}\nexpected {expected:#?}\nfound {found:#?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    assert!(ran >= 10, "only {ran} lines were run");
}

/// Each setting is in the documentation, and each that is there exists.
#[test]
fn the_settings_are_documented() {
    let text = std::fs::read_to_string(root("docs/serving.md")).unwrap();
    for name in mobilebert_serve::config::names() {
        assert!(text.contains(&format!("`--{name}")), "--{name} is not in docs/serving.md");
    }
    for part in text.split("`--").skip(1) {
        let name =
            part.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-').next().unwrap();
        let known = mobilebert_serve::config::names().any(|known| known == name);
        // Flags of cargo, and of `mobilebert-eval latency`.
        let other = ["locked", "path", "profile", "features", "url", "qps", "p99-ms", "body", "server-pid"]
            .contains(&name);
        assert!(known || other, "--{name} is no setting");
    }
}

#[test]
fn samples_fit_as_they_say() {
    assert!(fits("a...c", "abc") && fits("abc", "abc") && fits("...", "") && fits("a...b...c", "a1b2c"));
    assert!(!fits("a...c", "ab") && !fits("abc", "abcd") && !fits("a...b...c", "a1c"));
    assert_eq!(words("curl -s 'a b' x''y ''"), ["curl", "-s", "a b", "xy", ""]);
}
