//! `readcast adopt`

use std::process::ExitCode;

use super::connect;
use super::{CommandError, Context, output};
use crate::control::StoreAccess;
use crate::schemes::Access;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast adopt --dry-run")]
pub(super) struct Arguments {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let access = if arguments.dry_run { Access::Read } else { Access::Write };
    let (source, store) = (connect::source(&context).await?, connect::store(&context, access).await?);
    let control = connect::control_over(&context, store, StoreAccess::Shared);
    let adoption = control.plan_adoption(&*source, connect::deployment(&context)?).await?;
    let ours = &adoption.ours;
    match &adoption.recorded {
        Some(recorded) => output::line(format_args!("The database belongs to {recorded}"))?,
        None => output::line("The database belongs to no deployment yet")?,
    }
    if arguments.dry_run {
        output::line(format_args!("`readcast adopt` would make it belong to {ours}. Nothing was changed"))?;
        return Ok(ExitCode::SUCCESS);
    }
    control.adopt(ours).await?;
    output::line(format_args!("The database now belongs to {ours}"))?;
    output::line("Positions did not change. Next: `readcast check` compares them with the log")?;
    Ok(ExitCode::SUCCESS)
}
