//! `readcast status`

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table};

use super::terminal::json;
use super::{CommandError, Context, Output, connect, output};
use crate::control::{ControlErrorKind, PartitionStatus, StatusReport, StatusTotals};
use crate::text::{counted, escape};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast status order_summary")]
pub(super) struct Arguments {
    /// The projections; without a name, all of them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The format of the output
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let source = connect::source(&context).await?;
    let control = connect::reader(&context).await?;
    let report = control.status(&*source, &arguments.names).await?;
    report.unknown.iter().for_each(|unknown| output::message(escape(unknown)));
    match arguments.output {
        Output::Json => output::line(json(&report)?)?,
        Output::Table => {
            let deployment = control.check_deployment(&connect::deployment(&context)?).await;
            output::line(table(&report))?;
            output::line(format_args!("\n{}", totals(&report.totals)))?;
            match deployment {
                Err(error) if error.kind() == ControlErrorKind::Conflict => {
                    output::line(format_args!("\n{}", escape(&error.to_string())))?;
                }
                checked => checked?,
            }
            for remark in &report.remarks {
                output::line(format_args!("\n{}", escape(&remark.to_string())))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(report: &StatusReport) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["PROJECTION", "GEN", "STATE", "TOPIC", "PARTITION", "NEXT", "END", "LAG", "WINDOW", "UPDATED"]);
    for column in [1, 4, 5, 6, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for status in &report.partitions {
        table.add_row([
            status.projection.clone(),
            cell(status.generation.map(|generation| generation.to_string())),
            state(status),
            status.topic.clone(),
            status.partition.to_string(),
            cell(status.next_offset.map(|offset| offset.to_string())),
            cell(status.end_offset.map(|offset| offset.to_string())),
            cell(status.lag.map(|lag| lag.to_string())),
            cell(status.duplicate_window.map(window)),
            cell(status.updated_at.clone()),
        ]);
    }
    table
}

/// Over how many offsets duplicates are recognised.
fn window(offsets: i64) -> String {
    match offsets {
        0 => "off".to_owned(),
        offsets => offsets.to_string(),
    }
}

/// The state, with what belongs to it.
fn state(status: &PartitionStatus) -> String {
    match (status.state, status.phase, &status.standby_until) {
        ("building", Some(phase), _) => format!("building ({})", phase.replace('_', " ")),
        ("standby", _, Some(until)) => format!("standby until {until}"),
        (state, _, _) => state.to_owned(),
    }
}

/// Such as `3 projections, 20 records behind, 5 records of 2 keys parked`.
fn totals(totals: &StatusTotals) -> String {
    let StatusTotals { projections, records_behind, parked_keys, parked_records } = *totals;
    let lag = match records_behind {
        Some(records) => format!("{} behind", counted(records, "record")),
        None => "lag unknown".to_owned(),
    };
    let parked = match parked_records {
        0 => "nothing parked".to_owned(),
        records => format!("{} of {} parked", counted(records, "record"), counted(parked_keys, "key")),
    };
    format!("{}, {lag}, {parked}", counted(projections, "projection"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_one_line_with_plurals() {
        let none = StatusTotals { projections: 1, records_behind: Some(0), ..StatusTotals::default() };
        assert_eq!(totals(&none), "1 projection, 0 records behind, nothing parked");
        let some = StatusTotals { projections: 3, records_behind: Some(20_000), parked_keys: 1, parked_records: 5 };
        assert_eq!(totals(&some), "3 projections, 20,000 records behind, 5 records of 1 key parked");
        let unknown = StatusTotals { records_behind: None, ..none };
        assert_eq!(totals(&unknown), "1 projection, lag unknown, nothing parked");
    }
}
