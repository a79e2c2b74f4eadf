//! FLAGS, ENVIRONMENT, FILE -> SETTINGS. Every flag is also a variable `MOBILEBERT_...` and a key of the file
//! that `--config` names. The flag wins over the variable, and the variable over the file.

mod file;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use table::Origin;
use table::{SETTINGS, Setting, Values};

use crate::trace::is_endpoint;

/// Why the server cannot start with these settings.
#[derive(Debug)]
pub enum ConfigError {
    /// The command line is wrong, or asks for help. The error prints itself.
    Usage(clap::Error),
    /// A value of the environment or of the file is wrong, or settings do not go together.
    Setting(String),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Setting(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

impl std::fmt::Display for Listen {
    /// Writes the place as the settings do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain of certificates in PEM, the server's own one first.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// A model to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSetting {
    /// The name in routes and requests.
    pub name: String,
    /// A folder, a built-in name or a hub id.
    pub source: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A family of routes with its own shapes of requests, results and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// `/api/v1`, and the routes about the server itself.
    Native,
    /// `/v1`, as OpenAI's clients speak.
    OpenAi,
    /// The routes of text-embeddings-inference.
    Tei,
    /// The task API of Hugging Face.
    Hf,
    /// `/v2`, the Open Inference Protocol.
    Oip,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Native, Self::OpenAi, Self::Tei, Self::Hf, Self::Oip];

    /// Returns the name in settings, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::OpenAi => "openai",
            Self::Tei => "tei",
            Self::Hf => "hf",
            Self::Oip => "oip",
        }
    }
}

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The models, the first of each task being the default of dialects that name none.
    pub models: Vec<ModelSetting>,
    /// Where requests come in.
    pub listen: Listen,
    /// Another place that answers only for health and metrics, without a key.
    pub health_listen: Option<Listen>,
    /// Where requests of gRPC come in.
    pub grpc_listen: Option<Listen>,
    /// The certificate, with which requests come in over TLS only.
    pub tls: Option<TlsFiles>,
    /// Worker threads that run passes.
    pub threads: usize,
    /// Threads that read requests and write answers.
    pub io_threads: usize,
    /// Tokens of a pass, unless one sequence is longer.
    pub budget_tokens: usize,
    /// Tokens that may wait.
    pub queue_tokens: usize,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Bytes of a body, also after it was unpacked.
    pub max_body_bytes: usize,
    /// Bytes that the bodies of all requests may have together.
    pub body_memory: usize,
    /// Texts of a request.
    pub max_inputs: usize,
    /// Bytes of one text.
    pub max_input_bytes: usize,
    /// Sequences of a request, into which long texts are cut.
    pub max_windows: usize,
    /// The deadline of requests that bring none.
    pub deadline: Duration,
    /// The latest deadline that a request may ask for.
    pub max_deadline: Duration,
    /// How long a head may take.
    pub header_timeout: Duration,
    /// How long a body may take, and how long a client may leave an answer unread.
    pub body_timeout: Duration,
    /// How long a connection may rest between requests.
    pub idle_timeout: Duration,
    /// How long requests are still taken after the signal to stop, while `ready` says no.
    pub drain_delay: Duration,
    /// How long what was accepted may take after that.
    pub drain: Duration,
    /// A file of API keys, one a line.
    pub api_key_file: Option<PathBuf>,
    /// True if everyone who reaches the address may use the server.
    pub no_auth: bool,
    /// A file of keys of those who may load and unload models.
    pub admin_key_file: Option<PathBuf>,
    /// Names by which requests may call the server.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may use the server.
    pub cors_origins: Vec<String>,
    /// The dialects that are spoken.
    pub dialects: Vec<Dialect>,
    /// The form of log lines.
    pub log: LogForm,
    /// Where spans of requests are sent to.
    pub trace_endpoint: Option<String>,
    /// The share of requests that are traced if they do not say so themselves.
    pub trace_ratio: f64,
    /// True if a text that is too long is an error even where the dialect would cut it.
    pub strict: bool,
    /// True if `dimensions` may cut vectors of models that were not trained for it.
    pub allow_cut_embeddings: bool,
    /// True if the settings are to be shown and nothing else.
    pub print_config: bool,
    origins: BTreeMap<&'static str, (String, Origin)>,
}

