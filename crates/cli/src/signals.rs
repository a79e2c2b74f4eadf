//! Removes models and files of vectors that are under construction when a signal ends the program.

/// Cleans up at SIGTERM, which `timeout`, `systemd` and containers send. The caller handles Ctrl-C itself.
pub(super) fn clean_up_at_termination() {
    #[cfg(unix)]
    clean_up_at(&[signal_hook::consts::SIGTERM]);
}

/// Cleans up at Ctrl-C and at SIGTERM.
pub(super) fn clean_up_at_interrupt_and_termination() {
    #[cfg(unix)]
    clean_up_at(&[signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]);
}

/// Starts a thread that waits for the signals, cleans up, and then ends the program as the signal does by itself.
/// SIGHUP is not among them, because `nohup` has it ignored, and a handler would end that.
#[cfg(unix)]
fn clean_up_at(signals: &'static [i32]) {
    use mobilebert_tools::writer::remove_unfinished;
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    use super::failure::complain;

    let wait = move || {
        // Where no handler can be registered, the signal ends the program at once.
        let Ok(mut received) = Signals::new(signals) else { return };
        if let Some(signal) = received.forever().next() {
            // Until the program ends, this keeps others from failing, and from telling so.
            let removed = remove_unfinished();
            if removed.folders() > 0 {
                complain(format_args!("stopped; what was under construction has been removed"));
            }
            let _ = emulate_default_handler(signal);
        }
    };
    // Without a thread there is no handler, and the next run to the same destination removes what is left.
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
}
