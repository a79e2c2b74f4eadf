//! The table of all settings, from which flags, variables, keys and the help are made.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::ConfigError;

/// How many values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    One,
    Many,
    Switch,
    /// A switch of the command line only.
    Command,
}

/// A setting.
pub(super) struct Setting {
    pub(super) name: &'static str,
    value: &'static str,
    form: Form,
    /// The default in the form of a value, or nothing.
    pub(super) default: &'static [&'static str],
    help: &'static str,
}

impl Setting {
    /// Returns true if the file of `--config` may hold it.
    pub(super) fn may_stand_in_file(&self) -> bool {
        !self.is_command() && self.name != "config"
    }

    fn is_command(&self) -> bool {
        self.form == Form::Command
    }

    pub(super) fn is_switch(&self) -> bool {
        matches!(self.form, Form::Switch | Form::Command)
    }

    pub(super) fn takes_many(&self) -> bool {
        self.form == Form::Many
    }

    fn variable(&self) -> String {
        format!("MOBILEBERT_{}", self.name.to_uppercase().replace('-', "_"))
    }
}

const fn one(
    name: &'static str,
    value: &'static str,
    default: &'static [&'static str],
    help: &'static str,
) -> Setting {
    Setting { name, value, form: Form::One, default, help }
}

const fn many(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting { name, value, form: Form::Many, default: &[], help }
}

const fn switch(name: &'static str, help: &'static str) -> Setting {
    Setting { name, value: "", form: Form::Switch, default: &["false"], help }
}

/// All settings, in the order of the help.
pub(super) const SETTINGS: [Setting; 36] = [
    Setting {
        name: "model",
        value: "NAME=SOURCE",
        form: Form::Many,
        default: &[
            "qa=built-in:qa",
            "sentiment=built-in:sentiment",
            "ner=built-in:ner",
            "embed=built-in:embed",
        ],
        help: "A model: folder, built-in name (qa, sentiment, ner, embed) or hub id, with the name that routes \
               call it by. Repeat it for more; the variable separates them by `;`. Default: the four \
               built-in models",
    },
    one("listen", "ADDR", &["127.0.0.1:8080"], "Address and port, or unix:PATH"),
    one("health-listen", "ADDR", &[], "A second address for health and metrics only, which needs no API key"),
    one("grpc-listen", "ADDR", &[], "Where the Open Inference Protocol is spoken over gRPC (feature `grpc`)"),
    one(
        "tls-cert",
        "FILE",
        &[],
        "Certificates in PEM, the server's own one first: HTTPS only (feature `tls`)",
    ),
    one("tls-key", "FILE", &[], "Its private key in PEM"),
    one("threads", "N", &[], "Threads that run the models. Default: one for each processor"),
    one("io-threads", "N", &["1"], "Threads that read requests and write answers"),
    one("budget-tokens", "N", &["512"], "The most tokens of a pass, unless one sequence is longer"),
    one("queue-tokens", "N", &["65536"], "Tokens that may wait; more are refused with 429"),
    one("max-connections", "N", &["1024"], "Connections at the same time; others wait to be accepted"),
    one("max-body-bytes", "N", &["2000000"], "Bytes of a body, also after it was unpacked"),
    one(
        "body-memory-bytes",
        "N",
        &["268435456"],
        "Bytes that the bodies of all requests and long answers may have together; more are refused with 429",
    ),
    one("max-inputs", "N", &["1000"], "Texts of a request"),
    one("max-input-bytes", "N", &["1000000"], "Bytes of one text"),
    one("max-windows", "N", &["1024"], "Sequences of a request, into which long texts are cut"),
    one("deadline-ms", "MS", &["30000"], "Deadline of requests without x-deadline-ms"),
    one("max-deadline-ms", "MS", &["300000"], "Latest deadline that a request may ask for"),
    one("header-timeout-ms", "MS", &["10000"], "Time for the head of a request"),
    one("body-timeout-ms", "MS", &["10000"], "Time for a body, and for a client to take its answer"),
    one("idle-timeout-ms", "MS", &["75000"], "Time that a connection may rest between requests"),
    one(
        "drain-delay-ms",
        "MS",
        &["0"],
        "After SIGTERM: time in which requests are still taken while ready says no",
    ),
    one("drain-ms", "MS", &["25000"], "After that: time in which what was accepted is answered"),
    one(
        "api-key-file",
        "FILE",
        &[],
        "API keys, one a line; requests carry one as `Authorization: Bearer KEY`",
    ),
    switch("no-auth", "Serve everyone who reaches the address, also a public one"),
    one(
        "admin-key-file",
        "FILE",
        &[],
        "Keys of those who may load and unload models, one a line; without it there are no such routes",
    ),
    one(
        "allowed-hosts",
        "LIST",
        &[],
        "Names by which requests may call the server, separated by commas, or `*`. Default: on loopback \
         without --api-key-file the names of this machine, else all",
    ),
    many(
        "cors-origin",
        "ORIGIN",
        "An origin whose pages may use the server, such as https://example.org, or `*`. Repeat it for more; \
         the variable separates them by `;`. Default: none",
    ),
    one("dialects", "LIST", &["native,openai,tei,hf,oip"], "Routes that are offered"),
    one("log", "FORM", &["text"], "Form of the log on standard error: text or json"),
    one(
        "trace-endpoint",
        "URL",
        &[],
        "Collector of OpenTelemetry, such as http://localhost:4318, to which spans of requests are sent",
    ),
    one("trace-ratio", "SHARE", &["1"], "Share of requests that are traced if they have no traceparent"),
    switch("strict", "Refuse a text that is too long even where the dialect would cut it"),
    switch("allow-cut-embeddings", "Let `dimensions` cut vectors of models that were not trained for it"),
    one("config", "FILE", &[], "A TOML file with these names as keys"),
    Setting {
        name: "print-config",
        value: "",
        form: Form::Command,
        default: &["false"],
        help: "Show all settings and where each comes from, and stop",
    },
];

