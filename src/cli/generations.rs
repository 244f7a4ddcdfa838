//! `readcast activate`, `rollback`, `retire`, `cancel`, `pause`, `resume` and `rename`

use std::process::ExitCode;

use super::operate::operate;
use super::{CommandError, Context, connect, output};
use crate::control::{PauseScope, registered};
use crate::store::Command;

#[derive(clap::Args)]
pub(super) struct ProjectionName {
    /// The name of the projection
    name: String,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast activate order_summary")]
pub(super) struct Activate {
    /// The name of the projection
    name: String,
    /// Activate it whatever its comparison with the live generation says
    #[arg(long)]
    accept_difference: bool,
    /// Activate it even if columns change their types, which breaks readers that have prepared statements
    #[arg(long)]
    accept_type_change: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast rollback order_summary")]
pub(super) struct Rollback {
    /// The name of the projection
    name: String,
    /// Roll back although records that operators edited or discarded are parked in the earlier generation
    #[arg(long)]
    undo_decisions: bool,
}

#[derive(clap::Args)]
pub(super) struct Pause {
    /// The name of the projection
    name: String,
    /// Only the generation that a rebuild builds; the live one is not affected
    #[arg(long)]
    rebuild: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast rename order_summary orders")]
pub(super) struct Rename {
    /// The name that the store has
    old: String,
    /// The name that the code has
    new: String,
}

impl Pause {
    fn scope(&self) -> PauseScope {
        if self.rebuild { PauseScope::Rebuild } else { PauseScope::Projection }
    }

    /// What is paused or resumed, as the beginning of a sentence.
    fn subject(&self) -> String {
        if self.rebuild { format!("{}: the rebuild", self.name) } else { format!("{}: the projection", self.name) }
    }
}

pub(super) async fn activate(context: Context, arguments: Activate) -> Result<ExitCode, CommandError> {
    registered(&context.app.registry, &arguments.name)?;
    let Activate { name, accept_difference, accept_type_change } = arguments;
    let command = Command::Activate { accept_difference, accept_type_change };
    operate(&context, connect::control(&context).await?, &name, &command).await
}

pub(super) async fn rollback(context: Context, arguments: Rollback) -> Result<ExitCode, CommandError> {
    let name = &arguments.name;
    registered(&context.app.registry, name)?;
    let control = connect::control(&context).await?;
    if !arguments.undo_decisions {
        control.require_decisions_followed(name).await?;
    }
    operate(&context, control, name, &Command::Rollback).await
}

pub(super) async fn retire(context: Context, arguments: ProjectionName) -> Result<ExitCode, CommandError> {
    let control = connect::control(&context).await?;
    let command = control.retire_command(&arguments.name).await?;
    operate(&context, control, &arguments.name, &command).await
}

pub(super) async fn cancel(context: Context, arguments: ProjectionName) -> Result<ExitCode, CommandError> {
    let name = &arguments.name;
    match connect::control(&context).await?.cancel(name).await? {
        0 => output::line(format_args!("{name}: no operation is open, and nothing is being built"))?,
        1 => output::line(format_args!("{name}: cancelled 1 operation or generation"))?,
        count => output::line(format_args!("{name}: cancelled {count} operations and generations"))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn pause(context: Context, arguments: Pause) -> Result<ExitCode, CommandError> {
    let (name, subject) = (&arguments.name, arguments.subject());
    let flag = if arguments.rebuild { " --rebuild" } else { "" };
    match connect::control(&context).await?.pause(name, arguments.scope()).await? {
        0 => output::line(format_args!("{subject} has no generation that could be paused"))?,
        _ => output::line(format_args!("{subject} is paused. Next: `readcast resume {name}{flag}`"))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(context: Context, arguments: Pause) -> Result<ExitCode, CommandError> {
    let subject = arguments.subject();
    match connect::control(&context).await?.resume(&arguments.name, arguments.scope()).await? {
        0 => output::line(format_args!("{subject} was not paused"))?,
        _ => output::line(format_args!("{subject} is resumed"))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn rename(context: Context, arguments: Rename) -> Result<ExitCode, CommandError> {
    let Rename { old, new } = &arguments;
    let renamed = connect::control(&context).await?.rename(old, new).await?;
    output::line(format_args!("Renamed {old} to {new}, with its tables and positions"))?;
    if renamed.runs_under_old_name {
        let next = format!("restart it with code that has `{new}`");
        output::message(format_args!("an instance still runs the projection as `{old}`. Next: {next}"));
    }
    Ok(ExitCode::SUCCESS)
}
