//! `readcast accept-loss`: lets a projection go on behind what the log has lost.

use std::collections::BTreeSet;
use std::process::ExitCode;

use super::connect;
use super::operate::{Operator, conclude, live};
use super::{Context, Refusal, registered};
use crate::operations::accept_loss::unreadable_checkpoints;
use crate::schemes::Access;
use crate::store::Command;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The projection
    name: String,
    /// Only say what is lost; changes nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let Arguments { name, dry_run } = arguments;
    registered(&context.app.registry, &name)?;
    if dry_run {
        return rehearse(&context, &name).await;
    }
    let mut operator = Operator::at(&context, &name).await?;
    live(&operator.generations().await?, &name, "lose")?;
    conclude(&operator.see_through(&Command::AcceptLoss).await?)
}

/// Says what would be accepted.
async fn rehearse(context: &Context, name: &str) -> Result<ExitCode, Refusal> {
    let (source, store) = (connect::source(context).await?, connect::store(context, Access::Read).await?);
    let mut generations = store.generations().await.map_err(Refusal::failed)?;
    generations.retain(|found| found.projection == name);
    let live = live(&generations, name, "lose")?;
    let topics: BTreeSet<&str> = live.checkpoints.iter().map(|held| &*held.partition.topic).collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    let extents = source.extents(&topics).await.map_err(Refusal::failed)?;
    let unreadable = unreadable_checkpoints(&generations, &extents);
    if unreadable.is_empty() {
        println!("{name}: the log has lost nothing that was still to be read");
        return Ok(ExitCode::SUCCESS);
    }
    unreadable.iter().for_each(|checkpoint| println!("{name}: {}", checkpoint.description));
    println!("Nothing was changed. If none of that can be restored: `readcast accept-loss {name}`");
    Ok(ExitCode::SUCCESS)
}
