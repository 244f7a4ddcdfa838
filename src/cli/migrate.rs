//! `readcast migrate`

use std::process::ExitCode;

use super::connect::{self, Access};
use super::{Context, Refusal};

pub(super) async fn run(context: Context) -> Result<ExitCode, Refusal> {
    let store = connect::store(&context, Access::Write).await?;
    store.migrate().await.map_err(Refusal::failed)?;
    for definition in context.app.registry.definitions() {
        let generation = store.prepare(definition).await.map_err(Refusal::failed)?;
        let tables: Vec<_> = definition.tables().iter().map(|table| table.name()).collect();
        println!("{}: generation {} stands ({})", definition.name(), generation.0, tables.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}
