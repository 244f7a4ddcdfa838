//! `readcast migrate`

use std::process::ExitCode;

use super::connect;
use super::operate::{changed, live};
use super::{Context, Refusal};
use crate::schemes::Access;

pub(super) async fn run(context: Context) -> Result<ExitCode, Refusal> {
    let store = connect::store(&context, Access::Write).await?;
    store.migrate().await.map_err(Refusal::failed)?;
    for definition in context.app.registry.definitions() {
        store.prepare(definition).await.map_err(Refusal::failed)?;
    }
    let generations = store.generations().await.map_err(Refusal::failed)?;
    for definition in context.app.registry.definitions() {
        let name = definition.name();
        let live = live(&generations, name, "migrate")?;
        let tables: Vec<_> = live.tables.iter().map(|table| table.name()).collect();
        println!("{name}: generation {} stands ({})", live.generation.0, tables.join(", "));
        if let Some(changed) = changed(definition, live) {
            println!("{name}: {changed}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
