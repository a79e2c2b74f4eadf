//! `mobilebert man`

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap_mangen::Man;

use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output::Output;

/// The name of the program, with which the names of all pages begin.
const NAME: &str = "mobilebert";
/// The text at the foot of each page.
const MANUAL: &str = "mobilebert manual";

pub(super) fn run(args: &args::Man, global: &Global) -> Result<(), Failure> {
    let pages = pages();
    if let Some(folder) = &args.output {
        return write(&pages, folder, global);
    }
    let words: Vec<&str> = [NAME].into_iter().chain(args.page.iter().map(String::as_str)).collect();
    let wanted = words.join("-");
    let Some(page) = pages.iter().find(|page| page.name == wanted) else {
        let names = pages.iter().filter_map(|page| page.name.strip_prefix(NAME)?.strip_prefix('-'));
        let names = names.collect::<Vec<_>>().join(", ");
        let found = args.page.join(" ");
        return Err(Failure::Usage(format!("no command `{found}`; expected one of {names}")));
    };
    let mut output = Output::stdout(&Global { json: false, ..global.clone() });
    output.line(format_args!("{}", page.text.trim_end()))?;
    output.flush()
}

/// A page of the manual.
struct Page {
    /// The name without its section, such as `mobilebert-answer`.
    name: String,
    text: String,
}

fn pages() -> Vec<Page> {
    let mut command = args::documented().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, NAME, &mut pages);
    pages
}

/// Adds the page of a command and those of its subcommands.
fn collect(command: &clap::Command, name: &str, pages: &mut Vec<Page>) {
    // Names in pages are those of the files, `mobilebert-answer`; the program is called `mobilebert answer`.
    let page = command.clone().name(name.to_owned()).display_name(name.to_owned());
    let mut bytes = Vec::new();
    // Writing into memory does not fail.
    let _ = render(page, &mut bytes);
    pages.push(Page { name: name.to_owned(), text: String::from_utf8_lossy(&bytes).into_owned() });
    for subcommand in command.get_subcommands() {
        collect(subcommand, &format!("{name}-{}", subcommand.get_name()), pages);
    }
}

/// Renders a page. Examples and tables are set by hand, so their lines stay as they are.
fn render(command: clap::Command, to: &mut Vec<u8>) -> io::Result<()> {
    let after = command.get_after_help().map(ToString::to_string);
    let name = command.get_name().to_owned();
    let has_subcommands = command.has_subcommands();
    let man = Man::new(command);
    // The title of the crate leaves the place of the date empty, so that the next field is taken for it.
    writeln!(
        to,
        ".TH {} 1 \"\" \"mobilebert {}\" \"{MANUAL}\"",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    )?;
    man.render_name_section(to)?;
    man.render_synopsis_section(to)?;
    man.render_description_section(to)?;
    man.render_options_section(to)?;
    if has_subcommands {
        man.render_subcommands_section(to)?;
    }
    let Some(after) = after else { return Ok(()) };
    writeln!(to, ".SH NOTES\n.nf")?;
    for line in after.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
        // A dot at the beginning of a line would be a request.
        let guard = if line.starts_with('.') { "\\&" } else { "" };
        writeln!(to, "{guard}{line}")?;
    }
    writeln!(to, ".fi")
}

fn write(pages: &[Page], folder: &Path, global: &Global) -> Result<(), Failure> {
    let failed = |path: &Path, source| Failure::Output { place: path.display().to_string(), source };
    if folder.exists() && !folder.is_dir() {
        return Err(Failure::Usage(format!("--output {} is no folder", folder.display())));
    }
    fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    let mut output = Output::stdout(&Global { json: false, ..global.clone() });
    for Page { name, text } in pages {
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, text).map_err(|e| failed(&path, e))?;
        output.line(format_args!("{}", path.display()))?;
    }
    output.flush()
}
