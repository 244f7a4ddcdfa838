//! `readcast verify`

use std::process::ExitCode;

use super::operate::{carry_out, conclude};
use super::terminal::json;
use super::{CommandError, Context, Output, connect, output};
use crate::control::registered;
use crate::store::Comparison;
use crate::text::escape;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast verify order_summary")]
pub(super) struct Arguments {
    /// The name of the projection
    name: String,
    /// The format of the comparison
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    registered(&context.app.registry, &arguments.name)?;
    let mut control = connect::control(&context).await?;
    let command = control.verify_command(&arguments.name).await?;
    let operation = carry_out(&context, &mut control, &arguments.name, &command).await?;
    let Some(comparison) = control.comparison(&operation).await? else { return conclude(operation) };
    match arguments.output {
        Output::Json => output::line(json(&comparison)?)?,
        Output::Table => show_comparison(&comparison)?,
    }
    Ok(if comparison.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints how many rows of each table differ, and the first of them.
pub(super) fn show_comparison(comparison: &Comparison) -> Result<(), CommandError> {
    for table in &comparison.tables {
        output::line(table)?;
        for sample in &table.samples {
            output::line(format_args!("  {}", escape(&sample.to_string())))?;
        }
    }
    Ok(())
}
