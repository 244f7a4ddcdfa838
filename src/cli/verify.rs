//! `readcast verify`: folds the log once more, into tables of its own, and compares them with those that readers see,
//! with both at the same place of the log.

use std::process::ExitCode;

use super::operate::{Operator, builder, conclude, live};
use super::terminal::escape;
use super::{Context, Output, Refusal, registered};
use crate::store::{Command, Comparison, Operation};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The projection
    name: String,
    /// How the comparison is written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    registered(&context.app.registry, &arguments.name)?;
    let mut operator = Operator::at(&context, &arguments.name).await?;
    let generations = operator.generations().await?;
    let live = live(&generations, &arguments.name, "verify")?;
    let definition_hash = builder(&context, live)?.hash().to_owned();
    let operation = operator.see_through(&Command::Verify { definition_hash }).await?;
    let Some(proof) = proof(&operator, &operation).await? else { return conclude(&operation) };
    print(&proof, arguments.output)?;
    Ok(if proof.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How the generation that was made for this compared.
async fn proof(operator: &Operator<'_>, operation: &Operation) -> Result<Option<Comparison>, Refusal> {
    let Some(generation) = operation.generation else { return Ok(None) };
    let generations = operator.generations().await?;
    Ok(generations.into_iter().find(|found| found.generation == generation).and_then(|found| found.proof))
}

fn print(proof: &Comparison, output: Output) -> Result<(), Refusal> {
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(proof).map_err(Refusal::failed)?),
        Output::Table => {
            for table in &proof.tables {
                println!("{table}");
                for sample in &table.samples {
                    println!("  {}", escape(&sample.to_string()));
                }
            }
        }
    }
    Ok(())
}
