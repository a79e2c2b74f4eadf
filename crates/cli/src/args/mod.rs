//! Defines the arguments as the user writes them. Each flag but `man --output` is also an environment
//! variable. The flag wins, also over the variables of flags that it conflicts with.

mod environment;
mod measure;
mod models;
mod texts;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, RangedU64ValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use mobilebert::Precision;
use mobilebert_tools::BackendKind;

use environment::with_environment;
pub(crate) use measure::{Bench, Profile, ProfileCommand};
pub(crate) use models::{Compare, Convert, Finetune, Infer, Quantize, Sqnr};
pub(crate) use texts::{
    Answer, AtOnce, Batch, Classify, Embed, FillMask, OutputFormat, TableFormat, Tag, Texts, Tokenize,
};

const ABOUT: &str = "Answers questions, classifies, tags and embeds text with compact BERT models, offline";

const LONG_ABOUT: &str = "\
Answers questions, classifies, tags and embeds text with compact BERT models, offline.

A model is a folder in Hugging Face's layout (config.json, vocab.txt or tokenizer.json, model.safetensors), a built-in \
name (qa, sentiment, ner, embed), or a hub id (org/name or org/name@revision).";

const AFTER_HELP: &str = "\
Examples:
  mobilebert answer --question \"Who built it?\" --context \"Ada built it.\"
  mobilebert classify \"a joy to watch\" --json
  printf 'one\\ntwo\\n' | mobilebert classify - --json

Text:
  `-` reads one text a line from standard input and writes one result for
  each, in order. A line ends at \\n; one \\r in front of it is part of the
  line end. Nothing else is changed: NUL bytes, spaces and a byte order mark
  are text. Offsets count from 0 and refer to the line without its end, or
  to the whole file for --context-file. Text must be UTF-8.
  Put `--` in front of a word that begins with a hyphen: it may be a flag.

Batch files (--input), by extension or --format:
  .tsv    the first line names the columns; quotation marks are text
  .csv    the same, quoted as in RFC 4180; blank lines are skipped; the
          cells end at commas, or see --delimiter
  .jsonl  one object a line; columns are its fields
  .txt    one text a line
  FOLDER  each .txt, .text and .md file in it is one text, sorted by name;
          results have its name as `file`. Hidden files are not read, and
          neither are the folders in it
  Files and pipes that gzip has packed are unpacked, whatever their names;
  a .gz behind an extension does not count. A line or a text has up to
  256 MiB.
  A byte order mark at the start of .tsv, .csv and .jsonl is skipped.
  --output keeps the input's columns in front of the results. One with the
  name of a result, or of another, has `input_` in front of its own. Values
  of .jsonl stay as they are written.
  In .tsv, which has no quotation marks, a tab or a line end in a cell
  becomes a space.

Plain output writes line ends and other control characters in a text as \\n,
\\t and the like. --json has them as they are.

Environment:
  Each flag but `man --output` has a variable, such as MOBILEBERT_MODEL for
  --model. The flag wins over its variable, and over those of flags that do
  not go with it. An empty variable counts as none, and so does one of a flag
  that needs another one, where that is not given. A switch is off if its
  variable is 0, no, off or false.

