//! `readcast check`

use std::process::ExitCode;

use comfy_table::Table;

use super::connect;
use super::terminal::{escape_lines, json};
use super::{CommandError, Context, Output, output};
use crate::control::{Check, CheckInputs, run_checks};
use crate::schemes::Access;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast check --output json")]
pub(super) struct Arguments {
    /// The format of the output
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let checks = checks(&context).await?;
    match arguments.output {
        Output::Json => output::line(json(&checks)?)?,
        Output::Table => output::line(table(&checks))?,
    }
    Ok(if checks.iter().all(|check| check.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) async fn checks(context: &Context) -> Result<Vec<Check>, CommandError> {
    let source = connect::source(context).await?;
    let store = match connect::store(context, Access::Read).await {
        Ok(store) => Ok(store),
        Err(CommandError::Failed(problem)) => Err(problem),
        Err(error) => return Err(error),
    };
    let mut checks = vec![Check::new("configuration", Ok("is valid".into()))];
    let inputs = CheckInputs {
        registered: &context.app.registry,
        source: &*source,
        store,
        deployment: connect::deployment(context)?,
        max_connections: connect::instance(context).max_connections.unwrap_or_default(),
        options: &|name: &str| connect::options(context, name, false),
    };
    checks.extend(run_checks(inputs).await);
    Ok(checks)
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["", "CHECKED", "FINDING"]);
    for check in checks {
        table.add_row([verdict(check), &check.what, &escape_lines(&check.finding)]);
    }
    table
}

fn verdict(check: &Check) -> &'static str {
    match (check.ok, check.warning) {
        (false, _) => "PROBLEM",
        (true, true) => "WARNING",
        (true, false) => "ok",
    }
}
