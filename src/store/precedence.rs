//! Who goes first when more want to write than there are connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// For whom rows are written. The earlier ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precedence {
    /// For an operator who waits.
    Operation,
    /// For readers.
    Live,
    /// For a generation that readers may go back to, or see next.
    Standby,
    /// For a generation that is being built.
    Building,
}

/// A precedence that changes while it is in use: what stands by may become live. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedPrecedence(Arc<AtomicU8>);

impl SharedPrecedence {
    /// What it is now.
    pub fn get(&self) -> Precedence {
        match self.0.load(Ordering::Relaxed) {
            0 => Precedence::Operation,
            1 => Precedence::Live,
            2 => Precedence::Standby,
            _ => Precedence::Building,
        }
    }

    /// What it is from now on.
    pub fn set(&self, precedence: Precedence) {
        self.0.store(precedence as u8, Ordering::Relaxed);
    }
}

impl From<Precedence> for SharedPrecedence {
    fn from(precedence: Precedence) -> Self {
        Self(Arc::new(AtomicU8::new(precedence as u8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_sees_what_it_is_set_to() {
        let all = [Precedence::Operation, Precedence::Live, Precedence::Standby, Precedence::Building];
        let shared = SharedPrecedence::from(Precedence::Building);
        let seen = shared.clone();
        for precedence in all {
            shared.set(precedence);
            assert_eq!(seen.get(), precedence);
        }
        assert!(all.is_sorted());
    }
}
