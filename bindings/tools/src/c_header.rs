//! Writes `bindings/c/include/mobilebert.h` from the sources of the C library, or checks that it is what they
//! say.
//!
//! `cargo run -p mobilebert-binding-tools --features c --bin c-header [-- --check]`

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use cbindgen::{Builder, Config, DocumentationStyle, EnumConfig, Language, Style};

const HEADER: &str = "include/mobilebert.h";

const FIRST_LINES: &str = "\
/*
 * The C interface of mobilebert: questions answered, texts classified, tagged and embedded, words for masks.
 *
 * In short, without a look at \"error\" behind each call that may return NULL (examples/c/answer.c has it):
 *
 *     MobilebertError *error = NULL;
 *     MobilebertModel *model = mobilebert_open(\"models/qa\", NULL, &error);
 *     MobilebertAnswers *answers = mobilebert_answer(model, mobilebert_text(\"Who built it?\"),
 *                                                    mobilebert_text(\"It was built by Ada.\"), NULL, &error);
 *     printf(\"%s\\n\", mobilebert_answers_at(answers, 0, 0)->text.data);
 *     mobilebert_answers_free(answers);
 *     mobilebert_model_free(model);
 *
 * Memory: what a function returns as a pointer that is not `const`, the caller frees with the function whose
 * name ends with _free. What it returns as a pointer to `const` belongs to the object that it was asked of and
 * lives as long as that. The library keeps no pointer to a caller's memory behind the end of a call; the one
 * exception says so (mobilebert_files_add_static).
 *
 * NULL: an argument may be NULL if its description says so.
 *
 * Errors: functions that can fail have a last parameter `error`; see MobilebertError. Nothing is written to
 * errno. A fault of the library is the error \"panic\" and not the end of the program; the library's runtime
 * writes its place to the standard error stream.
 *
 * Threads: any number of threads may call all functions at the same time, also with the same objects. Only a
 * function whose name ends with _free needs to be alone with its object, and an error, a result or a set of
 * files may move from thread to thread. What models share is one pool of threads, which starts with the first
 * model that has no `threads` of its own, and environment variables, which are read when a model is opened or a
 * pool starts. A forked child may use models that its parent opened.
 *
 * This file is written by a program from the sources of the library. Do not edit it.
 */";

/// Headings of groups of functions, each with its first function.
const GROUPS: [(&str, &str); 11] = [
    ("Versions", "mobilebert_abi_version"),
    ("Errors", "mobilebert_error_code"),
    ("Offsets, and texts in UTF-16", "mobilebert_convert_offsets"),
    ("Cancellation", "mobilebert_cancel_new"),
    ("Models", "mobilebert_open"),
    ("Models that are not in a folder", "mobilebert_files_new"),
    ("Question answering", "mobilebert_answer"),
    ("Text classification", "mobilebert_classify"),
    ("Token classification", "mobilebert_tag"),
    ("Words for masks", "mobilebert_fill"),
    ("Embeddings and token states", "mobilebert_embed"),
];

/// The structs of options, each with the function that makes its defaults.
const OPTIONS: [(&str, &str); 6] = [
    ("MobilebertOpenOptions", "mobilebert_open_options"),
    ("MobilebertAnswerOptions", "mobilebert_answer_options"),
    ("MobilebertClassifyOptions", "mobilebert_classify_options"),
    ("MobilebertTagOptions", "mobilebert_tag_options"),
    ("MobilebertFillOptions", "mobilebert_fill_options"),
    ("MobilebertEmbedOptions", "mobilebert_embed_options"),
];

fn main() -> ExitCode {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../c");
    let path = library.join(HEADER);
    let new = match header(&library) {
        Ok(header) => header,
        Err(problem) => {
            eprintln!("{}: {problem}", library.display());
            return ExitCode::FAILURE;
        }
    };
    if env::args().nth(1).as_deref() != Some("--check") {
        return match fs::write(&path, new) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("{}: {problem}", path.display());
                ExitCode::FAILURE
            }
        };
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    if old == new {
        return ExitCode::SUCCESS;
    }
    let line = old.lines().zip(new.lines()).take_while(|(old, new)| old == new).count();
    eprintln!(
        "{} is not what the sources say, from line {} on; write it with\n\
         cargo run -p mobilebert-binding-tools --features c --bin c-header",
        path.display(),
        line + 1
    );
    ExitCode::FAILURE
}

fn header(library: &Path) -> Result<String, String> {
    let config = Config {
        language: Language::C,
        cpp_compat: true,
        header: Some(FIRST_LINES.to_owned()),
        include_guard: Some("MOBILEBERT_H".to_owned()),
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h", "string.h"].map(str::to_owned).to_vec(),
        style: Style::Type,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::C,
        line_length: 110,
        enumeration: EnumConfig::default(),
        ..Config::default()
    };
    let mut builder = Builder::new().with_config(config);
    for name in modules(library)? {
        builder = builder.with_src(library.join(format!("src/abi/{name}.rs")));
    }
    let mut largest = String::new();
    for name in modules(library)? {
        let path = library.join(format!("src/abi/{name}.rs"));
        largest += &largest_numbers(&fs::read_to_string(path).map_err(|error| error.to_string())?);
    }
    let mut written = Vec::new();
    builder.generate().map_err(|error| error.to_string())?.write(&mut written);
    let written = String::from_utf8(written).map_err(|error| error.to_string())?;
    let constant = "\n#define MOBILEBERT_ABI_VERSION";
    let at = written.find(constant).ok_or("there is no version of the interface")? + 1;
    let end = written[at..].find('\n').map_or(written.len(), |length| at + length + 1);
    finished(&format!("{}{largest}{}", &written[..end], &written[end..]))
}

/// Returns the constants that are the largest `size_t`, which the generator leaves out.
fn largest_numbers(source: &str) -> String {
    let (mut found, mut comment) = (String::new(), String::new());
    for line in source.lines() {
        let constant =
            line.strip_prefix("pub const ").and_then(|rest| rest.strip_suffix(": usize = usize::MAX;"));
        if let Some(name) = constant {
            found += &format!("\n/*\n{comment}*/\n#define {name} SIZE_MAX\n");
        }
        match line.strip_prefix("///") {
            Some(text) => comment += &format!("{text}\n"),
            None => comment.clear(),
        }
    }
    found
}

/// Returns the modules of the interface in the order of `abi/mod.rs`.
fn modules(library: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(library.join("src/abi/mod.rs")).map_err(|error| error.to_string())?;
    let name = |line: &str| Some(line.strip_prefix("pub(crate) mod ")?.trim_end_matches(';').to_owned());
    Ok(text.lines().filter_map(name).collect())
}

/// Adds the headings, and the functions that are code of the header itself.
fn finished(written: &str) -> Result<String, String> {
    let mut lines = readable(written);
    for (heading, function) in GROUPS {
        let name = format!("{function}(");
        let is_first = |line: &String| !line.starts_with(" *") && line.contains(&name);
        let at = lines.iter().position(is_first).ok_or_else(|| format!("there is no function {function}"))?;
        // The comment of a function stands right in front of it.
        let start = lines[..at].iter().rposition(String::is_empty).map_or(at, |blank| blank + 1);
        let rule = "-".repeat(101_usize.saturating_sub(heading.len()));
        lines.splice(start..start, [format!("/* ---- {heading} {rule} */"), String::new()]);
    }
    let first = lines.iter().position(|line| line.starts_with("/* ---- ")).unwrap_or(lines.len());
    let inline = inline_functions() + "#ifdef __cplusplus\nextern \"C\" {\n#endif /* __cplusplus */\n";
    // The prototypes begin with a block for C++, which the functions of the header stand in front of.
    let opening = lines[..first].iter().rposition(|line| line.starts_with("#ifdef __cplusplus"));
    let opening = opening.ok_or("there is no block for C++")?;
    lines.splice(opening..first, inline.lines().map(str::to_owned).chain([String::new()]));
    Ok(lines.join("\n") + "\n")
}

/// Writes comments as people do in C, and names what has a name of its own in Rust only.
fn readable(written: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut comment: Option<Vec<&str>> = None;
    for line in written.lines().map(str::trim_end) {
        let indent = " ".repeat(line.len() - line.trim_start().len());
        match (&mut comment, line.trim_start()) {
            (None, "/*") if !lines.is_empty() => comment = Some(Vec::new()),
            (None, code) => {
                if let Some(name) = code.strip_prefix("} Mobilebert") {
                    let opening = lines.iter_mut().rev().find(|line| *line == "typedef struct {");
                    if let Some(opening) = opening {
                        *opening = format!("typedef struct Mobilebert{} {{", name.trim_end_matches(';'));
                    }
                }
                let line = line.replace("ErrorOut error", "MobilebertError **error");
                lines.push(match line.split_once("// ") {
                    Some((code, comment)) => format!("{}/* {comment} */", code.replace("  ", " ")),
                    None => line,
                });
            }
            (Some(inside), "*/") => {
                let indent = indent.strip_suffix(' ').unwrap_or_default();
                match inside[..] {
                    [alone] => lines.push(format!("{indent}/* {alone} */")),
                    _ => {
                        lines.push(format!("{indent}/*"));
                        lines.extend(
                            inside.iter().map(|text| format!("{indent} * {text}").trim_end().to_owned()),
                        );
                        lines.push(format!("{indent} */"));
                    }
                }
                comment = None;
            }
            (Some(inside), text) => inside.push(text),
        }
    }
    // Where something was left out, several lines are blank.
    lines.dedup_by(|next, line| next.is_empty() && line.is_empty());
    lines
}

fn inline_functions() -> String {
    let mut all = "\
/* Makes a text of a string that ends with NUL. NULL becomes an empty text. */
static inline MobilebertText mobilebert_text(const char *string) {
  MobilebertText text;
  text.data = string;
  text.size = string == NULL ? 0 : strlen(string);
  return text;
}
"
    .to_owned();
    for (name, function) in OPTIONS {
        all += &format!(
            "
/* Makes default options. */
static inline {name} {function}(void) {{
  {name} options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}}
"
        );
    }
    all + "\n"
}
