//! Answers that cost much and are asked for again and again.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// How many answers are remembered.
const MOST: usize = 100_000;

/// What questions came to, by the digest of all that the answer depends on.
#[derive(Debug)]
pub(crate) struct Memory<V>(LazyLock<Mutex<HashMap<u128, V>>>);

impl<V: Clone> Memory<V> {
    /// Remembers nothing yet.
    pub(crate) const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    /// Returns the answer, if it is remembered.
    pub(crate) fn recall(&self, question: u128) -> Option<V> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(&question).cloned()
    }

    /// Remembers an answer; forgets all others when there are too many.
    pub(crate) fn keep(&self, question: u128, answer: V) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(question, answer);
    }
}
