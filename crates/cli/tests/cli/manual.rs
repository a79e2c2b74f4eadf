//! Manual pages.

use std::fs;

use crate::support::{command, finished, run};

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("man1").display().to_string();
    let written = run(&["man", "--output", &place]);
    assert_eq!((written.code, written.stderr.as_str()), (0, ""));
    let help = run(&["--help"]).stdout;
    let commands = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let commands = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|n| *n != "help").collect();
    assert!(names.len() > 15 && names.contains(&"fill-mask"), "{names:?}");
    for name in names {
        let page = fs::read_to_string(format!("{place}/mobilebert-{name}.1")).expect(name);
        assert!(
            page.starts_with(&format!(".TH MOBILEBERT-{} 1 \"\" ", name.to_uppercase())),
            "{}",
            &page[..300]
        );
        assert!(page.contains("MOBILEBERT_THREADS") && page.contains(".SH NOTES"), "{name}");
        assert_eq!(run(&["man", name]).stdout.trim_end(), page.trim_end(), "{name}");
    }
    assert!(fs::exists(format!("{place}/mobilebert-profile-diff.1")).unwrap());
    let all = fs::read_to_string(format!("{place}/mobilebert.1")).unwrap();
    assert!(all.contains("mobilebert\\-answer(1)") && all.contains("Exit codes:"), "{all}");
    assert_eq!(run(&["man"]).stdout.trim_end(), all.trim_end());
    let diff = fs::read_to_string(format!("{place}/mobilebert-profile-diff.1")).unwrap();
    for page in [&["man", "profile", "diff"][..], &["man", "profile-diff"]] {
        assert_eq!(run(page).stdout.trim_end(), diff.trim_end());
    }
    run(&["man", "profile", "juggle"]).failed(2, "no command `profile juggle`; expected one of answer, ");
    run(&["man", "juggle"]).failed(2, "no command `juggle`; expected one of answer, ");
}

/// The variable names a file of results for the commands that read texts.
#[test]
fn the_folder_of_pages_has_no_variable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.csv");
    let page = finished(command(&["man", "answer"]).env("MOBILEBERT_OUTPUT", &file).output().unwrap());
    assert!(page.code == 0 && page.stdout.starts_with(".TH MOBILEBERT-ANSWER"), "{}", page.stderr);
    let page = finished(command(&["man"]).env("MOBILEBERT_OUTPUT", &file).output().unwrap());
    assert!(page.code == 0 && page.stdout.starts_with(".TH MOBILEBERT 1"), "{}", page.stderr);
    assert!(!file.exists());
    assert!(!run(&["man", "--help"]).stdout.contains("MOBILEBERT_OUTPUT"));
}

/// A line of an example that begins with a dot would vanish as an unknown request.
#[test]
fn lines_of_examples_are_not_requests() {
    let page = run(&["man"]).stdout;
    let notes = page.split_once(".SH NOTES\n.nf\n").unwrap().1;
    for line in notes.lines().filter(|line| line.starts_with(['.', '\''])) {
        assert_eq!(line, ".fi");
    }
    assert!(!notes.contains('\''), "quotation marks are escaped");
    let embed = run(&["man", "embed"]).stdout;
    assert!(embed.contains("\n\\&.npy holds the vectors alone"), "{embed}");
}
