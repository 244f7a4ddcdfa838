//! What lanes find in events that stops nothing, for the feed to report.

use std::sync::Mutex;

use crate::plan::{Plan, UnhandledTypes};

/// What the lanes of one feed have found and the feed has not reported.
#[derive(Debug, Default)]
pub struct EventFindings(Mutex<Found>);

/// Findings since the last report.
#[derive(Debug, Default)]
pub struct Found {
    /// How many events had no identity.
    pub unidentified: u64,
    /// The events of types that no projection handles.
    pub unhandled: UnhandledTypes,
}

impl EventFindings {
    /// Adds the findings of a plan that was committed.
    pub(super) fn add(&self, plan: &mut Plan) {
        self.put_back(Found { unidentified: plan.tally.unidentified, unhandled: std::mem::take(&mut plan.unhandled) });
    }

    /// Takes what there is.
    pub fn take(&self) -> Found {
        std::mem::take(&mut *self.lock())
    }

    /// Puts back what could not be reported.
    pub fn put_back(&self, found: Found) {
        if found.unidentified == 0 && found.unhandled.is_empty() {
            return;
        }
        let mut all = self.lock();
        all.unidentified += found.unidentified;
        all.unhandled.append(found.unhandled);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
