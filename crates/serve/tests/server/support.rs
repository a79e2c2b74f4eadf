//! A server in this process, and a client that speaks plain HTTP.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mobilebert_serve::{Config, Running};
use serde_json::Value;

/// Returns a path of the checkout.
pub(crate) fn root(path: &str) -> String {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    root.join(path).to_str().unwrap().to_owned()
}

/// Copies the files of a folder of the checkout.
pub(crate) fn copy(from: &str, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(root(from)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// The tiny models, which answer at once but know nothing.
pub(crate) fn tiny() -> Vec<String> {
    let of =
        |name: &str, folder: &str| format!("{name}={}", root(&format!("tests/golden/checkpoints/{folder}")));
    vec![
        of("tiny-qa", "mobilebert-f32"),
        of("tiny-classify", "bert-f32"),
        of("tiny-ner", "mobilebert-ner-f32"),
        of("tiny-mlm", "mobilebert-mlm-f32"),
    ]
}

/// A log that a test can read.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A server that is ready.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) log: Lines,
}

impl Server {
    /// Starts a server with models and further flags.
    pub(crate) fn start(models: &[String], flags: &[&str]) -> Self {
        let server = Self::start_unloaded(models, flags);
        server.running.load().unwrap();
        server
    }

    pub(crate) fn start_unloaded(models: &[String], flags: &[&str]) -> Self {
        let mut arguments: Vec<OsString> = vec!["mobilebert-serve".into()];
        if !flags.contains(&"--listen") {
            arguments.extend(["--listen".into(), "127.0.0.1:0".into()]);
        }
        models.iter().for_each(|model| arguments.extend(["--model".into(), model.into()]));
        arguments.extend(flags.iter().map(OsString::from));
        // The variables of this process cannot be removed while other tests run, so they must not be there.
        let is_set = |name: &String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let set = mobilebert_serve::config::names().map(variable).find(is_set);
        assert!(set.is_none(), "{set:?} would change what the tests ask for; unset it for them");
        let log = Lines::default();
        let config = Config::from_args(arguments).unwrap();
        let running = Running::start(config, Box::new(log.clone())).unwrap();
        Self { running, log }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.running.address())
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.client().send("GET", path, &[], b"").unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Response {
        self.client().post(path, body)
    }
}

/// Returns the name of a setting's variable.
fn variable(setting: &str) -> String {
    format!("MOBILEBERT_{}", setting.to_uppercase().replace('-', "_"))
}

/// The program itself, in a process of its own, whose memory is nobody else's.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: String,
}

impl Program {
    /// Starts the program and waits until it is ready.
    pub(crate) fn start(models: &[String], flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert-serve"));
        for name in mobilebert_serve::config::names() {
            command.env_remove(variable(name));
        }
        for model in models {
            command.args(["--model", model]);
        }
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(flags).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut program = Self { child, address: String::new() };
        let mut line = String::new();
        while line.trim_end() != "ready" {
            if let Some(address) = line.trim_end().strip_prefix("listening on ") {
                program.address = address.to_owned();
            }
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the program ended before it was ready");
        }
        // Someone has to read the log, or the program waits.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        program
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// Returns the bytes of memory that it holds, where the system says so.
    pub(crate) fn resident(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        statm.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sets a flag when it is dropped, also by a failed assertion, so that threads that look at it end.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits for what other threads do.
pub(crate) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Returns the JSON of a result, which must have been given.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// Returns the code of a refusal of the native dialect.
    pub(crate) fn code(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self::connect(address).unwrap()
    }

    pub(crate) fn connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Response {
        self.send("POST", path, &[("content-type", "application/json")], body.as_bytes()).unwrap()
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        let bytes = [head.as_bytes(), body].concat();
        self.stream.get_mut().write_all(&bytes)?;
        self.read()
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads an answer, or the end of the connection as an error.
    pub(crate) fn read(&mut self) -> std::io::Result<Response> {
        let end = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(end());
        }
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(end)?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(end());
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Response { status, headers, body })
    }
}

/// A small generator of numbers, so that a run can be repeated from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }
}

/// Returns how many cases to run: the variable's number, or a few.
pub(crate) fn count(variable: &str, few: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}
