//! `readcast dead-letters export`

use std::process::ExitCode;

use super::selection::Flags;
use crate::cli::terminal::json_line;
use crate::cli::{CommandError, Context, connect, output};

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  readcast dead-letters export order_summary --class undecodable > undecodable.ndjson"
)]
pub(in crate::cli) struct Arguments {
    /// The name of the projection
    name: String,
    #[command(flatten)]
    flags: Flags,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let control = connect::reader(context).await?;
    let mut export = control.export_dead_letters(&arguments.name, &arguments.flags.selection()).await?;
    while let Some(records) = export.next_page().await? {
        for record in records {
            output::line(json_line(&record)?)?;
        }
        if output::is_closed() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