Exit codes:
  0  all well (also if the reader of the output stopped reading)
  1  some input or the model failed; with several inputs each failure is in
     the output, in the place of its result
  2  wrong usage
  3  quantize: the score drops too far, and nothing was written
  130  stopped by Ctrl-C";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "mobilebert", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Parses the arguments; the first one is the program's name.
    pub(crate) fn parse_from_os(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        // Each turn moves one text behind `--`, so there are at most as many turns as arguments.
        while let Err(error) = parser().try_get_matches_from(&arguments)
            && move_text_behind_dashes(&mut arguments, &error)
        {}
        // This pass only finds out which flags are written; the second one knows the variables too and
        // reports errors.
        let written = parser().ignore_errors(true).try_get_matches_from(&arguments).ok();
        let command = with_environment(parser(), written.as_ref());
        let mut command = command.mut_subcommands(with_exit_codes);
        let mut matches: ArgMatches = command.try_get_matches_from_mut(arguments).map_err(explained)?;
        if let Some((name, flag)) = without_effect(&matches) {
            let problem = format!("--{flag} has no effect on `{name}`; leave it out\n");
            return Err(command.error(ErrorKind::ArgumentConflict, problem));
        }
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// Returns the command, and a global flag that is written on the command line and that the command would ignore.
/// Variables are not looked at, because they are set for many commands.
fn without_effect(matches: &ArgMatches) -> Option<(&str, &'static str)> {
    const NO_ENGINE: &[&str] = &["model", "backend", "threads", "precision"];
    const WITHOUT_EFFECT: [(&str, &[&str]); 8] = [
        ("convert", NO_ENGINE),
        ("kernels", NO_ENGINE),
        ("completions", NO_ENGINE),
        ("man", NO_ENGINE),
        ("quantize", &["model"]),
        ("finetune", &["model"]),
        ("compare", &["model"]),
        ("tokenize", &["backend", "threads", "precision"]),
    ];
    let (name, matches) = matches.subcommand()?;
    let (_, flags) = WITHOUT_EFFECT.into_iter().find(|(command, _)| *command == name)?;
    let is_written = |flag: &str| matches.value_source(flag) == Some(ValueSource::CommandLine);
    Some((name, flags.iter().copied().find(|flag| is_written(flag))?))
}

/// Moves a text that begins with a hyphen, and so was taken for flags, to the end of the arguments, behind
/// `--`. A flag has no blanks in front of its `=` and begins with a letter. Only a command that takes one text
/// and nothing else by its place is helped: in others a move would change which argument is which.
fn move_text_behind_dashes(arguments: &mut Vec<OsString>, error: &clap::Error) -> bool {
    // "-h is for help" was taken for -h and more flags of one letter.
    let taken_for = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(unknown))) => unknown.as_str(),
        (ErrorKind::DisplayHelp, _) => "-h",
        (ErrorKind::DisplayVersion, _) => "-V",
        _ => return false,
    };
    let dashes = arguments.iter().position(|argument| argument == "--");
    let is_text = |argument: &OsString| {
        let Some(text) = argument.to_str().filter(|text| text.starts_with(taken_for)) else {
            return false;
        };
        let Some(rest) = text.strip_prefix('-') else { return false };
        let name = rest.split('=').next().unwrap_or_default();
        name.contains(char::is_whitespace) || rest.starts_with(|c: char| c != '-' && !c.is_ascii_alphabetic())
    };
    let Some(place) = arguments[..dashes.unwrap_or(arguments.len())].iter().position(is_text) else {
        return false;
    };
    let text = arguments.remove(place);
    if !takes_one_text(arguments) {
        arguments.insert(place, text);
        return false;
    }
    if dashes.is_none() {
        arguments.push("--".into());
    }
    arguments.push(text);
    true
}

/// Returns true if the command of these arguments, of which the text may be missing, has one argument without a flag, and that is a text.
fn takes_one_text(arguments: &[OsString]) -> bool {
    let parser = parser();
    let Ok(matches) = parser.clone().ignore_errors(true).try_get_matches_from(arguments) else {
        return false;
    };
    let command = matches.subcommand_name().and_then(|name| parser.find_subcommand(name));
    let Some(mut positionals) = command.map(clap::Command::get_positionals) else { return false };
    let (Some(text), None) = (positionals.next(), positionals.next()) else { return false };
    let is_text = text.get_value_names().unwrap_or_default().iter().any(|name| name == "TEXT");
    is_text && matches!(text.get_action(), ArgAction::Set)
}

