//! `readcast dead-letters retry` and `discard`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::selection::RequiredFlags;
use super::total_text;
use crate::cli::operate::operate;
use crate::cli::{CommandError, Context, connect, output};
use crate::control::registered;
use crate::store::{Selection, SettleAction};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast dead-letters retry order_summary --class unprojectable")]
pub(in crate::cli) struct Retry {
    /// The name of the projection
    name: String,
    #[command(flatten)]
    flags: RequiredFlags,
    /// Replace the value of the first record with the text of this file
    #[arg(long, value_name = "FILE", requires = "first", conflicts_with = "all")]
    edit: Option<PathBuf>,
    /// Show how much would be retried, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast dead-letters discard order_summary --first orders/3@17 --dry-run")]
pub(in crate::cli) struct Discard {
    /// The name of the projection
    name: String,
    #[command(flatten)]
    flags: RequiredFlags,
    /// Leave out the records behind the first too
    #[arg(long)]
    whole: bool,
    /// Show how much would be discarded, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn retry(context: &Context, arguments: Retry) -> Result<ExitCode, CommandError> {
    let selection = arguments.flags.selection()?;
    let edited = arguments.edit.as_deref().map(read_text).transpose()?;
    settle(context, &arguments.name, selection, SettleAction::Retry { edited }, arguments.dry_run).await
}

pub(super) async fn discard(context: &Context, arguments: Discard) -> Result<ExitCode, CommandError> {
    let selection = arguments.flags.selection()?;
    let action = SettleAction::Discard { whole: arguments.whole };
    settle(context, &arguments.name, selection, action, arguments.dry_run).await
}

fn read_text(file: &Path) -> Result<String, CommandError> {
    let failed = |error| CommandError::Failed(format!("--edit: can't read {} as UTF-8 text: {error}", file.display()));
    std::fs::read_to_string(file).map_err(failed)
}

async fn settle(
    context: &Context,
    name: &str,
    selection: Selection,
    action: SettleAction,
    dry_run: bool,
) -> Result<ExitCode, CommandError> {
    registered(&context.app.registry, name)?;
    if dry_run {
        return dry_run_of(context, name, &selection, &action).await;
    }
    let control = connect::control(context).await?;
    match control.settle_command(name, selection, action).await? {
        Some(command) => operate(context, control, name, &command).await,
        None => nothing_parked(name),
    }
}

async fn dry_run_of(
    context: &Context,
    name: &str,
    selection: &Selection,
    action: &SettleAction,
) -> Result<ExitCode, CommandError> {
    let total = connect::reader(context).await?.parked_total(name, selection).await?;
    let Some(total) = total else { return nothing_parked(name) };
    let what = match action {
        SettleAction::Retry { edited: None } => "would retry",
        SettleAction::Retry { edited: Some(_) } => "would retry, with another value for the first record,",
        SettleAction::Discard { whole: false } => "would discard the first record of each key, and retry the rest, of",
        SettleAction::Discard { whole: true } => "would discard",
    };
    output::line(format_args!("{name}: {what} {}. Nothing was changed", total_text(&total)))?;
    Ok(ExitCode::SUCCESS)
}

fn nothing_parked(name: &str) -> Result<ExitCode, CommandError> {
    output::line(format_args!("{name}: no parked key matches"))?;
    Ok(ExitCode::SUCCESS)
}
