//! `readcast dead-letters`

mod decisions;
mod export;
mod list;
mod selection;
mod settle;
mod show;

use std::process::ExitCode;

use indicatif::HumanBytes;

use super::{CommandError, Context};
use crate::control::ParkedTotal;
use crate::text::counted;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the parked keys: where, why, since when, and how many records
    List(list::Arguments),
    /// Show everything about one parked key
    Show(show::Arguments),
    /// Project parked records again, in the order of the log, up to the first that still fails
    Retry(settle::Retry),
    /// Leave out the first record of each parked key permanently, and project the records behind it
    Discard(settle::Discard),
    /// List what operators decided about records, and who did
    Decisions(decisions::Decisions),
    /// Take back the decision about a record
    Revoke(decisions::Revoke),
    /// Write parked records to standard output, one JSON object a line
    Export(export::Arguments),
}

pub(super) async fn run(context: Context, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::List(arguments) => list::run(&context, arguments).await,
        Command::Show(arguments) => show::run(&context, arguments).await,
        Command::Retry(arguments) => settle::retry(&context, arguments).await,
        Command::Discard(arguments) => settle::discard(&context, arguments).await,
        Command::Decisions(arguments) => decisions::decisions(&context, arguments).await,
        Command::Revoke(arguments) => decisions::revoke(&context, arguments).await,
        Command::Export(arguments) => export::run(&context, arguments).await,
    }
}

/// Such as `2 keys, 5 records, 1.20 KiB (unprojectable 2)`.
fn total_text(total: &ParkedTotal) -> String {
    let ParkedTotal { keys, records, bytes, by_class } = total;
    let classes: Vec<String> = by_class.iter().map(|(class, keys)| format!("{class} {keys}")).collect();
    let (keys, records, classes) = (counted(*keys, "key"), counted(*records, "record"), classes.join(", "));
    format!("{keys}, {records}, {} ({classes})", HumanBytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_shows_its_classes() {
        let one = ParkedTotal { keys: 1, records: 1_000, bytes: 1024, by_class: [("panicked", 1)].into() };
        assert_eq!(total_text(&one), "1 key, 1,000 records, 1.00 KiB (panicked 1)");
    }
}
