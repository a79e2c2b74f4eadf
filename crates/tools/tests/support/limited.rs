//! Runs a reader of foreign bytes with little stack, and fails if it panics, takes long or takes much memory.

#[path = "../../../../tests/support/counting.rs"]
mod counting;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use counting::{HELD, MOST};

/// The stack of the thread that reads, which is an eighth of that of a thread of the standard library. The
/// readers need a fixed number of frames, whatever the input.
const STACK: usize = 256 * 1024;

/// A reader that takes longer than this counts as hanging. Each input takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lets only one reader count at a time.
static COUNTS: Mutex<()> = Mutex::new(());

/// Runs `work` and returns its result and the most bytes that it held. `what` names the input in the message
/// of a failure. An overflow of the stack ends the process; the last line that `--nocapture` shows is then
/// the culprit.
pub(crate) fn run<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> (T, usize) {
    let _alone = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    eprintln!("{what}");
    let (send, receive) = channel();
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let read = move || {
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        });
        let most = MOST.load(Ordering::Relaxed).saturating_sub(before);
        // Nobody waits any more for a reader that took too long.
        let _ = send.send((result, most));
    };
    let reader = thread::Builder::new().stack_size(STACK).spawn(read).unwrap();
    match receive.recv_timeout(PATIENCE) {
        Ok((Ok(result), most)) => {
            reader.join().unwrap();
            (result, most)
        }
        Ok((Err(panic), _)) => panic!("{what}: the reader panics: {panic}"),
        Err(RecvTimeoutError::Timeout) => panic!("{what}: the reader takes more than {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("{what}: the reader is gone"),
    }
}
