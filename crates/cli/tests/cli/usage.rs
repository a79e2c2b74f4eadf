//! Flags, variables, help and exit codes of all commands.

use crate::support::{QUESTION, command, finished, piped, run, tiny, write};

#[test]
fn people_get_plain_lines() {
    let answer = run(&[&QUESTION[..], &["--context", "It was built by Ada."]].concat());
    assert!(answer.stdout.starts_with("Ada\t0.9"), "{}", answer.stdout);
    assert!(answer.stdout.ends_with("\t16..19\n"), "{}", answer.stdout);
    let labels = piped(&["classify", "-"], "a joy\n\n");
    let lines: Vec<&str> = labels.stdout.lines().collect();
    assert!(lines[0].starts_with("positive\t0.") && lines[0].ends_with("\ta joy"), "{}", lines[0]);
    assert!(lines[1].starts_with("error: stdin, line 2: the text is empty"), "{}", lines[1]);
}

#[test]
fn variables_stand_for_flags_and_flags_win() {
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        finished(command(args).envs(variables.iter().copied()).output().unwrap())
    };
    let json = run(&["classify", "a joy"], &[("MOBILEBERT_JSON", "1"), ("MOBILEBERT_TOP_K", "2")]);
    assert_eq!(json.line()["labels"].as_array().unwrap().len(), 2);
    let plain = run(&["classify", "a joy"], &[("MOBILEBERT_JSON", "0")]);
    assert!(plain.stdout.starts_with("positive\t"));
    let tiny = tiny("bert-f32");
    let variables = [("MOBILEBERT_MODEL", "/nowhere"), ("MOBILEBERT_IDS", "2,3")];
    assert_eq!(run(&["infer", "--model", &tiny, "--hash"], &variables).code, 0);
    run(&["infer", "--hash"], &variables).failed(1, "no model at \"/nowhere\"");
    run(&["classify", "a joy"], &[("MOBILEBERT_KERNELS", "abacus")])
        .failed(2, "MOBILEBERT_KERNELS is `abacus`; expected one that this CPU has: `");
}

