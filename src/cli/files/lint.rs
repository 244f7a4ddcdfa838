//! `readcast lint`

use std::process::ExitCode;

use super::super::{CommandError, Context, output};
use crate::text::counted;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast lint --strict")]
pub(in crate::cli) struct Arguments {
    /// The projections to look at [default: all of the folder]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// End with exit code 1 if anything is suspicious
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let chosen = super::chosen(context, &arguments.names)?;
    let doubts: Vec<String> = chosen.iter().flat_map(|(_, projection)| projection.lint()).collect();
    for doubt in &doubts {
        output::line(doubt)?;
    }
    output::line(format_args!(
        "{} in {}",
        counted(doubts.len() as u64, "doubt"),
        counted(chosen.len() as u64, "file")
    ))?;
    Ok(if arguments.strict && !doubts.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
