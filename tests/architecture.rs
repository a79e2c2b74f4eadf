//! Checks the rules of ARCHITECTURE.md: which part may use which, and which files may contain `unsafe`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A package: its sources, the packages of the workspace that it may use, and its rooms, each with the rooms
/// that it may use. The room `error` is the ground floor of the library and is open to all of its rooms.
struct Package {
    sources: &'static str,
    packages: &'static [&'static str],
    rooms: &'static [(&'static str, &'static [&'static str])],
}

const PACKAGES: [Package; 14] = [
    LIBRARY, KERNELS, TOOLS, BENCH, COMMAND, SERVER, SQL_CORE, SQL, CLUSTER, BINDINGS, PYTHON, C, MOBILE, WEB,
];

const LIBRARY: Package = Package {
    sources: "src",
    packages: &["mobilebert_kernels"],
    rooms: &[
        ("error", &[]),
        ("files", &[]),
        ("graph", &[]),
        ("config", &["files", "graph"]),
        ("text", &["files"]),
        ("quant", &[]),
        ("profile", &[]),
        // The room re-exports the package `mobilebert-kernels` under a shorter name.
        ("kernels", &[]),
        ("format", &["files", "graph"]),
        ("model", &["config", "format", "graph", "head", "quant"]),
        ("head", &["config", "graph", "model"]),
        ("backend", &["format", "graph", "kernels", "profile", "quant", "text"]),
        ("hub", &["files", "source", "text"]),
        ("source", &["files", "format", "hub", "text"]),
        ("engine", &["backend", "config", "format", "graph", "model", "profile", "source", "text"]),
        ("pipeline", &["config", "engine", "files", "graph", "source", "text"]),
    ],
};

const KERNELS: Package = Package { sources: "crates/kernels/src", packages: &[], rooms: &[] };

const TOOLS: Package = Package {
    sources: "crates/tools/src",
    packages: &["mobilebert"],
    rooms: &[
        ("candle", &[]),
        ("backend", &["candle"]),
        ("files", &[]),
        ("outputs", &["files"]),
        ("foreign", &[]),
        ("metrics", &[]),
        ("dataset", &["metrics"]),
        ("task", &["dataset", "metrics"]),
        ("compare", &["metrics", "task"]),
        ("writer", &[]),
        ("vectors", &["writer"]),
        ("convert", &["backend", "foreign", "writer"]),
        ("gate", &["compare", "dataset", "task", "writer"]),
        ("train", &["candle", "dataset", "task", "writer"]),
    ],
};

const BENCH: Package = Package {
    sources: "crates/bench/src",
    packages: &["mobilebert"],
    rooms: &[
        ("batch", &[]),
        ("limits", &[]),
        ("latency", &["batch", "limits"]),
        ("operations", &["batch", "limits"]),
        ("main", &[]),
    ],
};

const COMMAND: Package = Package {
    sources: "crates/cli/src",
    packages: &["mobilebert", "mobilebert_bench", "mobilebert_tools"],
    rooms: &[
        ("args", &[]),
        ("failure", &["args"]),
        ("reader", &["failure"]),
        ("table", &["args", "failure", "input", "reader"]),
        ("ahead", &["failure", "input"]),
        ("input", &["ahead", "args", "failure", "reader", "table"]),
        ("target", &["args", "failure", "reader"]),
        ("output", &["args", "failure", "input", "target"]),
        ("signals", &["failure"]),
        ("batch", &["args", "failure", "input", "output", "signals"]),
        ("command", &["args", "batch", "failure", "input", "output", "reader", "signals", "table", "target"]),
        ("main", &["args", "command", "failure"]),
    ],
};

/// Dialects see no sockets and run no model, and the scheduler sees no HTTP.
const SERVER: Package = Package {
    sources: "crates/serve/src",
    packages: &["mobilebert", "mobilebert_serve"],
    rooms: &[
        ("error", &[]),
        ("trace", &[]),
        ("messages", &[]),
        ("config", &["trace"]),
        ("work", &[]),
        ("access", &[]),
        ("budget", &[]),
        ("schedule", &["work"]),
        ("log", &["config", "schedule"]),
        ("metrics", &["schedule"]),
        ("models", &["config", "schedule", "work"]),
        ("call", &["config", "models", "schedule", "work"]),
        ("dialect", &["call", "config", "messages", "models", "schedule", "work"]),
        ("route", &["call", "config", "dialect"]),
        ("tls", &["config"]),
        ("state", &["access", "budget", "config", "log", "metrics", "models", "schedule", "tls", "trace"]),
        ("connect", &["budget", "config", "handle", "schedule", "state", "tls"]),
        (
            "handle",
            &[
                "access", "budget", "call", "config", "connect", "dialect", "log", "messages", "metrics",
                "models", "route", "schedule", "state", "trace", "work",
            ],
        ),
        ("life", &["config", "connect", "log", "schedule", "state"]),
        ("main", &[]),
    ],
};

