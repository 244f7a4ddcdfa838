//! `readcast rebuild`

mod plan;

use std::process::ExitCode;

use super::operate::operate;
use super::{CommandError, Context, Output, connect, output};
use crate::control::{Executor, RebuildRequest, RequestedOperation, StartPosition, registered};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast rebuild order_summary --wait")]
pub(super) struct Arguments {
    /// The name of the projection
    name: String,
    /// Wait until it is done; this process does the work if no instance runs
    #[arg(long)]
    wait: bool,
    /// Leave the new generation ready, for `readcast activate`
    #[arg(long)]
    no_activate: bool,
    /// Show what the rebuild would take, and change nothing
    #[arg(long, conflicts_with = "wait")]
    plan: bool,
    /// Rebuild even if the log no longer has everything that the live generation was built from
    #[arg(long)]
    accept_truncated: bool,
    /// Activate the new generation whatever the comparison with the live one says
    #[arg(long)]
    accept_difference: bool,
    /// Rebuild even if columns change their types, which breaks readers that have prepared statements
    #[arg(long)]
    accept_type_change: bool,
    /// Create the indexes that users created on the live tables on the new tables too
    #[arg(long)]
    keep_indexes: bool,
    /// Where in the log the rebuild begins: `earliest`, with empty tables; or, with a copy of the live rows, `live`, a
    /// time such as 2024-05-20T14:30:00Z, or TOPIC/PARTITION=OFFSET,…
    #[arg(long, value_name = "POSITION", default_value = "earliest")]
    from: StartPosition,
    /// Fold the rows of this record key again, into the live tables, and nothing else
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with_all = ["no_activate", "plan", "accept_truncated", "accept_difference", "accept_type_change", "keep_indexes", "from", "max_live_lag", "max_impact"]
    )]
    key: Option<String>,
    /// Pause while the live generation lags by more records than this; 0 for never [default: `max_live_lag` as configured]
    #[arg(long, value_name = "RECORDS")]
    max_live_lag: Option<u64>,
    /// The former name of `--max-live-lag`
    #[arg(long, value_name = "RECORDS", hide = true, conflicts_with = "max_live_lag")]
    max_impact: Option<u64>,
    /// The format of the plan
    #[arg(long, value_enum, default_value_t, requires = "plan")]
    output: Output,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let name = &arguments.name;
    let request = request(&context, &arguments);
    if arguments.plan {
        return plan::run(&context, name, &request, arguments.output).await;
    }
    registered(&context.app.registry, name)?;
    let control = connect::control(&context).await?;
    let command = match &arguments.key {
        Some(key) => control.refold_command(name, key).await?,
        None => control.rebuild_command(&*connect::source(&context).await?, name, &request).await?,
    };
    if arguments.wait || arguments.key.is_some() {
        return operate(&context, control, name, &command).await;
    }
    let RequestedOperation { id, executor } = control.request(name, &command).await?;
    let next = match executor {
        Executor::RunningInstance => "an instance that runs starts it within seconds",
        Executor::ThisProcess => "it starts when an instance runs; with `--wait`, this command does the work",
        Executor::Nobody => "it starts when an instance with this code runs; the process that runs has other code",
    };
    output::line(format_args!("{name}: operation {id} is requested: {next}"))?;
    output::line(format_args!(
        "Next: `readcast status {name}` shows its progress; `readcast cancel {name}` cancels it"
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn request(context: &Context, arguments: &Arguments) -> RebuildRequest {
    let configured = context.config.projection(&arguments.name);
    if arguments.max_impact.is_some() {
        tracing::warn!("--max-impact has a new name; write --max-live-lag");
    }
    let max_live_lag = arguments.max_live_lag.or(arguments.max_impact);
    RebuildRequest {
        from: arguments.from.clone(),
        no_activate: arguments.no_activate,
        accept_truncated: arguments.accept_truncated,
        accept_difference: arguments.accept_difference,
        accept_type_change: arguments.accept_type_change,
        keep_indexes: arguments.keep_indexes || configured.keep_indexes,
        max_live_lag: max_live_lag.unwrap_or(configured.max_live_lag as u64),
    }
}
