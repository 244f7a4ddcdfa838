//! `readcast dead-letters list`

use std::collections::BTreeMap;
use std::process::ExitCode;

use comfy_table::{CellAlignment, Table};
use indicatif::HumanBytes;

use super::selection::Flags;
use super::total_text;
use crate::cli::terminal::json;
use crate::cli::{CommandError, Context, Output, connect, output};
use crate::control::{ListFilter, ParkedSummary, ParkedTotal};
use crate::store::PoisonClass;
use crate::text::escape;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast dead-letters list order_summary --class unprojectable")]
pub(in crate::cli) struct Arguments {
    /// The projection; without a name, all of them
    name: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// In this generation instead of the live one
    #[arg(long, value_name = "NUMBER", requires = "name")]
    generation: Option<i32>,
    /// The format of the output
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments { name, flags, generation, output: format } = arguments;
    let filter = ListFilter { projection: name, generation, selection: flags.selection() };
    let keys = connect::reader(context).await?.list_dead_letters(&filter).await?;
    match format {
        Output::Json => output::line(json(&keys)?)?,
        Output::Table => print(&keys)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Each record once, with the projections that have parked it for the same reason, in the order of the log.
fn by_record(keys: &[ParkedSummary]) -> impl Iterator<Item = (Vec<&str>, &ParkedSummary)> {
    let mut records = BTreeMap::<_, (Vec<&str>, &ParkedSummary)>::new();
    for parked in keys {
        let record = (&parked.topic, parked.partition, parked.offset, parked.class);
        let (projections, shown) = records.entry(record).or_insert_with(|| (Vec::new(), parked));
        projections.push(&parked.projection);
        // Each projection has parked only those of its event types behind it.
        if parked.records > shown.records {
            *shown = parked;
        }
    }
    records.into_values()
}

fn print(keys: &[ParkedSummary]) -> Result<(), CommandError> {
    let [oldest, ..] = keys else { return output::line("nothing is parked") };
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["PROJECTION", "FIRST", "KEY", "CLASS", "SINCE", "ATTEMPTS", "RECORDS", "BYTES"]);
    for column in [5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (projections, parked) in by_record(keys) {
        let ParkedSummary { first, key, class, since, attempts, records, bytes, .. } = parked;
        table.add_row([
            projections.join(", "),
            first.clone(),
            key.as_deref().map_or_else(|| "-".to_owned(), escape),
            class.map_or("-", PoisonClass::name).to_owned(),
            since.clone(),
            attempts.to_string(),
            records.to_string(),
            HumanBytes(*bytes).to_string(),
        ]);
    }
    output::line(table)?;
    let total = total_text(&keys.iter().collect::<ParkedTotal>());
    let ParkedSummary { projection, first, .. } = oldest;
    output::line(format_args!("\n{total}. Next: `readcast dead-letters show {projection} {first}`"))
}