/// Arrays in, arrays out; no SQL engine.
const SQL_CORE: Package = Package {
    sources: "crates/sql-core/src",
    packages: &["mobilebert"],
    rooms: &[
        ("error", &["call"]),
        ("counts", &[]),
        ("value", &[]),
        ("call", &["models"]),
        ("models", &["call"]),
        ("texts", &["call"]),
        ("memo", &["texts", "value"]),
        ("array", &["call", "value"]),
        ("evaluate", &["array", "call", "counts", "memo", "models", "texts", "value"]),
    ],
};

/// SQL engines see columns, and the engine only through them.
const SQL: Package = Package {
    sources: "crates/sql/src",
    packages: &["mobilebert_sql", "mobilebert_sql_core"],
    rooms: &[
        ("options", &[]),
        ("function", &["options", "registry"]),
        ("registry", &["function"]),
        ("order", &["function"]),
        ("files", &[]),
        ("copy", &[]),
        ("session", &["copy", "files", "options", "order", "registry"]),
        ("shell", &["session"]),
        ("main", &[]),
    ],
};

const CLUSTER: Package = Package {
    sources: "crates/cluster/src",
    packages: &["mobilebert_sql"],
    rooms: &[
        ("cancel", &[]),
        ("codec", &[]),
        ("engine", &[]),
        ("nodes", &["codec", "engine"]),
        ("main", &["cancel"]),
    ],
};

const BINDINGS: Package = Package {
    sources: "bindings/core/src",
    packages: &["mobilebert", "mobilebert_tools"],
    rooms: &[
        ("failure", &[]),
        ("texts", &["failure"]),
        ("place", &["failure"]),
        ("options", &["failure"]),
        ("find", &["failure"]),
        ("backend", &["failure"]),
        ("list", &["failure", "texts"]),
        ("opening", &["backend", "failure", "options"]),
        ("answer", &["failure", "list", "place", "texts"]),
        ("classify", &["failure", "list", "texts"]),
        ("tag", &["failure", "list", "place", "texts"]),
        ("fill", &["failure", "list", "texts"]),
        ("embed", &["failure", "list", "texts"]),
        ("tools", &["failure", "opening"]),
    ],
};

/// Bindings to languages see what all of them share, and the engine only through it.
const PYTHON: Package = Package {
    sources: "bindings/python/src",
    packages: &["mobilebert_bindings"],
    rooms: &[
        ("errors", &[]),
        ("doc", &[]),
        ("array", &[]),
        ("results", &[]),
        ("arrow", &["input"]),
        ("argument", &["errors", "input"]),
        ("input", &["argument", "arrow", "errors"]),
        ("call", &["errors"]),
        ("model", &["argument", "call", "doc", "errors", "input"]),
        ("task", &["argument", "array", "call", "doc", "errors", "input", "model", "results"]),
        ("tools", &["argument", "call", "errors", "input", "model"]),
    ],
};

const C: Package = Package {
    sources: "bindings/c/src",
    packages: &["mobilebert_bindings"],
    rooms: &[
        ("abi", &["call", "given", "memory", "results"]),
        ("memory", &["abi"]),
        ("results", &["abi"]),
        ("given", &["abi", "memory"]),
        ("call", &["abi", "memory"]),
    ],
};

const MOBILE: Package = Package {
    sources: "bindings/mobile/src",
    packages: &["mobilebert_bindings"],
    rooms: &[
        ("failure", &[]),
        ("descriptor", &[]),
        ("options", &["failure"]),
        ("call", &["failure"]),
        ("source", &["descriptor", "failure"]),
        ("model", &["failure", "options", "source"]),
        ("task", &["call", "failure", "model", "options", "source"]),
    ],
};

const WEB: Package = Package {
    sources: "bindings/web/module",
    packages: &["mobilebert_bindings"],
    rooms: &[
        ("failure", &[]),
        ("files", &["failure"]),
        ("results", &[]),
        ("pipeline", &["failure", "files", "results"]),
    ],
};

/// The items of the ground floor that may be named without their room.
const OF_ALL: [&str; 5] = ["BackendKind", "Error", "ErrorKind", "Result", "TensorProblem"];

