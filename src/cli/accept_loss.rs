//! `readcast accept-loss`

use std::process::ExitCode;

use super::operate::operate;
use super::{CommandError, Context, connect, output};
use crate::control::registered;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast accept-loss order_summary --dry-run")]
pub(super) struct Arguments {
    /// The name of the projection
    name: String,
    /// Show what is lost, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments { name, dry_run } = arguments;
    registered(&context.app.registry, &name)?;
    if dry_run {
        return show_losses(&context, &name).await;
    }
    let control = connect::control(&context).await?;
    let command = control.accept_loss_command(&name).await?;
    operate(&context, control, &name, &command).await
}

async fn show_losses(context: &Context, name: &str) -> Result<ExitCode, CommandError> {
    let source = connect::source(context).await?;
    let losses = connect::reader(context).await?.losses(&*source, name).await?;
    if losses.is_empty() {
        output::line(format_args!("{name}: the log has lost no record that was still to be read"))?;
        return Ok(ExitCode::SUCCESS);
    }
    for loss in losses {
        output::line(format_args!("{name}: {loss}"))?;
    }
    let next = format!("restore the log; if you can't, `readcast accept-loss {name}`");
    output::line(format_args!("Nothing was changed. Next: {next}"))?;
    Ok(ExitCode::SUCCESS)
}
