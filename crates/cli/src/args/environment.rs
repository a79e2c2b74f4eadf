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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::{ContextKind, ContextValue, ErrorKind};

    use super::*;
    use crate::args::Args;

    /// Returns the arguments that are missing, as the parser names them. Values are of no interest: the parser looks
    /// at what is missing when each value has been read, so `None` says that the value is none of the flag's.
    fn missing(command: &clap::Command, arguments: &[String]) -> Option<Vec<String>> {
        let arguments = [command.get_name().to_owned()].into_iter().chain(arguments.iter().cloned());
        match command.clone().try_get_matches_from(arguments) {
            Ok(_) => Some(Vec::new()),
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                match error.get(ContextKind::InvalidArg) {
                    Some(ContextValue::Strings(names)) => Some(names.clone()),
                    other => panic!("{other:?}"),
                }
            }
            Err(_) => None,
        }
    }

    /// Each flag takes one of these, its default or what it names itself.
    const VALUES: [&str; 8] = ["1", "0.5", ";", "native", "int8", "squad", "mean", "a"];

    /// Clap shows nobody which flags an argument requires, so its answers are asked for.
    #[test]
    fn the_companions_are_those_that_clap_asks_for() {
        let mut found = 0;
        for command in Args::command().get_subcommands() {
            let always = missing(command, &[]).unwrap_or_default();
            let is_asked_for = |flag: &str| always.iter().any(|name| name.split(' ').next() == Some(flag));
            let flags =
                command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_required_set());
            for arg in flags.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
                let flag = format!("--{}", arg.get_long().unwrap());
                let own = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
                let named = arg.get_possible_values().first().map(|value| value.get_name().to_owned());
                let values = own.chain(named).chain(VALUES.map(str::to_owned)).collect::<Vec<_>>();
                let asked = if arg.get_action().takes_values() {
                    values.iter().find_map(|value| missing(command, &[format!("{flag}={value}")]))
                } else {
                    missing(command, &[flag])
                };
                let place = format!("{} --{}", command.get_name(), arg.get_long().unwrap());
                let asked = asked.unwrap_or_else(|| panic!("{place}: no value is one of its own"));
                let asked: Vec<&String> = asked.iter().filter(|name| !always.contains(name)).collect();
                let companion = COMPANIONS
                    .iter()
                    .find(|(flags, _)| flags.iter().any(|flag| arg.get_id() == flag))
                    .and_then(|(_, other)| command.get_arguments().find(|arg| arg.get_id() == other))
                    .filter(|other| !is_asked_for(&format!("--{}", other.get_long().unwrap())));
                match (companion, asked.as_slice()) {
                    (None, []) => {}
                    // Clap also asks for what the other flag requires.
                    (Some(other), [_, ..]) => {
                        let name = format!("--{}", other.get_long().unwrap());
                        let is_named = asked.iter().any(|asked| asked.split(' ').next() == Some(&name));
                        assert!(is_named, "{place}: clap asks for {asked:?}, and the table for {name}");
                        found += 1;
                    }
                    (companion, asked) => {
                        let companion = companion.map(Arg::get_id);
                        panic!("{place}: clap asks for {asked:?}, and the table for {companion:?}");
                    }
                }
            }
        }
        assert!(found > COMPANIONS.len(), "only {found} flags go with another one");
    }
}
