//! Reads records on a thread of its own, ahead of the model.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::failure::Failure;
use super::input::Record;

/// The most records that are read ahead.
const RECORDS: usize = 64;
/// The most bytes of records that are read ahead, unless one record alone has more.
const BYTES: usize = 64 << 20;

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
}

/// Reads records up to the first failure. The thread ends with its input or with the iterator.
pub(super) fn read_ahead(records: impl Iterator<Item = Read> + Send + 'static) -> impl Iterator<Item = Read> {
    let held = Arc::new(Held::default());
    let (sender, receiver) = sync_channel(RECORDS);
    let ahead = Ahead { receiver: Some(receiver), held: Arc::clone(&held) };
    thread::spawn(move || {
        for record in records {
            let is_last = record.is_err();
            held.add(size(&record));
            if sender.send(record).is_err() || is_last {
                break;
            }
        }
    });
    ahead
}

fn size(record: &Read) -> usize {
    record.as_ref().map_or(0, Record::bytes)
}

impl Iterator for Ahead {
    type Item = Read;

    fn next(&mut self) -> Option<Read> {
        let record = self.receiver.as_ref()?.recv().ok()?;
        self.held.remove(size(&record));
        Some(record)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // A thread that waits for room goes on, and finds that nobody takes its record.
        self.receiver = None;
        self.held.remove(usize::MAX);
    }
}