/// The files, and the folders with their `/`, that may contain `unsafe`.
const UNSAFE_HOMES: [&str; 9] = [
    EXPORTED_NAMES,
    "bindings/c/src/memory.rs",
    "bindings/mobile/src/descriptor.rs",
    "bindings/python/src/arrow.rs",
    "src/backend/native/arena.rs",
    "src/backend/native/keys_values.rs",
    "src/backend/native/pass.rs",
    "src/format/mmap.rs",
    "crates/kernels/src/",
];

/// The compiler counts an exported name as unsafe. Nothing else that is unsafe stands in this folder.
const EXPORTED_NAMES: &str = "bindings/c/src/abi/";

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

/// Returns the path of each file below the package's sources, with `/`, and its content without documentation
/// and unit tests, which may show and use anything.
fn code(package: &Package) -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join(package.sources);
    let mut files = Vec::new();
    sources(&src, &mut files);
    files.retain(|path| {
        !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests")
    });
    files.sort();
    assert!(!files.is_empty(), "no sources in {}", src.display());
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

/// Returns the names that come first after `crate::`, also inside `use crate::{a, b::{c, d}}`.
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

/// Returns the entries of a list, up to the brace that closes it. The braces of an entry stay in it.
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
    for package in PACKAGES.iter().filter(|package| !package.rooms.is_empty()) {
        for (file, code) in code(package).iter().filter(|(file, _)| file != "lib.rs") {
            let (room, path) = (room(file), format!("{}/{file}", package.sources));
            let Some((_, allowed)) = package.rooms.iter().find(|(name, _)| *name == room) else {
                violations.push(format!("{path}: no rule for `{room}`; add it here and to ARCHITECTURE.md"));
                continue;
            };
            for used in used_rooms(code) {
                if used == room || used == "error" || OF_ALL.contains(&used.as_str()) {
                    continue;
                }
                if !package.rooms.iter().any(|(name, _)| *name == used) {
                    violations
                        .push(format!("{path} uses `crate::{used}`, which hides the room that it is from"));
                } else if !allowed.contains(&used.as_str()) {
                    violations.push(format!("{path} uses `crate::{used}`"));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn packages_use_only_the_packages_below_them() {
    for package in &PACKAGES {
        for (file, code) in code(package) {
            for other in [
                "mobilebert",
                "mobilebert_kernels",
                "mobilebert_tools",
                "mobilebert_bindings",
                "mobilebert_serve",
                "mobilebert_sql",
                "mobilebert_sql_core",
            ] {
                // A module of the same name, such as `config::family::mobilebert`, is declared in the file
                // itself.
                let own = code.contains(&format!("mod {other};"));
                let used = code.match_indices(&format!("{other}::")).any(|(i, _)| {
                    !code[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                let used = used && !own;
                let allowed = package.packages.contains(&other);
                assert!(allowed || !used, "{}/{file} uses `{other}`", package.sources);
            }
        }
    }
}

#[test]
fn unsafe_stays_in_its_homes() {
    for package in &PACKAGES {
        for (file, code) in code(package) {
            let path = format!("{}/{file}", package.sources);
            let at_home = UNSAFE_HOMES
                .iter()
                .any(|home| path == *home || home.ends_with('/') && path.starts_with(home));
            let marks = code.contains("allow(unsafe_code)");
            assert!(at_home || !marks, "{path} allows unsafe code; its homes are {UNSAFE_HOMES:?}");
        }
    }
}

#[test]
fn exported_names_are_all_that_is_unsafe_in_their_folder() {
    let files: Vec<_> = code(&C).into_iter().filter(|(file, _)| file.starts_with("abi/")).collect();
    assert!(files.len() > 10);
    for (file, code) in files {
        let others = code.replace("#[unsafe(no_mangle)]", "").replace("allow(unsafe_code", "");
        assert!(!others.contains("unsafe"), "{EXPORTED_NAMES}: {file} has more than exported names");
    }
}

/// Checks that only the commands print. Libraries return values.
#[test]
fn only_the_command_line_prints() {
    for package in [LIBRARY, KERNELS, TOOLS, SERVER, SQL_CORE, SQL, BINDINGS, PYTHON, C, MOBILE, WEB] {
        for (file, code) in code(&package) {
            for print in ["println!", "eprintln!", "print!", "eprint!", "dbg!"] {
                assert!(!code.contains(print), "{}/{file} has {print}", package.sources);
            }
        }
    }
}
