//! Keeps the memory of finished passes for the next ones.

use std::sync::{Mutex, MutexGuard, TryLockError};

use super::arena::{Arena, lock};
use crate::backend::parallel;

/// The arenas that no pass is using. There are as many arenas as passes have run at the same time.
pub(super) struct Scratch {
    arenas: Mutex<Vec<Arena>>,
    process: u32,
}

/// How often a forked process tries a lock that a thread of its parent may have left locked.
const TRIES: usize = 100;

impl Scratch {
    pub(super) fn new() -> Self {
        Self { arenas: Mutex::default(), process: parallel::process() }
    }

    /// Takes the arena that was used last, or an empty one if there is none.
    pub(super) fn take(&self) -> Arena {
        self.kept().and_then(|mut kept| kept.pop()).unwrap_or_default()
    }

    /// Keeps an arena for the next pass.
    pub(super) fn put(&self, arena: Arena) {
        if let Some(mut kept) = self.kept() {
            kept.push(arena);
        }
    }

    /// Bytes of all arenas that no pass is using.
    pub(super) fn bytes(&self) -> usize {
        self.kept().map_or(0, |mut kept| kept.iter_mut().map(Arena::bytes).sum())
    }

    /// Frees all arenas that no pass is using.
    pub(super) fn trim(&self) {
        let arenas = self.kept().map(|mut kept| std::mem::take(&mut *kept));
        // Unmapping memory takes long, so the lock is released first.
        drop(arenas);
    }

    /// The stored arenas. `None` in a forked process if a thread of its parent held the lock at the moment of
    /// the fork.
    fn kept(&self) -> Option<MutexGuard<'_, Vec<Arena>>> {
        if self.process == parallel::process() {
            return Some(lock(&self.arenas));
        }
        (0..TRIES).find_map(|_| match self.arenas.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                std::thread::yield_now();
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_a_fork_left_behind_stops_nobody() {
        let mut scratch = Scratch::new();
        scratch.process += 1;
        scratch.put(Arena::default());
        assert_eq!(scratch.arenas.lock().unwrap().len(), 1);
        let left_behind = scratch.arenas.lock().unwrap();
        scratch.put(scratch.take());
        scratch.trim();
        assert_eq!(scratch.bytes(), 0);
        assert_eq!(left_behind.len(), 1);
    }
}