impl Config {
    /// Reads the command line (the first argument is the program's name), the environment and the file.
    ///
    /// # Errors
    /// [`ConfigError`] says which flag, variable or key is wrong, and what is expected.
    pub fn from_args(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let matches = table::command().try_get_matches_from(arguments).map_err(ConfigError::Usage)?;
        let mut values = Values::default();
        for setting in &SETTINGS {
            if let Some((texts, origin)) = table::given(setting, &matches) {
                values.set(setting.name, texts, origin);
            }
        }
        if let Some(path) = values.text("config") {
            file::read(&PathBuf::from(path), &mut values)?;
        }
        for setting in &SETTINGS {
            values.set_default(setting.name, setting.default);
        }
        Self::resolve(&values)
    }

    fn resolve(values: &Values) -> Result<Self, ConfigError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let models =
            values.texts("model").iter().map(|text| model(values, text)).collect::<Result<Vec<_>, _>>()?;
        let config = Self {
            models,
            listen: listen(values, "listen")?
                .unwrap_or(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))),
            health_listen: listen(values, "health-listen")?,
            grpc_listen: listen(values, "grpc-listen")?,
            tls: tls(values)?,
            threads: match values.texts("threads") {
                [] => processors,
                _ => values.number("threads", 1, 1024)?,
            },
            io_threads: values.number("io-threads", 1, 64)?,
            budget_tokens: values.number("budget-tokens", 1, 1 << 20)?,
            queue_tokens: values.number("queue-tokens", 1, 1 << 30)?,
            max_connections: values.number("max-connections", 1, 1 << 20)?,
            max_body_bytes: values.number("max-body-bytes", 1, 1 << 30)?,
            body_memory: values.number("body-memory-bytes", 1, 1 << 40)?,
            max_inputs: values.number("max-inputs", 1, 1 << 20)?,
            max_input_bytes: values.number("max-input-bytes", 1, 1 << 30)?,
            max_windows: values.number("max-windows", 1, 1 << 20)?,
            deadline: values.millis("deadline-ms")?,
            max_deadline: values.millis("max-deadline-ms")?,
            header_timeout: values.millis("header-timeout-ms")?,
            body_timeout: values.millis("body-timeout-ms")?,
            idle_timeout: values.millis("idle-timeout-ms")?,
            drain_delay: values.millis_from("drain-delay-ms", 0)?,
            drain: values.millis_from("drain-ms", 0)?,
            api_key_file: values.text("api-key-file").map(PathBuf::from),
            no_auth: values.switch("no-auth")?,
            admin_key_file: values.text("admin-key-file").map(PathBuf::from),
            allowed_hosts: hosts(values)?,
            cors_origins: origins(values)?,
            dialects: dialects(values)?,
            log: match values.text("log") {
                Some("json") => LogForm::Json,
                Some("text") | None => LogForm::Text,
                Some(other) => return Err(values.wrong("log", "`text` or `json`", other)),
            },
            trace_endpoint: match values.text("trace-endpoint") {
                Some(text) if !is_endpoint(text) => {
                    let expected = "http://HOST:PORT of a collector, with or without a path";
                    return Err(values.wrong("trace-endpoint", expected, text));
                }
                given => given.map(str::to_owned),
            },
            trace_ratio: match values.text("trace-ratio").unwrap_or("1").parse() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
                _ => {
                    let found = values.text("trace-ratio").unwrap_or_default();
                    return Err(values.wrong("trace-ratio", "a share from 0 to 1", found));
                }
            },
            strict: values.switch("strict")?,
            allow_cut_embeddings: values.switch("allow-cut-embeddings")?,
            print_config: values.switch("print-config")?,
            origins: values.shown(),
        };
        config.check(values)?;
        Ok(config)
    }

    /// Checks what settings say together.
    fn check(&self, values: &Values) -> Result<(), ConfigError> {
        let mut names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let problem =
                format!("two models are called `{}`; name them apart, as in a={}", twice[0], twice[0]);
            return Err(ConfigError::Setting(format!("{}: {problem}", values.place("model"))));
        }
        if self.max_body_bytes > self.body_memory {
            let problem = "a single body may have more bytes (--max-body-bytes) than all of them together";
            return Err(ConfigError::Setting(format!("{}: {problem}", values.place("body-memory-bytes"))));
        }
        if self.deadline > self.max_deadline {
            let problem = "the default deadline is later than the latest that a request may ask for";
            return Err(ConfigError::Setting(format!("{}: {problem}", values.place("deadline-ms"))));
        }
        for (name, listen) in [("listen", Some(&self.listen)), ("grpc-listen", self.grpc_listen.as_ref())] {
            if let Some(Listen::Tcp(address)) = listen
                && !address.ip().is_loopback()
                && self.api_key_file.is_none()
                && !self.no_auth
            {
                return Err(ConfigError::Setting(format!(
                    "{}: {address} can be reached from other machines; pass --api-key-file FILE, or --no-auth if \
                     everyone who reaches it may use the server",
                    values.place(name)
                )));
            }
        }
        for (name, feature, lacks) in [
            ("grpc-listen", "grpc", self.grpc_listen.is_some() && !cfg!(feature = "grpc")),
            ("tls-cert", "tls", self.tls.is_some() && !cfg!(feature = "tls")),
        ] {
            if lacks {
                return Err(ConfigError::Setting(format!(
                    "{}: this server was built without it; build it with `--features {feature}`",
                    values.place(name)
                )));
            }
        }
        Ok(())
    }

    /// Writes every setting as a line of TOML, with the place that its value came from as a comment.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS.iter().filter(|setting| setting.may_stand_in_file()) {
            let (value, origin) = self.origins.get(setting.name).cloned().unwrap_or_default();
            let line = match value.is_empty() {
                true => format!("# {} is not set", setting.name),
                false => format!("{} = {value}", setting.name),
            };
            text.push_str(&format!("{line:<44} # {origin}\n"));
        }
        text
    }
}

