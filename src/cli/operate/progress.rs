//! The progress of an operation: a bar on a terminal, a log line now and then elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::control::progress_text;
use crate::store::OperationProgress;

/// How often progress is logged where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Shows the progress of one operation, until it is dropped.
pub(in crate::cli) struct ProgressDisplay {
    /// The projection, or what else is shown before the bar.
    projection: String,
    /// Where standard error is a terminal.
    bar: Option<ProgressBar>,
    logged_at: Option<Instant>,
}

impl ProgressDisplay {
    pub(in crate::cli) fn new(projection: &str) -> Self {
        const TEMPLATE: &str = "{prefix:20} {bar:30} {msg}";
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style).with_prefix(projection.to_owned())
        });
        Self { projection: projection.to_owned(), bar, logged_at: None }
    }

    pub(in crate::cli) fn show(&mut self, progress: &OperationProgress) {
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(progress_text(progress));
        } else if self.logged_at.is_none_or(|logged_at| logged_at.elapsed() >= LOG_INTERVAL) {
            self.logged_at = Some(Instant::now());
            tracing::info!(projection = self.projection, "{}", progress_text(progress));
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