#[test]
fn flags_win_over_variables_that_do_not_go_with_them() {
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        finished(command(args).envs(variables.iter().copied()).output().unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.txt", "It was built by Ada.");
    let questions =
        write(folder.path(), "in.jsonl", r#"{"question":"Where?","context":"It stands in Rome."}"#);
    let texts = write(folder.path(), "in.txt", "dull");
    let from_file = [&QUESTION[..], &["--context-file", &context, "--json"]].concat();
    for variable in ["MOBILEBERT_CONTEXT", "MOBILEBERT_INPUT"] {
        assert_eq!(run(&from_file, &[(variable, &questions)]).line()["answer"], "Ada", "{variable}");
    }
    let variables = [("MOBILEBERT_QUESTION", "Who?"), ("MOBILEBERT_CONTEXT_FILE", "/nowhere")];
    assert_eq!(run(&["answer", "--input", &questions, "--json"], &variables).line()["answer"], "Rome");
    let text = run(&["classify", "a joy", "--json"], &[("MOBILEBERT_INPUT", &texts)]);
    assert_eq!(text.line()["label"], "positive");
    // Nothing on the command line decides between two variables.
    run(&QUESTION, &[("MOBILEBERT_CONTEXT", "x"), ("MOBILEBERT_CONTEXT_FILE", "y")])
        .failed(2, "cannot be used with");
}

#[test]
fn every_flag_is_in_the_help() {
    for command in [
        "answer",
        "classify",
        "tag",
        "fill-mask",
        "embed",
        "tokenize",
        "inspect",
        "infer",
        "convert",
        "quantize",
        "sqnr",
    ] {
        let help = run(&[command, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{command}");
        for part in ["Example", "--model <SOURCE>", "MOBILEBERT_THREADS", "Exit codes:"] {
            assert!(help.stdout.contains(part), "{part} in {command}");
        }
    }
    let help = run(&["--help"]);
    assert!(help.stdout.contains("Exit codes:") && help.stdout.contains("Examples:"));
}

/// Examples and tables are set by hand; wrapping them again would leave ragged lines.
#[test]
fn help_fits_a_terminal() {
    let names = "answer classify tag fill-mask embed tokenize inspect infer convert quantize bench profile sqnr kernels";
    for command_ in [""].into_iter().chain(names.split(' ')) {
        let args: Vec<&str> = [command_, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        let help = |columns| finished(command(&args).env("COLUMNS", columns).output().unwrap()).stdout;
        let end = |help: &str| help[help.rfind("\nExample").unwrap()..].to_owned();
        let (narrow, wide) = (help("80"), help("200"));
        assert_eq!(end(&narrow), end(&wide), "{command_}");
        let longest = narrow.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= 80, "{command_}: {longest}");
    }
}

#[test]
fn empty_and_long_texts_are_errors() {
    run(&["classify", ""]).failed(1, "the text is empty");
    run(&[&QUESTION[..], &["--context", " \n"]].concat()).failed(1, "the context is empty");
    piped(&[&QUESTION[..], &["--context", "-"]].concat(), "\0 \n").failed(1, "the context is empty");
    run(&["answer", "--question", " ", "--context", "Ada"]).failed(1, "the question is empty");
    let question = "why ".repeat(100);
    run(&["answer", "--question", &question, "--context", "Ada"]).failed(
        1,
        "the question has 100 tokens; the limit is 64: ask a shorter one or raise --max-question-len",
    );
    run(&["fill-mask", "--model", &tiny("mobilebert-mlm-f32"), "paris"]).failed(1, "has no [MASK]");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    run(&[]).failed(2, "Usage: mobilebert");
    run(&["classify"]).failed(2, "required arguments were not provided");
    run(&["classify", "x", "--labels", "bad"])
        .failed(2, "--labels is bad; expected some of negative, positive");
    run(&["classify", "x", "--top-k", "0"]).failed(2, "--top-k is 0; expected at least 1");
    run(&["classify", "x", "--threads", "0"]).failed(2, "--threads is 0");
    run(&["classify", "x", "--backend", "abacus"]).failed(2, "`abacus`");
    run(&["embed", "x", "--pooling", "median"]).failed(2, "`mean`, `cls`, `max`");
    run(&["answer", "--question", "Who?"]).failed(2, "pass --context, --context-file or --input");
    run(&["answer", "--context", "x"]).failed(2, "pass --question, --questions-file or --input");
    run(&["answer", "--context", "-", "--questions-file", "-"]).failed(2, "cannot be both");
    run(&["infer"]).failed(2, "required arguments");
    run(&["tokenize", "x", "--batch-size", "2"]).failed(2, "unexpected argument '--batch-size'");
    run(&["fill-mask", "x"]).failed(2, "fill-mask has no built-in model; pass --model FOLDER or a hub id");
}

/// A flag that says how to read a file is refused where no file is read. A variable of it is for runs that read
/// one.
#[test]
fn flags_without_the_flag_that_they_need_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.txt", "It was built by Ada.");
    let of_input: [&[&str]; 3] = [&["--format", "csv"], &["--no-header"], &["--delimiter", ";"]];
    let text_column: &[&str] = &["--text-column", "1"];
    for command in ["classify", "tag", "fill-mask", "embed", "tokenize"] {
        for text in ["a joy", "-"] {
            for flag in of_input.into_iter().chain([text_column]) {
                let refused = run(&[&[command, text], flag].concat());
                refused.failed(2, "cannot be used with");
                let tip = format!("{}: it says how to read --input FILE", flag[0]);
                assert!(refused.stderr.contains(&tip), "{}", refused.stderr);
            }
        }
    }
    run(&["classify", "a joy", "--pair-column", "2"]).failed(2, "--pair-column: it says how to read --input");
    for flag in of_input {
        for context in [&["--context", "Ada"][..], &["--context-file", &context]] {
            run(&[&QUESTION[..], context, flag].concat()).failed(2, "how to read --input FILE");
        }
        run(&[&["answer", "--questions-file", "-", "--context", "Ada"], flag].concat())
            .failed(2, "how to read --input FILE");
    }
    run(&["infer", "--model", &tiny("bert-f32"), "-", "--type-ids", "0,0"])
        .failed(2, "--type-ids: it goes with --ids");
    run(&["embed", "x", "--output-format", "npy"]).failed(2, "--output <FILE>");

    let variables =
        [("MOBILEBERT_FORMAT", "csv"), ("MOBILEBERT_NO_HEADER", "1"), ("MOBILEBERT_TEXT_COLUMN", "2")];
    let plain = finished(command(&["classify", "a joy", "--json"]).envs(variables).output().unwrap());
    assert_eq!(plain.line()["label"], "positive");
}

/// A wrong output is refused before the model, which may take long, is loaded.
#[test]
fn outputs_are_checked_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (wrong, npy) = (place("x.wrong"), place("x.npy"));
    let answer = [&QUESTION[..], &["--context", "Ada"]].concat();
    let commands: [&[&str]; 6] = [
        &answer,
        &["classify", "x"],
        &["tag", "x"],
        &["fill-mask", "x"],
        &["embed", "x"],
        &["tokenize", "x"],
    ];
    for command in commands {
        let run = |more: &[&str]| run(&[command, &["--model", "/nowhere"], more].concat());
        run(&["--output", &wrong]).failed(2, "this command writes .jsonl");
        run(&["--output", &place("x.jsonl")]).failed(1, "no model at \"/nowhere\"");
        if command[0] != "embed" {
            run(&["--output", &npy]).failed(2, "this command writes .jsonl");
            run(&["--output", &place("x.jsonl"), "--output-format", "npy"])
                .failed(2, "this command writes .jsonl");
        }
    }
    if !cfg!(feature = "parquet") {
        run(&["embed", "x", "--model", "/nowhere", "--output", &place("x.parquet")])
            .failed(1, "writing Parquet files is not part of this build");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A variable is set for many commands, so one that this command has no use for is no mistake.
#[test]
fn variables_without_a_use_are_no_mistakes() {
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        finished(command(args).envs(variables.iter().copied()).output().unwrap())
    };
    let answer = [&QUESTION[..], &["--context", "It was built by Ada.", "--json"]].concat();
    for (name, value) in [
        ("MOBILEBERT_OUTPUT_FORMAT", "jsonl"),
        ("MOBILEBERT_NULL_THRESHOLD", "1"),
        ("MOBILEBERT_THREADS", ""),
        ("MOBILEBERT_MODEL", ""),
    ] {
        assert_eq!(run(&answer, &[(name, value)]).line()["answer"], "Ada", "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("int8").display().to_string();
    let quantize = ["quantize", &tiny("bert-f32"), &to, "--force"];
    assert_eq!(run(&quantize, &[("MOBILEBERT_TASK", "sst2")]).code, 0);
    // Together they ask for a gate, and on the command line a flag alone is a mistake.
    let both = [("MOBILEBERT_TASK", "sst2"), ("MOBILEBERT_DATA", "/nowhere.tsv")];
    run(&quantize, &both).failed(1, "/nowhere.tsv");
    run(&[&quantize[..], &["--task", "sst2"]].concat(), &[]).failed(2, "--data <FILE>");
}

#[test]
fn flags_without_an_effect_are_refused() {
    for args in [
        &["quantize", "--model", "qa", "sentiment", "x"][..],
        &["compare", "--model", "qa", "qa", "qa", "--task", "sst2", "--data", "x"],
        &["--model", "qa", "convert", "a", "b"],
        &["kernels", "--model", "qa"],
    ] {
        run(args).failed(2, "--model has no effect on `");
    }
    run(&["tokenize", "x", "--precision", "f32"]).failed(2, "--precision has no effect on `tokenize`");
    let kernels = finished(command(&["kernels"]).env("MOBILEBERT_MODEL", "qa").output().unwrap());
    assert_eq!(kernels.code, 0);
    let kernels = finished(command(&["kernels"]).env("MOBILEBERT_KERNELS", "abacus").output().unwrap());
    kernels.failed(2, "MOBILEBERT_KERNELS is `abacus`; expected one that this CPU has: `");
}

/// What begins with a hyphen may be a text behind `--`, but not where that would change which is which.
#[test]
fn models_that_begin_with_a_hyphen_keep_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out").display().to_string();
    for command in ["quantize", "convert"] {
        run(&[command, "-my model", &to]).failed(2, "unexpected argument '-m'");
        run(&[command, "--", "-my model", &to]).failed(1, "no model at \"-my model\"");
    }
    run(&["compare", "-a x", "qa", "--task", "sst2", "--data", "x"]).failed(2, "unexpected argument '-a'");
}

#[test]
fn help_shows_escapes_as_they_are_written() {
    let help = run(&["--help"]).stdout;
    assert!(help.contains("in a text as \\n,\n\\t and the like"), "{help}");
    assert!(!help.contains('\t') && !help.lines().any(|line| line.starts_with(',')));
}

/// The model would be gone, or would answer otherwise.
#[test]
fn results_do_not_overwrite_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints/bert-f32");
    for entry in std::fs::read_dir(source).unwrap().flatten() {
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let weights = std::fs::read(model.join("model.safetensors")).unwrap();
    let (named, new) = (model.display().to_string(), model.join("new.jsonl").display().to_string());
    let file = model.join("model.safetensors").display().to_string();
    let args = ["classify", "good film", "--model", &named, "--output-format", "jsonl", "--output"];
    for output in [&file, &new] {
        run(&[&args[..], &[output]].concat()).failed(2, "would be part of the model");
    }
    run(&["profile", "--model", &named, "--save", &file]).failed(2, "would be part of the model");
    assert_eq!(std::fs::read(model.join("model.safetensors")).unwrap(), weights);
    let one = folder.path().join("t.json").display().to_string();
    run(&["profile", "--model", &named, "--save", &one, "--trace", &one]).failed(2, "given for two outputs");
    run(&["profile", "--model", &named, "--save", "/nowhere/p.json"]).failed(1, "/nowhere/p.json");
}
