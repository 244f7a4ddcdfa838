//! `readcast dead-letters decisions` and `revoke`

use std::process::ExitCode;

use comfy_table::Table;
use readcast_core::Position;

use super::selection::Decider;
use crate::cli::position::position;
use crate::cli::{CommandError, Context, connect, output};
use crate::text::escape;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast dead-letters decisions order_summary")]
pub(in crate::cli) struct Decisions {
    /// The projection; without a name, all of them
    name: Option<String>,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast dead-letters revoke orders/3@17 --reason 'it was right after all'")]
pub(in crate::cli) struct Revoke {
    /// The position of the record, as TOPIC/PARTITION@OFFSET
    #[arg(value_name = "POSITION", value_parser = position)]
    record: Position,
    /// Only in this projection
    #[arg(long, value_name = "NAME")]
    projection: Option<String>,
    #[command(flatten)]
    decider: Decider,
}

pub(super) async fn decisions(context: &Context, arguments: Decisions) -> Result<ExitCode, CommandError> {
    let decisions = connect::reader(context).await?.decisions(arguments.name.as_deref()).await?;
    if decisions.is_empty() {
        output::line("no operator has decided about a record")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header([
        "PROJECTION",
        "RECORD",
        "DECISION",
        "BY",
        "AT",
        "REASON",
    ]);
    for (projection, decision) in decisions {
        let reason = decision.reason.as_deref().map_or_else(|| "-".to_owned(), escape);
        let (record, action) = (decision.position.to_string(), decision.amendment.action().to_owned());
        table.add_row([projection, record, action, escape(&decision.by), decision.at, reason]);
    }
    output::line(table)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes the decision back in each projection that has it.
pub(super) async fn revoke(context: &Context, arguments: Revoke) -> Result<ExitCode, CommandError> {
    let Revoke { record, projection, decider } = arguments;
    let source = connect::source(context).await?;
    let control = connect::control(context).await?.on_behalf_of(decider.by);
    let names = match &projection {
        Some(name) => vec![name.clone()],
        None => {
            let decisions = control.decisions(None).await?.into_iter();
            decisions.filter(|(_, decision)| decision.position == record).map(|(name, _)| name).collect()
        }
    };
    if names.is_empty() {
        let next = "Next: `readcast dead-letters decisions`";
        return Err(CommandError::Failed(format!("no operator has decided about {record}. {next}")));
    }
    for name in names {
        control.revoke(&*source, &name, &record, decider.reason.as_deref()).await?;
        let next =
            format!("`readcast rebuild {name} --wait --accept-difference` projects the record as it is in the log");
        output::line(format_args!(
            "{name}: the decision about {record} is revoked; rows stay as they are. Next: {next}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
