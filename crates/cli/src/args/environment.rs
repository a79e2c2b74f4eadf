//! Gives flags their environment variables.

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

/// Returns the name of a flag's environment variable.
fn variable_of(arg: &Arg) -> Option<String> {
    arg.get_long().map(|long| format!("MOBILEBERT_{}", long.to_uppercase().replace('-', "_")))
}

/// Returns true if a variable has a value; an empty one counts as none.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Flags that go with another one only, and that one. Their variables count where it is given too.
const COMPANIONS: [(&[&str], &str); 7] = [
    (&["format", "no_header", "delimiter", "text_column", "pair_column"], "input"),
    (&["output_format"], "output"),
    (&["null_threshold"], "handle_impossible_answer"),
    (&["type_ids"], "ids"),
    (&["bits"], "qat"),
    (&["task"], "data"),
    (&["data", "max_drop", "limit", "max_f32_modules"], "task"),
];

/// Gives each flag of the command and of its subcommands, but `man --output`, the environment variable of its
/// name. With the flags that are `written` on the command line, a flag gets none if it conflicts with one of
/// them, if it goes with another one that is not given, or if its variable is empty.
pub(super) fn with_environment(command: clap::Command, written: Option<&ArgMatches>) -> clap::Command {
    let is_written = |arg: &Arg| {
        written.is_some_and(|matches| {
            matches.ids().any(|id| id == arg.get_id())
                && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
        })
    };
    let conflict = |a: &Arg, b: &Arg| {
        let declared =
            |a, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|c| c.get_id() == b.get_id());
        declared(a, b) || declared(b, a)
    };
    let overruled =
        |arg: &Arg| command.get_arguments().any(|other| is_written(other) && conflict(arg, other));
    let is_given = |arg: &Arg| is_written(arg) || variable_of(arg).is_some_and(|name| is_set(&name));
    let companion = |arg: &Arg| {
        let named = |flags: &[&str]| flags.iter().any(|flag| arg.get_id() == flag);
        let companion = COMPANIONS.iter().find(|(flags, _)| named(flags)).map(|(_, other)| other);
        companion.and_then(|other| command.get_arguments().find(|a| a.get_id() == other))
    };
    let is_alone = |arg: &Arg| !arg.is_required_set() && companion(arg).is_some_and(|other| !is_given(other));
    let is_empty = |arg: &Arg| variable_of(arg).is_some_and(|name| !is_set(&name));
    let ignored = |arg: &&Arg| written.is_some() && (overruled(arg) || is_alone(arg) || is_empty(arg));
    let ignored: Vec<clap::Id> =
        command.get_arguments().filter(ignored).map(|arg| arg.get_id().clone()).collect();
    let is_manual = command.get_name() == "man";
    let with_variable = |arg: Arg| {
        // MOBILEBERT_OUTPUT names a file of results, and not the folder of the manual.
        if ignored.contains(arg.get_id()) || (is_manual && arg.get_long() == Some("output")) {
            return arg;
        }
        let Some(name) = variable_of(&arg) else { return arg };
        let arg = arg.env(name).hide_env_values(true);
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
            _ => arg,
        }
    };
    command.mut_args(with_variable).mut_subcommands(|subcommand| {
        let written = written.and_then(|matches| matches.subcommand_matches(subcommand.get_name()));
        with_environment(subcommand, written)
    })
}