/// Adds to the message about a conflict what the flag needs instead.
fn explained(mut error: clap::Error) -> clap::Error {
    const TIPS: [(&str, &str); 6] = [
        ("--no-header", OF_FILES),
        ("--format", OF_FILES),
        ("--delimiter", OF_FILES),
        ("--text-column", OF_FILES),
        ("--pair-column", OF_FILES),
        ("--type-ids", "it goes with --ids; a line of FILE has its own \"type_ids\""),
    ];
    const OF_FILES: &str = "it says how to read --input FILE; for standard input, pass --input -";
    let names = [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| match error.get(kind) {
        Some(ContextValue::String(name)) => vec![name.clone()],
        Some(ContextValue::Strings(names)) => names.clone(),
        _ => Vec::new(),
    });
    let is_named = |flag: &str| names.iter().flatten().any(|name| name.split(' ').next() == Some(flag));
    if error.kind() == ErrorKind::ArgumentConflict
        && let Some((flag, tip)) = TIPS.into_iter().find(|(flag, _)| is_named(flag))
    {
        let tip = format!("{flag}: {tip}").into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// Returns the command, whose flags for numbers take a `-1` as their value, so that the message is about it.
fn parser() -> clap::Command {
    /// The names that the values of these flags have in the help.
    const NUMBERS: [&str; 6] = ["N", "N,N", "S", "R", "SCORE", "POINTS"];
    fn with_negative(command: clap::Command) -> clap::Command {
        let with_negative_value = |arg: Arg| {
            let names = arg.get_value_names().unwrap_or_default();
            let is_number = names.iter().any(|name| NUMBERS.contains(&name.as_str()));
            if is_number && arg.get_long().is_some() { arg.allow_negative_numbers(true) } else { arg }
        };
        command.mut_args(with_negative_value).mut_subcommands(with_negative)
    }
    with_negative(Args::command())
}

/// Reads a finite number of at least `least`.
fn at_least(least: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    move |text: &str| match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= least => Ok(number),
        Ok(_) if least == f64::MIN => Err("expected a finite number".to_owned()),
        Ok(_) => Err(format!("expected a finite number of at least {least}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads the path of an output. Elsewhere `-` stands for standard input, so nobody who writes it means a file
/// of that name.
fn output_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.as_os_str() == "-" {
        true => Err("leave out --output to write to standard output"),
        false => Ok(path),
    })
}

/// Reads a number that is from `least` to `most`.
fn up_to(least: usize, most: usize) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least as u64..=most as u64)
}

/// Returns true if a command has the flag, given without its hyphens.
pub(crate) fn is_flag(long: &str) -> bool {
    fn has(command: &clap::Command, long: &str) -> bool {
        command.get_arguments().any(|arg| arg.get_long() == Some(long))
            || command.get_subcommands().any(|subcommand| has(subcommand, long))
    }
    has(&Args::command(), long)
}

/// Ends a subcommand's help with the exit codes.
fn with_exit_codes(command: clap::Command) -> clap::Command {
    const EXIT_CODES: &str = "Exit codes: 0 all well, 1 some input or the model failed, 2 wrong usage";
    let help = command.get_after_help().map(|help| format!("{help}\n\n{EXIT_CODES}"));
    command.after_help(help.unwrap_or_else(|| EXIT_CODES.to_owned()))
}

/// Returns the command with everything that its help shows.
pub(crate) fn documented() -> clap::Command {
    with_environment(Args::command(), None).mut_subcommands(with_exit_codes)
}

const EXAMPLE_SERVE: &str = "\
Examples:
  $ mobilebert serve
  $ mobilebert serve --listen 127.0.0.1:9000 --model mine=my-model
  $ mobilebert serve --help

Everything behind `serve` goes to the program mobilebert-serve, which is looked
for beside this one and then on PATH. Its own help lists its flags; the global
options below are not among them, but for --model and --threads.";

/// `mobilebert serve`
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Flags of mobilebert-serve
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) flags: Vec<OsString>,
}

const EXAMPLE_SQL: &str = "\
Examples:
  $ mobilebert sql -c \"select classify(review)['label'] as label, count(*)
      from 'reviews/*.parquet' group by 1\"
  $ mobilebert sql
  $ mobilebert sql --help

Everything behind `sql` goes to the program mobilebert-sql, which is looked for
beside this one and then on PATH. Its own help lists its flags; the global
options below are not among them, but for --model and --threads.";

/// `mobilebert sql`
#[derive(Debug, clap::Args)]
pub(crate) struct Sql {
    /// Flags of mobilebert-sql
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) flags: Vec<OsString>,
}

const EXAMPLE_MAN: &str = "\
Examples:
  $ mobilebert man | man -l -
  $ mobilebert man answer | man -l -
  $ mobilebert man --output ~/.local/share/man/man1";

