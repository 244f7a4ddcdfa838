//! Who goes first when more want to write than there are connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// For whom rows are written. The earlier ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// For an operator who waits.
    Operation,
    /// For readers.
    Live,
    /// For a generation that readers may go back to, or see next.
    Standby,
    /// For a generation that is being built.
    Building,
}

/// A priority that changes while it is in use: what stands by may become live. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedPriority(Arc<AtomicU8>);

impl SharedPriority {
    /// What it is now.
    pub fn get(&self) -> Priority {
        match self.0.load(Ordering::Relaxed) {
            0 => Priority::Operation,
            1 => Priority::Live,
            2 => Priority::Standby,
            _ => Priority::Building,
        }
    }

    /// What it is from now on.
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
