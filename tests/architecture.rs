//! ARCHITECTURE.md's rules, checked: who may use whom, and where `unsafe` lives.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use; `error`, the ground floor, is open to all.
const MAY_USE: [(&str, &[&str]); 24] = [
    ("error", &[]),
    ("graph", &[]),
    ("config", &["graph"]),
    ("text", &[]),
    ("quant", &[]),
    ("profile", &[]),
    ("kernels", &["graph"]),
    ("format", &["graph"]),
    ("model", &["config", "format", "graph", "head", "quant"]),
    ("head", &["config", "graph", "model"]),
    ("backend", &["format", "graph", "kernels", "profile", "quant", "text"]),
    ("hub", &["source"]),
    ("source", &["format", "hub", "text"]),
    ("engine", &["backend", "config", "format", "graph", "model", "profile", "source", "text"]),
    ("pipeline", &["config", "engine", "source", "text"]),
    ("metrics", &[]),
    ("dataset", &["metrics"]),
    ("task", &["dataset", "engine", "metrics", "pipeline", "text"]),
    (
        "compare",
        &[
            "backend", "config", "engine", "format", "graph", "metrics", "model", "quant", "source", "task",
            "text",
        ],
    ),
    ("convert", &["backend", "config", "engine", "format", "graph", "model", "quant", "source", "text"]),
    (
        "gate",
        &["backend", "compare", "convert", "engine", "format", "graph", "quant", "source", "task", "text"],
    ),
    (
        "train",
        &[
            "backend", "config", "convert", "dataset", "engine", "format", "graph", "kernels", "model",
            "pipeline", "quant", "source", "task", "text",
        ],
    ),
    (
        "cli",
        &[
            "backend", "compare", "config", "convert", "dataset", "engine", "format", "gate", "graph",
            "kernels", "metrics", "model", "pipeline", "profile", "quant", "source", "task", "text", "train",
        ],
    ),
    ("main", &["cli"]),
];

/// What may be named without its room: the ground floor's.
const OF_ALL: [&str; 4] = ["Error", "ErrorKind", "Result", "TensorProblem"];

/// Files, and folders with their `/`.
const UNSAFE_HOMES: [&str; 4] =
    ["backend/native/arena.rs", "backend/native/pass.rs", "format/mmap.rs", "kernels/"];

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Path below `src` with `/`, and content without documentation and unit tests, which may show and use anything.
fn code() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files.retain(|path| {
        !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests")
    });
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        (name, code)
    };
    files.iter().map(read).collect()
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// What is named first after `crate::`, also inside `use crate::{a, b::{c, d}}`.
fn used_rooms(code: &str) -> BTreeSet<String> {
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for (i, path) in code.match_indices("crate::") {
        if code[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[i + path.len()..];
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(entries(list).into_iter().map(|entry| word(entry.trim()))),
            None => drop(rooms.insert(word(rest))),
        }
    }
    rooms.remove("");
    rooms
}

/// The entries of a list, up to the brace that closes it; the braces of an entry stay in it.
fn entries(list: &str) -> Vec<&str> {
    let (mut entries, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                entries.push(&list[start..i]);
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    entries
}

#[test]
fn rooms_are_found_in_nested_lists() {
    let code = "use crate::{a::{b, c::{d, e}}, f,\n    g::h,\n};\nlet x = crate::i::J; mycrate::k();";
    assert_eq!(used_rooms(code).into_iter().collect::<Vec<_>>(), ["a", "f", "g", "i"]);
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let mut violations = Vec::new();
    for (file, code) in code().iter().filter(|(file, _)| file != "lib.rs") {
        let room = room(file);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            violations.push(format!("{file}: no rule for `{room}`; add it here and to ARCHITECTURE.md"));
            continue;
        };
        for used in used_rooms(code) {
            if used == room || used == "error" || OF_ALL.contains(&used.as_str()) {
                continue;
            }
            if !MAY_USE.iter().any(|(name, _)| *name == used) {
                violations.push(format!("{file} uses `crate::{used}`, which hides the room that it is from"));
            } else if !allowed.contains(&used.as_str()) {
                violations.push(format!("{file} uses `crate::{used}`"));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn unsafe_stays_in_its_homes() {
    for (file, code) in code() {
        let at_home =
            UNSAFE_HOMES.iter().any(|home| file == *home || home.ends_with('/') && file.starts_with(home));
        let marks = code.contains("allow(unsafe_code)");
        assert!(at_home || !marks, "{file} allows unsafe code; its homes are {UNSAFE_HOMES:?}");
    }
}

/// Only the command prints; libraries return values.
#[test]
fn only_the_command_line_prints() {
    for (file, code) in code().into_iter().filter(|(file, _)| !file.starts_with("cli/") && file != "main.rs")
    {
        for print in ["println!", "eprintln!", "print!", "eprint!", "dbg!"] {
            assert!(!code.contains(print), "{file} has {print}");
        }
    }
}
