//! `readcast dead-letters retry` and `discard`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::selection::{Decider, RequiredFlags, Target};
use super::total_text;
use crate::cli::operate::{carry_out, conclude};
use crate::cli::{CommandError, Context, connect, output};
use crate::control::EditPreview;
use crate::store::{Selection, SettleAction};
use crate::text::escape;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast dead-letters retry --first orders/3@17 --reason 'corrected the price'")]
pub(in crate::cli) struct Retry {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    flags: RequiredFlags,
    /// Replace the value of the first record with the text of this file. One key must match
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    edit: Option<PathBuf>,
    #[command(flatten)]
    decider: Decider,
    /// Show what would be retried, and what an edit would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast dead-letters discard --first orders/3@17 --dry-run")]
pub(in crate::cli) struct Discard {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    flags: RequiredFlags,
    /// Leave out the records behind the first too
    #[arg(long)]
    whole: bool,
    #[command(flatten)]
    decider: Decider,
    /// Show how much would be discarded, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is settled, how, and on whose behalf.
struct Request {
    target: Target,
    selection: Selection,
    action: SettleAction,
    decider: Decider,
    dry_run: bool,
}

pub(super) async fn retry(context: &Context, arguments: Retry) -> Result<ExitCode, CommandError> {
    let Retry { target, flags, edit, decider, dry_run } = arguments;
    let action = SettleAction::Retry { edited: edit.as_deref().map(read_text).transpose()? };
    settle(context, Request { target, selection: flags.selection()?, action, decider, dry_run }).await
}

pub(super) async fn discard(context: &Context, arguments: Discard) -> Result<ExitCode, CommandError> {
    let Discard { target, flags, whole, decider, dry_run } = arguments;
    let action = SettleAction::Discard { whole };
    settle(context, Request { target, selection: flags.selection()?, action, decider, dry_run }).await
}

fn read_text(file: &Path) -> Result<String, CommandError> {
    let failed = |error| CommandError::Failed(format!("--edit: can't read {} as UTF-8 text: {error}", file.display()));
    std::fs::read_to_string(file).map_err(failed)
}

/// Settles the selected keys in each projection that has parked them. One that fails does not keep the others back.
async fn settle(context: &Context, request: Request) -> Result<ExitCode, CommandError> {
    let names = request.target.projections(context, &request.selection).await?;
    let mut previews = Vec::new();
    // Before anything is changed anywhere.
    if let SettleAction::Retry { edited: Some(text) } = &request.action {
        let reader = connect::reader(context).await?;
        for name in &names {
            let policy = connect::record_policy(context, &context.config.projection(name));
            previews.push((name, reader.preview_edit(name, &request.selection, text, &policy).await?));
        }
    }
    let mut code = ExitCode::SUCCESS;
    for name in &names {
        let settled = match request.dry_run {
            true => rehearse(context, name, &request).await,
            false => settle_one(context, name, &request).await,
        };
        if let Err(error) = settled {
            // The last failure is reported as those of every command are.
            if names.len() == 1 {
                return Err(error);
            }
            output::message(escape(&error.to_string()));
            code = ExitCode::FAILURE;
        }
    }
    if request.dry_run {
        previews.iter().try_for_each(|(name, preview)| print_preview(name, preview))?;
    }
    Ok(code)
}

async fn settle_one(context: &Context, name: &str, request: &Request) -> Result<(), CommandError> {
    let Request { selection, action, decider, .. } = request;
    let mut control = connect::control(context).await?.on_behalf_of(decider.by.clone());
    let command = control.settle_command(name, selection.clone(), action.clone(), decider.reason.clone()).await?;
    let Some(command) = command else { return nothing_parked(name) };
    conclude(carry_out(context, &mut control, name, &command).await?).map(drop)
}

async fn rehearse(context: &Context, name: &str, request: &Request) -> Result<(), CommandError> {
    let total = connect::reader(context).await?.parked_total(name, &request.selection).await?;
    let Some(total) = total else { return nothing_parked(name) };
    let what = match request.action {
        SettleAction::Retry { edited: None } => "would retry",
        SettleAction::Retry { edited: Some(_) } => "would retry, with another value for the first record,",
        SettleAction::Discard { whole: false } => "would discard the first record of each key, and retry the rest, of",
        SettleAction::Discard { whole: true } => "would discard",
    };
    output::line(format_args!("{name}: {what} {}. Nothing was changed", total_text(&total)))
}

/// What the edited record would change.
fn print_preview(name: &str, preview: &EditPreview) -> Result<(), CommandError> {
    let EditPreview { position, event_type, changes } = preview;
    let nothing = if changes.is_empty() { " nothing" } else { "" };
    output::line(format_args!("{name}: {position} as `{}` would change:{nothing}", escape(event_type)))?;
    changes.iter().try_for_each(|change| output::line(format_args!("  {}", escape(change))))
}

fn nothing_parked(name: &str) -> Result<(), CommandError> {
    output::line(format_args!("{name}: no parked key matches"))
}
