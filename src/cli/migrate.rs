//! `readcast migrate`

use std::process::ExitCode;

use super::connect;
use super::{CommandError, Context, output};
use crate::control::{MigratedProjection, StoreAccess};
use crate::schemes::Access;

pub(super) async fn run(context: Context) -> Result<ExitCode, CommandError> {
    let store = connect::store(&context, Access::Write).await?;
    for migrated in connect::control_over(&context, store, StoreAccess::Shared).migrate().await? {
        let MigratedProjection { projection, live_generation, tables, definition_change } = migrated;
        let tables = tables.join(", ");
        output::line(format_args!("{projection}: generation {live_generation} is live, with the tables {tables}"))?;
        if let Some(change) = definition_change {
            output::line(format_args!("{projection}: {change}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
