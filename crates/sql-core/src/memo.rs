//! What was computed last, so that a call that a query mentions twice costs one pass through the model.
//!
//! SQL engines evaluate `classify(text)` once for each field that is taken from it, once more for a filter,
//! and again for the rows that the filter keeps. The first kind has the same buffers, and is answered by the
//! last batches. The last kind has other buffers with the same texts, and is answered text by text.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array as _, ArrayRef};

use crate::texts::Argument;
use crate::value::Value;

/// One text, or a pair of them.
pub(crate) type Key<'a> = (&'a str, Option<&'a str>);

/// How much a memo holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The number of threads, each of which works on one batch at a time.
    pub(crate) threads: usize,
    /// The number of batches.
    pub(crate) batches: usize,
    /// The bytes of batches. One for each thread is kept even if they have more.
    pub(crate) batch_bytes: usize,
    /// About how many bytes texts and their values take.
    pub(crate) text_bytes: usize,
}

/// The last results of one call, for all threads.
#[derive(Debug)]
pub(crate) struct Memo {
    limits: Limits,
    /// The youngest one first.
    batches: Mutex<VecDeque<Batch>>,
    texts: Mutex<Texts>,
    hasher: RandomState,
}

/// The arguments of a batch and its result. It holds the arguments' buffers, so their addresses are not used
/// again for other texts.
#[derive(Debug)]
struct Batch {
    arguments: Vec<Argument>,
    result: ArrayRef,
    bytes: usize,
}

impl Batch {
    fn new(arguments: &[Argument], result: &ArrayRef) -> Self {
        let bytes_of = |argument: &Argument| match argument {
            Argument::Column(array) => array.get_array_memory_size(),
            Argument::Literal(text) => text.as_ref().map_or(0, String::len),
        };
        let bytes =
            arguments.iter().map(bytes_of).fold(result.get_array_memory_size(), usize::saturating_add);
        Self { arguments: arguments.to_vec(), result: Arc::clone(result), bytes }
    }
}

/// Texts by their hash. When the young ones have half of the memory, they become the old ones, and the old
/// ones go.
#[derive(Debug, Default)]
struct Texts {
    young: HashMap<u64, Entry>,
    old: HashMap<u64, Entry>,
    young_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    first: Box<str>,
    second: Option<Box<str>>,
    value: Arc<Value>,
}

impl Entry {
    fn has(&self, key: Key<'_>) -> bool {
        &*self.first == key.0 && self.second.as_deref() == key.1
    }

    fn bytes(&self) -> usize {
        // The last number is about what the map takes.
        let texts = self.first.len() + self.second.as_ref().map_or(0, |second| second.len());
        texts + self.value.heap_bytes() + size_of::<Self>() + size_of::<Value>() + 32
    }
}

impl Memo {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, batches: Mutex::default(), texts: Mutex::default(), hasher: RandomState::new() }
    }

    /// Returns the result for these very buffers.
    pub(crate) fn batch(&self, arguments: &[Argument]) -> Option<ArrayRef> {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let same = batches.iter().find(|batch| are_same(&batch.arguments, arguments));
        same.map(|batch| Arc::clone(&batch.result))
    }

    /// Keeps the result of a batch, and forgets the oldest ones that are beyond the limits.
    pub(crate) fn keep_batch(&self, arguments: &[Argument], result: &ArrayRef) {
        let batch = Batch::new(arguments, result);
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.push_front(batch);
        let mut bytes = 0_usize;
        let kept = batches.iter().take(self.limits.batches).enumerate().take_while(|(index, batch)| {
            bytes = bytes.saturating_add(batch.bytes);
            *index < self.limits.threads || bytes <= self.limits.batch_bytes
        });
        let kept = kept.count();
        batches.truncate(kept);
    }

    /// Returns the values of those texts that are known.
    pub(crate) fn texts(&self, keys: &[Key<'_>]) -> Vec<Option<Arc<Value>>> {
        let hashes: Vec<u64> = keys.iter().map(|key| self.hasher.hash_one(key)).collect();
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.limits.text_bytes / 2;
        keys.iter().zip(hashes).map(|(key, hash)| texts.get(*key, hash, limit)).collect()
    }

    /// Keeps the value of a text. It takes the place of another text with the same hash.
    pub(crate) fn keep_text(&self, key: Key<'_>, value: &Arc<Value>) {
        let limit = self.limits.text_bytes / 2;
        // A text that has no room is not copied.
        if key.0.len().saturating_add(key.1.map_or(0, str::len)) > limit {
            return;
        }
        let hash = self.hasher.hash_one(key);
        let entry = Entry { first: key.0.into(), second: key.1.map(Into::into), value: Arc::clone(value) };
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.insert(hash, entry, limit);
    }
}

impl Texts {
    fn get(&mut self, key: Key<'_>, hash: u64, limit: usize) -> Option<Arc<Value>> {
        if let Some(entry) = self.young.get(&hash).filter(|entry| entry.has(key)) {
            return Some(Arc::clone(&entry.value));
        }
        if !self.old.get(&hash).is_some_and(|entry| entry.has(key)) {
            return None;
        }
        let entry = self.old.remove(&hash)?;
        let value = Arc::clone(&entry.value);
        self.insert(hash, entry, limit);
        Some(value)
    }

    fn insert(&mut self, hash: u64, entry: Entry, limit: usize) {
        let bytes = entry.bytes();
        if bytes > limit {
            return;
        }
        if self.young_bytes + bytes > limit {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(hash, entry) {
            self.young_bytes -= before.bytes().min(self.young_bytes);
        }
    }
}

/// True if these are the same buffers and literals.
fn are_same(some: &[Argument], others: &[Argument]) -> bool {
    some.len() == others.len()
        && some.iter().zip(others).all(|pair| match pair {
            (Argument::Column(a), Argument::Column(b)) => {
                Arc::ptr_eq(a, b) || a.len() == b.len() && a.to_data().ptr_eq(&b.to_data())
            }
            (Argument::Literal(a), Argument::Literal(b)) => a == b,
            _ => false,
        })
}
