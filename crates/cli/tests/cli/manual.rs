//! Manual pages.

use std::fs;

use crate::support::run;

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
    run(&["man", "juggle"]).failed(2, "no command `juggle`; expected one of answer, ");
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
