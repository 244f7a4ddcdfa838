//! `readcast dead-letters retry` and `discard`: asks for it, and waits until it is done.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::parked;
use super::selection::Chosen;
use super::total::Total;
use crate::cli::connect;
use crate::cli::operate::{Operator, builder, conclude, live};
use crate::cli::{Context, Refusal, registered};
use crate::schemes::Access;
use crate::store::{Command, Selection, SettleAction, SettleRequest};

#[derive(clap::Args)]
pub(in crate::cli) struct Retry {
    /// The projection
    name: String,
    #[command(flatten)]
    chosen: Chosen,
    /// With the text of this file instead of the first record's value
    #[arg(long, value_name = "FILE", requires = "first", conflicts_with = "all")]
    edit: Option<PathBuf>,
    /// Only say how much that is; changes nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Discard {
    /// The projection
    name: String,
    #[command(flatten)]
    chosen: Chosen,
    /// Leave those behind the first out too
    #[arg(long)]
    whole: bool,
    /// Only say how much that is; changes nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn retry(context: &Context, arguments: Retry) -> Result<ExitCode, Refusal> {
    let selection = arguments.chosen.selection()?;
    let edited = arguments.edit.as_deref().map(text_of).transpose()?;
    let resolution = SettleAction::Retry { edited };
    settle(context, &arguments.name, selection, resolution, arguments.dry_run).await
}

pub(super) async fn discard(context: &Context, arguments: Discard) -> Result<ExitCode, Refusal> {
    let selection = arguments.chosen.selection()?;
    let resolution = SettleAction::Discard { whole: arguments.whole };
    settle(context, &arguments.name, selection, resolution, arguments.dry_run).await
}

fn text_of(file: &Path) -> Result<String, Refusal> {
    let told = |error| Refusal::Failed(format!("--edit: can't read {} as UTF-8 text: {error}", file.display()));
    std::fs::read_to_string(file).map_err(told)
}

async fn settle(
    context: &Context,
    name: &str,
    selection: Selection,
    resolution: SettleAction,
    dry_run: bool,
) -> Result<ExitCode, Refusal> {
    registered(&context.app.registry, name)?;
    if dry_run {
        return rehearse(context, name, &selection, &resolution).await;
    }
    let mut operator = Operator::at(context, name).await?;
    let generations = operator.generations().await?;
    let live = live(&generations, name, "settle")?;
    if parked(&*operator.store, live, &selection).await?.is_empty() {
        return Ok(nothing(name));
    }
    let definition_hash = builder(context, live)?.hash().to_owned();
    let command = Command::DeadLetters(SettleRequest { selection, resolution, definition_hash });
    conclude(&operator.see_through(&command).await?)
}

/// Says what would be done.
async fn rehearse(
    context: &Context,
    name: &str,
    selection: &Selection,
    resolution: &SettleAction,
) -> Result<ExitCode, Refusal> {
    let store = connect::store(context, Access::Read).await?;
    let generations = store.generations().await.map_err(Refusal::failed)?;
    let live = live(&generations, name, "settle")?;
    let meant = parked(&*store, live, selection).await?;
    if meant.is_empty() {
        return Ok(nothing(name));
    }
    let what = match resolution {
        SettleAction::Retry { edited: None } => "these would be tried again",
        SettleAction::Retry { edited: Some(_) } => "these would be tried again, the first record with another value",
        SettleAction::Discard { whole: false } => {
            "the first record of each would be left out, and those behind it tried again"
        }
        SettleAction::Discard { whole: true } => "all of these would be left out",
    };
    println!("{name}: {what}: {}. Nothing was changed", meant.iter().collect::<Total>());
    Ok(ExitCode::SUCCESS)
}

fn nothing(name: &str) -> ExitCode {
    println!("{name}: nothing of that is parked");
    ExitCode::SUCCESS
}