/// `mobilebert man`
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The command whose page to write, such as `answer` or `profile diff`. Default: the page about all of
    /// them
    #[arg(value_name = "COMMAND", num_args = 1..=2, conflicts_with = "output")]
    pub(crate) page: Vec<String>,
    /// Write all pages as files into this folder
    #[arg(long, value_name = "DIR", value_parser = output_path())]
    pub(crate) output: Option<PathBuf>,
}

const EXAMPLE_COMPLETIONS: &str = "\
Example:
  $ mobilebert completions bash > \\
      ~/.local/share/bash-completion/completions/mobilebert";

/// `mobilebert completions`
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell to write for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Flags that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Model: folder, built-in name (qa, sentiment, ner, embed) or hub id. Default: sentiment for classify, ner for
    /// tag, embed for embed, none for fill-mask, synthetic:mobilebert for bench and profile, else qa
    #[arg(long, global = true, value_name = "SOURCE")]
    pub(crate) model: Option<String>,
    /// Backend that computes: native, or candle in a build with the feature `candle`
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) backend: Option<BackendKind>,
    /// Number of threads, up to 4 for each processor, and 16 in any case. Default: one for each processor
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Arithmetic of the native backend: int8, bf16 or f32. Default: int8 if the weights are int8, else f32
    #[arg(long, global = true, value_name = "TYPE")]
    pub(crate) precision: Option<Precision>,
    /// Write JSON, one value a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress bar and no advice
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer questions with pieces of a context
    #[command(after_help = texts::EXAMPLE_ANSWER)]
    Answer(Answer),
    /// Label texts, or pairs of texts
    #[command(after_help = texts::EXAMPLE_CLASSIFY)]
    Classify(Classify),
    /// Label the words of texts: named entities and the like
    #[command(after_help = texts::EXAMPLE_TAG)]
    Tag(Tag),
    /// Find words for each [MASK]
    #[command(after_help = texts::EXAMPLE_FILL_MASK)]
    FillMask(FillMask),
    /// Turn texts into vectors
    #[command(after_help = texts::EXAMPLE_EMBED)]
    Embed(Embed),
    /// Show tokens, ids and offsets
    #[command(after_help = texts::EXAMPLE_TOKENIZE)]
    Tokenize(Tokenize),
    /// Serve models over HTTP, by the program mobilebert-serve
    #[command(after_help = EXAMPLE_SERVE)]
    Serve(Serve),
    /// Run SQL over texts in files, by the program mobilebert-sql
    #[command(after_help = EXAMPLE_SQL)]
    Sql(Sql),
    /// Describe a model: configuration, tensors, sizes, hashes
    #[command(after_help = models::EXAMPLE_INSPECT)]
    Inspect,
    /// Run a model on token ids and show the raw numbers
    #[command(after_help = models::EXAMPLE_INFER)]
    Infer(Infer),
    /// Bring a model of another framework into a model folder
    #[command(after_help = models::EXAMPLE_CONVERT)]
    Convert(Convert),
    /// Write the int8 form of a model
    #[command(after_help = models::EXAMPLE_QUANTIZE)]
    Quantize(Quantize),
    /// Train a model further, if asked in the arithmetic of int8
    #[command(after_help = models::EXAMPLE_FINETUNE)]
    Finetune(Finetune),
    /// Compare two models, answer by answer
    #[command(after_help = models::EXAMPLE_COMPARE)]
    Compare(Compare),
    /// Measure latency, throughput and memory
    #[command(after_help = measure::EXAMPLE_BENCH)]
    Bench(Bench),
    /// Show where the time goes, operation by operation
    #[command(after_help = measure::EXAMPLE_PROFILE, args_conflicts_with_subcommands = true)]
    Profile(Profile),
    /// Show what int8 costs each layer: its error against f32
    #[command(after_help = models::EXAMPLE_SQNR)]
    Sqnr(Sqnr),
    /// Write a script that completes commands and flags in a shell
    #[command(after_help = EXAMPLE_COMPLETIONS)]
    Completions(Completions),
    /// Write manual pages
    #[command(after_help = EXAMPLE_MAN)]
    Man(Man),
    /// List the kernels, which of them this processor has, and which is picked
    #[command(after_help = measure::EXAMPLE_KERNELS)]
    Kernels,
}