/// Reads `NAME=SOURCE` or `SOURCE`, which names itself by its last part.
fn model(values: &Values, text: &str) -> Result<ModelSetting, ConfigError> {
    let (name, source) = match text.split_once('=') {
        Some((name, source)) => (name.to_owned(), source.to_owned()),
        None => {
            let last = text.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
            (last.split('@').next().unwrap_or_default().to_owned(), text.to_owned())
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || source.is_empty() || !name.chars().all(plain) || name.len() > 64 {
        let expected = "NAME=SOURCE, with a name of letters, digits, `-`, `_` and `.`";
        return Err(values.wrong("model", expected, text));
    }
    Ok(ModelSetting { name, source })
}

fn listen(values: &Values, name: &'static str) -> Result<Option<Listen>, ConfigError> {
    let Some(text) = values.text(name) else { return Ok(None) };
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Some(Listen::Unix(path.into())));
    }
    match text.parse() {
        Ok(address) => Ok(Some(Listen::Tcp(address))),
        Err(_) => Err(values.wrong(name, "an address and port such as 127.0.0.1:8080, or unix:PATH", text)),
    }
}

fn tls(values: &Values) -> Result<Option<TlsFiles>, ConfigError> {
    match (values.text("tls-cert"), values.text("tls-key")) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert: cert.into(), key: key.into() })),
        (None, None) => Ok(None),
        (cert, _) => {
            let (given, missing) =
                if cert.is_some() { ("tls-cert", "tls-key") } else { ("tls-key", "tls-cert") };
            let problem = format!("{}: it needs --{missing} FILE, too", values.place(given));
            Err(ConfigError::Setting(problem))
        }
    }
}

fn dialects(values: &Values) -> Result<Vec<Dialect>, ConfigError> {
    let names = values.text("dialects").unwrap_or_default().split(',').map(str::trim);
    names
        .map(|name| {
            let found = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
            found.ok_or_else(|| values.wrong("dialects", "some of native,openai,tei,hf,oip", name))
        })
        .collect()
}

/// Reads names of hosts, without ports.
fn hosts(values: &Values) -> Result<Vec<String>, ConfigError> {
    let Some(text) = values.text("allowed-hosts") else { return Ok(Vec::new()) };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '[' | ']' | ':' | '*');
    let has_port = |name: &str| !name.starts_with('[') && name.contains(':');
    let name = |name: &str| match name.is_empty() || !name.chars().all(plain) || has_port(name) {
        true => Err(values.wrong("allowed-hosts", "names of hosts without ports, or `*`", name)),
        false => Ok(name.to_ascii_lowercase()),
    };
    text.split(',').map(str::trim).map(name).collect()
}

/// Reads origins as browsers write them.
fn origins(values: &Values) -> Result<Vec<String>, ConfigError> {
    let is_origin = |text: &str| {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@' | '*' | ',');
        text == "*" || host.is_some_and(|host| !host.is_empty() && host.chars().all(plain))
    };
    let origin = |text: &String| match is_origin(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(values.wrong("cors-origin", "an origin such as https://example.org, or `*`", text)),
    };
    values.texts("cors-origin").iter().map(origin).collect()
}

/// Returns the names of all settings, for tests of the documentation.
pub fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting: &Setting| setting.name)
}
