//! The order in which writers get connections if there are fewer connections than writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The purpose of a write. Earlier variants are served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// An operation that an operator waits for.
    Operation,
    /// The live generation, which readers see.
    Live,
    /// A generation that readers may see again after a rollback, or see next.
    Standby,
    /// A generation that is being built.
    Building,
}

/// A priority that may change while it is used: a standby may become live. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedPriority(Arc<AtomicU8>);

impl SharedPriority {
    /// The current priority.
    pub fn get(&self) -> Priority {
        match self.0.load(Ordering::Relaxed) {
            0 => Priority::Operation,
            1 => Priority::Live,
            2 => Priority::Standby,
            _ => Priority::Building,
        }
    }

    /// Changes the priority, for all clones.
    pub fn set(&self, priority: Priority) {
        self.0.store(priority as u8, Ordering::Relaxed);
    }
}

impl From<Priority> for SharedPriority {
    fn from(priority: Priority) -> Self {
        Self(Arc::new(AtomicU8::new(priority as u8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_sees_what_it_is_set_to() {
        let all = [Priority::Operation, Priority::Live, Priority::Standby, Priority::Building];
        let shared = SharedPriority::from(Priority::Building);
        let seen = shared.clone();
        for priority in all {
            shared.set(priority);
            assert_eq!(seen.get(), priority);
        }
        assert!(all.is_sorted());
    }
}
