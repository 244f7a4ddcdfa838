//! `readcast adopt`: takes the place of the deployment that a database belongs to.

use std::process::ExitCode;

use super::connect;
use super::{Context, Refusal};
use crate::schemes::Access;
use crate::store::Deployment;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only say what would change; changes nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let access = if arguments.dry_run { Access::Read } else { Access::Write };
    let (source, store) = (connect::source(&context).await?, connect::store(&context, access).await?);
    let cluster_id = source.cluster_id().await.map_err(Refusal::failed)?;
    let ours = Deployment { cluster_id, ..connect::deployment(&context)? };
    let recorded = store.deployment().await.map_err(Refusal::failed)?;
    match &recorded {
        Some(recorded) => println!("The database belongs to {recorded}"),
        None => println!("The database belongs to no deployment yet"),
    }
    if arguments.dry_run {
        println!("It would belong to {ours}. Nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    store.migrate().await.map_err(Refusal::failed)?;
    store.deploy(&ours, true).await.map_err(Refusal::failed)?;
    println!(
        "It belongs to {ours} from now on. Positions are as they were: `readcast check` compares them with the log"
    );
    Ok(ExitCode::SUCCESS)
}
