//! The program `mobilebert-serve`: settings, signals, exit codes.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

use mobilebert_serve::config::ConfigError;
use mobilebert_serve::{Config, Loader, LogThread, Running, Signal, Signals};

/// A model or an address cannot be used.
const FAILED: u8 = 1;
/// Wrong usage. This is the number that clap uses.
const USAGE: u8 = 2;
/// The server stopped before all that was accepted was answered.
const UNANSWERED: u8 = 5;

/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let config = match Config::from_args(std::env::args_os()) {
        Ok(config) => config,
        Err(ConfigError::Usage(error)) => {
            // Help goes to standard output, complaints to standard error.
            let printed = error.print();
            let code = if printed.is_ok() { error.exit_code() } else { i32::from(FAILED) };
            return ExitCode::from(u8::try_from(code).unwrap_or(USAGE));
        }
        Err(error) => return complain(&error, USAGE),
    };
    if config.print_config {
        return match io::stdout().write_all(config.shown().as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error, FAILED),
        };
    }
    let (signals, log) =
        match Signals::watch().and_then(|signals| Ok((signals, LogThread::start(Box::new(io::stderr()))?))) {
            Ok(started) => started,
            Err(error) => return complain(&error, FAILED),
        };
    let served = serve(config, signals, &log);
    // If nobody reads the log, the program ends nevertheless.
    let _ = log.finish(LAST_LINES);
    match served {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(UNANSWERED),
        Err(problem) => complain(&problem, FAILED),
    }
}

/// What happens while the server runs.
enum Event {
    Signal(Signal),
    /// The models were loaded for the first time, or could not be.
    Loaded(Result<(), String>),
}

/// Serves until a signal says to stop. Returns true if all that was accepted was answered.
fn serve(config: Config, signals: Signals, log: &LogThread) -> Result<bool, String> {
    let running = Running::start(config, log.sink())?;
    let (sender, events) = mpsc::channel();
    forward(signals, sender.clone());
    let reloads = load(running.loader(), sender);
    watch(&events, &reloads)?;
    Ok(running.drain())
}

/// Waits until the server has to stop.
fn watch(events: &Receiver<Event>, reloads: &SyncSender<()>) -> Result<(), String> {
    loop {
        match events.recv() {
            Ok(Event::Loaded(loaded)) => loaded?,
            // If one is waiting already, it will read what is there now.
            Ok(Event::Signal(Signal::Reload)) => drop(reloads.try_send(())),
            // The signal counts at once, also while models are being loaded.
            Ok(Event::Signal(Signal::Stop)) | Err(_) => return Ok(()),
        }
    }
}

/// Loads on a thread of its own: once, and then whenever it is asked for. Any number of requests that come
/// while it loads are one.
fn load(loader: Loader, events: Sender<Event>) -> SyncSender<()> {
    let (sender, asked) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let loaded = loader.load();
        let failed = loaded.is_err();
        // The receiver is gone once the server drains.
        let _ = events.send(Event::Loaded(loaded));
        while !failed && asked.recv().is_ok() {
            loader.reload();
        }
    });
    sender
}

/// Hands signals on. The second one that asks to stop ends the program at once.
fn forward(mut signals: Signals, events: Sender<Event>) {
    std::thread::spawn(move || {
        let mut stopping = false;
        loop {
            let signal = signals.wait();
            if signal == Signal::Stop && std::mem::replace(&mut stopping, true) {
                std::process::exit(i32::from(UNANSWERED));
            }
            // The receiver is gone once the server drains.
            let _ = events.send(Event::Signal(signal));
        }
    });
}

fn complain(problem: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // If that cannot be written, there is nobody to tell; the exit code says it all the same.
    let _ = writeln!(io::stderr().lock(), "mobilebert-serve: {problem}");
    ExitCode::from(code)
}