const AFTER_HELP: &str = "\
Every flag is also a variable, such as MOBILEBERT_BUDGET_TOKENS, and a key of
the file of --config. The flag wins over the variable, which wins over the
file. SIGHUP loads models and keys again; SIGTERM answers what was accepted
and stops.

Exit codes: 0 all that was accepted was answered, 1 a model or an address
cannot be used, 2 wrong usage, 5 stopped before all was answered";

/// Makes the command line from the table.
pub(super) fn command() -> Command {
    let arg = |setting: &Setting| {
        let help = match (setting.form, setting.default) {
            (Form::One, [default]) => format!("{}. Default: {default}", setting.help),
            _ => setting.help.to_owned(),
        };
        let arg = Arg::new(setting.name).long(setting.name).help(help);
        let arg = match setting.form {
            Form::Command => return arg.action(ArgAction::SetTrue),
            Form::Switch => arg
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .action(ArgAction::Set),
            Form::One => arg.value_name(setting.value).action(ArgAction::Set),
            Form::Many => arg.value_name(setting.value).action(ArgAction::Append),
        };
        arg.env(setting.variable()).hide_env_values(true).hide_env(true)
    };
    Command::new("mobilebert-serve")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serves compact BERT models over HTTP, in the dialects that clients of text models speak")
        .after_help(AFTER_HELP)
        .args(SETTINGS.iter().map(arg))
}

/// Where a value came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Variable(String),
    /// The file of `--config`.
    File(String),
    /// Nobody said anything else.
    #[default]
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => f.write_str(path),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Returns the values that the command line or the environment gives for a setting.
pub(super) fn given(setting: &Setting, matches: &ArgMatches) -> Option<(Vec<String>, Origin)> {
    if setting.is_command() {
        return matches.get_flag(setting.name).then(|| (vec!["true".to_owned()], Origin::Flag));
    }
    let origin = match matches.value_source(setting.name)? {
        ValueSource::CommandLine => Origin::Flag,
        ValueSource::EnvVariable => Origin::Variable(setting.variable()),
        _ => return None,
    };
    let texts: Vec<String> = matches.get_many::<String>(setting.name)?.cloned().collect();
    let texts = match (setting.form, &origin) {
        (Form::Many, Origin::Variable(_)) => {
            let parts = texts.iter().flat_map(|text| text.split(';'));
            parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        }
        _ => texts,
    };
    // An empty variable is one that is not set.
    let empty = matches!(origin, Origin::Variable(_)) && texts.iter().all(String::is_empty);
    (!empty).then_some((texts, origin))
}

/// The values of all settings as texts, and where each came from.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<&'static str, (Vec<String>, Origin)>);

impl Values {
    /// Sets a value, unless a stronger place has set it before.
    pub(super) fn set(&mut self, name: &'static str, texts: Vec<String>, origin: Origin) {
        self.0.entry(name).or_insert((texts, origin));
    }

    pub(super) fn set_default(&mut self, name: &'static str, texts: &[&str]) {
        self.set(name, texts.iter().map(|&text| text.to_owned()).collect(), Origin::Default);
    }

    pub(super) fn texts(&self, name: &str) -> &[String] {
        self.0.get(name).map(|(texts, _)| texts.as_slice()).unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).first().map(String::as_str)
    }

    /// Names the place of a value as its writer knows it.
    pub(super) fn place(&self, name: &str) -> String {
        match self.0.get(name).map(|(_, origin)| origin) {
            Some(Origin::Variable(variable)) => variable.clone(),
            Some(Origin::File(path)) => format!("{path}: `{name}`"),
            _ => format!("--{name}"),
        }
    }

    pub(super) fn wrong(&self, name: &str, expected: &str, found: &str) -> ConfigError {
        ConfigError::Setting(format!("{} is `{found}`; expected {expected}", self.place(name)))
    }

    pub(super) fn number(&self, name: &str, least: usize, most: usize) -> Result<usize, ConfigError> {
        let text = self.text(name).unwrap_or_default();
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(self.wrong(name, &format!("a whole number from {least} to {most}"), text)),
        }
    }

    pub(super) fn millis(&self, name: &str) -> Result<Duration, ConfigError> {
        self.millis_from(name, 1)
    }

    pub(super) fn millis_from(&self, name: &str, least: usize) -> Result<Duration, ConfigError> {
        const DAY: usize = 86_400_000;
        self.number(name, least, DAY).map(|millis| Duration::from_millis(millis as u64))
    }

    pub(super) fn switch(&self, name: &str) -> Result<bool, ConfigError> {
        match self.text(name).unwrap_or("false") {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            other => Err(self.wrong(name, "`true` or `false`", other)),
        }
    }

    /// Returns all values as they are written in TOML, with their places.
    pub(super) fn shown(&self) -> BTreeMap<&'static str, (String, Origin)> {
        let show = |setting: &Setting, texts: &[String]| {
            let quote = |text: &String| match text.parse::<u64>().is_ok() || setting.is_switch() {
                true => text.clone(),
                // A text of JSON is one of TOML too.
                false => serde_json::Value::from(text.as_str()).to_string(),
            };
            let all: Vec<String> = texts.iter().map(quote).collect();
            match setting.takes_many() {
                true => format!("[{}]", all.join(", ")),
                false => all.join(""),
            }
        };
        let each = SETTINGS.iter().filter_map(|setting| {
            let (texts, origin) = self.0.get(setting.name)?;
            Some((setting.name, (show(setting, texts), origin.clone())))
        });
        each.collect()
    }
}
