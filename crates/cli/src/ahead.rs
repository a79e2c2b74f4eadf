//! Reads records on a thread of its own, ahead of the model.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::failure::Failure;
use super::input::Record;

/// The most records that are read ahead.
const RECORDS: usize = 64;
/// The most bytes of records that are read ahead, unless one record alone has more.
const BYTES: usize = 64 << 20;
/// The time after which a reader that waits for a record looks whether it should stop.
const PAUSE: Duration = Duration::from_millis(100);

type Read = Result<Record, Failure>;

/// The number of bytes that were read and not yet taken.
#[derive(Default)]
struct Held {
    bytes: Mutex<usize>,
    taken: Condvar,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: usize) {
        let mut held = self.lock();
        while *held > 0 && *held + bytes > BYTES {
            held = self.taken.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        *held += bytes;
    }

    fn remove(&self, bytes: usize) {
        let mut held = self.lock();
        *held = held.saturating_sub(bytes);
        self.taken.notify_all();
    }
}

/// The records that a thread has read.
struct Ahead {
    receiver: Option<Receiver<Read>>,
    held: Arc<Held>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

/// Reads records up to the first failure. The thread ends at the end of the input, or when the iterator is
/// dropped. If it panics, so does the iterator. The iterator ends early if `stop` is set while it waits. Where
/// the system starts no thread, records are read when they are wanted.
pub(super) fn read_ahead(
    records: impl Iterator<Item = Read> + Send + 'static,
    stop: Arc<AtomicBool>,
) -> Box<dyn Iterator<Item = Read>> {
    let held = Arc::new(Held::default());
    let (sender, receiver) = sync_channel(RECORDS);
    let of_thread = Arc::clone(&held);
    // A thread that is not started drops what it was given, so the records wait outside of it.
    let records = Arc::new(Mutex::new(Some(records)));
    let take = |records: &Mutex<Option<_>>| records.lock().unwrap_or_else(PoisonError::into_inner).take();
    let waiting = Arc::clone(&records);
    let started = thread::Builder::new().spawn(move || {
        for record in take(&waiting).into_iter().flatten() {
            let is_last = record.is_err();
            of_thread.add(size(&record));
            if sender.send(record).is_err() || is_last {
                break;
            }
        }
    });
    match started {
        Ok(thread) => Box::new(Ahead { receiver: Some(receiver), held, thread: Some(thread), stop }),
        Err(_) => Box::new(take(&records).into_iter().flatten()),
    }
}

fn size(record: &Read) -> usize {
    record.as_ref().map_or(0, Record::bytes)
}

impl Iterator for Ahead {
    type Item = Read;

    fn next(&mut self) -> Option<Read> {
        let receiver = self.receiver.as_ref()?;
        loop {
            match receiver.recv_timeout(PAUSE) {
                Ok(record) => {
                    self.held.remove(size(&record));
                    return Some(record);
                }
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::SeqCst) => return None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
        None
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // A thread that waits for room goes on, and finds that nobody takes its record.
        self.receiver = None;
        self.held.remove(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_no_end_of_the_input() {
        let failing = std::iter::from_fn(|| -> Option<Read> { panic!("the reader is broken") });
        let mut records = read_ahead(failing, Arc::default());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| records.next().is_none()));
        assert!(caught.is_err());
        assert!(read_ahead(std::iter::empty(), Arc::default()).next().is_none());
    }

    #[test]
    fn a_reader_that_waits_can_be_stopped() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let stop = Arc::new(AtomicBool::new(true));
        assert!(read_ahead(receiver.into_iter(), stop).next().is_none());
        drop::<std::sync::mpsc::Sender<Read>>(sender);
    }
}
