//! The program `mobilebert-serve`: settings, signals, exit codes.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};

use mobilebert_serve::config::ConfigError;
use mobilebert_serve::{Config, Running, Signal, Signals};

/// A model or an address cannot be used.
const FAILED: u8 = 1;
/// Wrong usage. This is the number that clap uses.
const USAGE: u8 = 2;
/// The server stopped before all that was accepted was answered.
const UNANSWERED: u8 = 5;

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
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => return complain(&error, FAILED),
    };
    let running = match Running::start(config, Box::new(io::stderr())) {
        Ok(running) => running,
        Err(problem) => return complain(&problem, FAILED),
    };
    let asked = forward(signals);
    // A signal that comes while models are loaded waits until they are.
    if let Err(problem) = running.load() {
        return complain(&problem, FAILED);
    }
    while asked.recv() == Ok(Signal::Reload) {
        running.reload();
    }
    match running.drain() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(UNANSWERED),
    }
}

/// Hands signals on. The second one that asks to stop ends the program at once.
fn forward(mut signals: Signals) -> Receiver<Signal> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stopping = false;
        loop {
            let signal = signals.wait();
            if signal == Signal::Stop && std::mem::replace(&mut stopping, true) {
                std::process::exit(i32::from(UNANSWERED));
            }
            // The receiver is gone once the server drains.
            let _ = sender.send(signal);
        }
    });
    receiver
}

fn complain(problem: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // If that cannot be written, nobody has to be told.
    let _ = writeln!(io::stderr().lock(), "mobilebert-serve: {problem}");
    ExitCode::from(code)
}
