//! `readcast rebuild`: builds a projection's tables anew from the log, while readers go on reading the old ones.

mod place;
mod plan;

use std::process::ExitCode;

use self::place::StartPosition;
use super::operate::{Executor, Operator, builder, conclude, live};
use super::{Context, Output, Refusal, connect, registered};
use crate::store::{Command, GenerationStatus, Rebuild, RebuildStart};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The projection
    name: String,
    /// Stay until it is done, and do it here if no instance runs
    #[arg(long)]
    wait: bool,
    /// Leave the new generation ready, for `readcast activate`
    #[arg(long)]
    no_activate: bool,
    /// Only say what it would take; changes nothing
    #[arg(long, conflicts_with = "wait")]
    plan: bool,
    /// Even if the log no longer holds all that the live generation was built from
    #[arg(long)]
    accept_truncated: bool,
    /// Activate whatever the comparison with the live generation says
    #[arg(long)]
    accept_difference: bool,
    /// Make the indexes again on the new tables that somebody made on the live ones
    #[arg(long)]
    keep_indexes: bool,
    /// Where in the log it begins: `earliest`, with empty tables; or with a copy of the live rows at `live`, a time such
    /// as 2024-05-20T14:30:00Z, or TOPIC/PARTITION=OFFSET,…
    #[arg(long, value_name = "PLACE", default_value = "earliest")]
    from: StartPosition,
    /// Fold the rows of this record key once more, into the live tables, and nothing else
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with_all = ["no_activate", "plan", "accept_truncated", "accept_difference", "keep_indexes", "from", "max_live_lag", "max_impact"]
    )]
    key: Option<String>,
    /// Wait while the live generation lags by more than this; 0 for never [default: `max_live_lag` as configured]
    #[arg(long, value_name = "RECORDS")]
    max_live_lag: Option<u64>,
    /// The former name of `--max-live-lag`
    #[arg(long, value_name = "RECORDS", hide = true, conflicts_with = "max_live_lag")]
    max_impact: Option<u64>,
    /// How the plan is written
    #[arg(long, value_enum, default_value_t, requires = "plan")]
    output: Output,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    registered(&context.app.registry, &arguments.name)?;
    if arguments.plan {
        return plan::run(&context, &arguments).await;
    }
    let mut operator = Operator::at(&context, &arguments.name).await?;
    let generations = operator.generations().await?;
    let live = live(&generations, &arguments.name, "rebuild")?;
    let command = match &arguments.key {
        Some(key) => {
            Command::RefoldKey { key: key.clone(), definition_hash: builder(&context, live)?.hash().to_owned() }
        }
        None => Command::Rebuild(asked(&context, &arguments, live).await?),
    };
    if arguments.wait || arguments.key.is_some() {
        return conclude(&operator.see_through(&command).await?);
    }
    leave(&operator, &command).await
}

/// Leaves the command in the store, and says what will become of it.
async fn leave(operator: &Operator<'_>, command: &Command) -> Result<ExitCode, Refusal> {
    let id = operator.request(command).await?;
    let name = operator.projection;
    let next = match operator.executor(command).await.map_err(Refusal::failed)? {
        Executor::Theirs => "an instance that runs takes it within seconds",
        Executor::Ours => "it begins when an instance runs; `--wait` does it here",
        Executor::Nobodys => "the process that runs has another definition: it begins when one with this code runs",
    };
    println!("{name}: operation {id} is noted: {next}");
    println!("See how far it is with `readcast status`; take it back with `readcast cancel {name}`");
    Ok(ExitCode::SUCCESS)
}

/// The rebuild that the arguments describe.
async fn asked(context: &Context, arguments: &Arguments, live: &GenerationStatus) -> Result<Rebuild, Refusal> {
    let definition = registered(&context.app.registry, &arguments.name)?;
    let begin = match &arguments.from {
        StartPosition::Earliest => RebuildStart::Earliest,
        StartPosition::Live => RebuildStart::Live,
        place => place.resolve(&*connect::source(context).await?, definition.topics(), live).await?,
    };
    let configured = context.config.projection(&arguments.name);
    if arguments.max_impact.is_some() {
        tracing::warn!("--max-impact has a new name; write --max-live-lag");
    }
    let max_live_lag = arguments.max_live_lag.or(arguments.max_impact);
    Ok(Rebuild {
        definition_hash: definition.hash().to_owned(),
        begin,
        no_activate: arguments.no_activate,
        accept_truncated: arguments.accept_truncated,
        accept_difference: arguments.accept_difference,
        keep_indexes: arguments.keep_indexes || configured.keep_indexes,
        max_impact: max_live_lag.unwrap_or(configured.max_live_lag as u64),
    })
}
