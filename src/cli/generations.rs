//! `readcast activate`, `rollback`, `retire`, `cancel`, `pause`, `resume` and `rename`: what is done with generations
//! that are there.

use std::process::ExitCode;

use super::operate::{Operator, conclude};
use super::{Context, Refusal, registered};
use crate::store::{Command, has_running_instance};

#[derive(clap::Args)]
pub(super) struct Named {
    /// The projection
    name: String,
}

#[derive(clap::Args)]
pub(super) struct Activate {
    /// The projection
    name: String,
    /// Whatever its comparison with the live generation said
    #[arg(long)]
    accept_difference: bool,
}

#[derive(clap::Args)]
pub(super) struct Pause {
    /// The projection
    name: String,
    /// Only what is being built; what readers see is fed on
    #[arg(long)]
    rebuild: bool,
}

#[derive(clap::Args)]
pub(super) struct Rename {
    /// The name that the store has
    old: String,
    /// The name that the code gives it from now on
    new: String,
}

pub(super) async fn activate(context: Context, arguments: Activate) -> Result<ExitCode, Refusal> {
    registered(&context.app.registry, &arguments.name)?;
    let command = Command::Activate { accept_difference: arguments.accept_difference };
    let operation = Operator::at(&context, &arguments.name).await?.see_through(&command).await?;
    conclude(&operation)
}

pub(super) async fn rollback(context: Context, arguments: Named) -> Result<ExitCode, Refusal> {
    registered(&context.app.registry, &arguments.name)?;
    let operation = Operator::at(&context, &arguments.name).await?.see_through(&Command::Rollback).await?;
    conclude(&operation)
}

pub(super) async fn retire(context: Context, arguments: Named) -> Result<ExitCode, Refusal> {
    let mut operator = Operator::at(&context, &arguments.name).await?;
    operator.known().await?;
    let operation = operator.see_through(&Command::Retire).await?;
    conclude(&operation)
}

pub(super) async fn cancel(context: Context, arguments: Named) -> Result<ExitCode, Refusal> {
    let name = &arguments.name;
    let operator = Operator::at(&context, name).await?;
    operator.known().await?;
    match operator.store.cancel(name, &context.config.operator).await.map_err(Refusal::failed)? {
        0 => println!("{name}: nothing was asked for, and nothing is being built"),
        count => println!("{name}: {count} operations and generations were given up"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn pause(context: Context, arguments: Pause) -> Result<ExitCode, Refusal> {
    let Pause { name, rebuild } = &arguments;
    let what = if *rebuild { "its rebuild" } else { "it" };
    let flag = if *rebuild { " --rebuild" } else { "" };
    match set_paused(&context, &arguments, true).await? {
        0 => println!("{name}: nothing to pause"),
        _ => println!("{name}: {what} stands still until `readcast resume {name}{flag}`"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(context: Context, arguments: Pause) -> Result<ExitCode, Refusal> {
    let Pause { name, rebuild } = &arguments;
    let what = if *rebuild { "its rebuild" } else { "it" };
    match set_paused(&context, &arguments, false).await? {
        0 => println!("{name}: nothing was paused"),
        _ => println!("{name}: {what} goes on"),
    }
    Ok(ExitCode::SUCCESS)
}

/// How many generations changed.
async fn set_paused(context: &Context, arguments: &Pause, paused: bool) -> Result<u64, Refusal> {
    let operator = Operator::at(context, &arguments.name).await?;
    operator.known().await?;
    let by = &context.config.operator;
    operator.store.pause(&arguments.name, paused, arguments.rebuild, by).await.map_err(Refusal::failed)
}

pub(super) async fn rename(context: Context, arguments: Rename) -> Result<ExitCode, Refusal> {
    let Rename { old, new } = &arguments;
    let operator = Operator::at(&context, old).await?;
    operator.known().await?;
    operator.store.rename(old, new, &context.config.operator).await.map_err(Refusal::failed)?;
    println!("{old} is {new} now, with its tables and its positions");
    let heartbeats = operator.store.heartbeats().await.map_err(Refusal::failed)?;
    if has_running_instance(&heartbeats, old, None) {
        eprintln!("readcast: an instance still runs it as `{old}`: restart it with code that names it `{new}`");
    }
    Ok(ExitCode::SUCCESS)
}
