//! Rows that depend on the order between partitions: a rebuild and `verify` find them, and operators are told.

use std::sync::Arc;

use readcast::internals::operations::Policy;
use readcast::store::{Command, GenerationState, NoticeKind, Operation, OperationState, RecordedNotice};
use readcast_core::{
    Changes, ColumnType, Definition, Envelope, Projection, ProjectionError, Reference, Registry, TableSpec,
};

use super::scene::{Instance, Scene, finished, rebuild};
use crate::support::eventually::{PATIENCE, eventually};

const ACCOUNTS: u64 = 300;
const OWNERS: u64 = 100;

/// The bank without references: it looks for the accounts of an owner when the owner gets another name.
#[derive(Clone, Copy)]
struct OldBank {
    refers: bool,
}

impl Projection for OldBank {
    fn name(&self) -> &str {
        "bank"
    }

    fn topics(&self) -> &[&str] {
        &["orders"]
    }

    fn event_types(&self) -> &[&str] {
        &["OPENED", "RENAMED"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let accounts = TableSpec::new("accounts")
            .key("account_id", ColumnType::I64)
            .nullable("owner_id", ColumnType::I64)
            .nullable("owner_name", ColumnType::Text);
        let owners = TableSpec::new("owners").key("owner_id", ColumnType::I64).nullable("name", ColumnType::Text);
        let reference = Reference::new(["owner_id"], "owners").copy_as("name", "owner_name");
        if self.refers { vec![owners, accounts.reference(reference)] } else { vec![accounts.index(["owner_id"])] }
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let [id, owner]: [i64; 2] = event.data()?;
        match &*event.event_type {
            "OPENED" => {
                changes.upsert("accounts", [id]).set("owner_id", owner);
            }
            _ if self.refers => {
                changes.upsert("owners", [owner]).set("name", format!("name {id}"));
            }
            _ => {
                changes.update_where("accounts", "owner_id", owner).set("owner_name", format!("name {id}"));
            }
        }
        Ok(())
    }
}

impl OldBank {
    fn definition(self) -> Definition {
        Registry::new().register(self).definitions()[0].clone()
    }
}

fn append(scene: &Scene, partition: i32, event_type: &str, data: [u64; 2]) {
    let [id, owner] = data;
    let event = format!(
        r#"{{"event_id":"{event_type}-{id}-{owner}","type":"{event_type}","timestamp":"2024-05-20T14:30:00Z","data":[{id},{owner}]}}"#
    );
    scene.log.append("orders", partition, Some("key"), event);
}

/// Accounts in one partition, and names in another.
fn write(scene: &Scene) {
    for account in 0..ACCOUNTS {
        append(scene, 0, "OPENED", [account, account % OWNERS]);
    }
    for owner in 0..OWNERS {
        append(scene, 2, "RENAMED", [owner, owner]);
    }
}

fn start(scene: &Scene, bank: OldBank) -> Instance {
    let (source, registry) = (Arc::new(scene.log.clone()), Registry::new().register(bank));
    Instance::start(source, scene.store.clone(), "order", registry, Policy::default())
}

async fn carry_out(scene: &Scene, command: &Command) -> Operation {
    let id = scene.store.request("bank", command, "a test").await.unwrap();
    let operation = finished(&*scene.store, "bank", id).await;
    assert_eq!(operation.state, OperationState::Done, "{operation:?}");
    operation
}

async fn notices(scene: &Scene) -> Vec<RecordedNotice> {
    let mut notices = scene.store.notices().await.unwrap();
    notices.retain(|notice| notice.kind == NoticeKind::OrderDependentRows);
    notices
}

async fn projected(scene: &Scene) {
    eventually("the log is projected", PATIENCE, async || {
        let statuses = scene.store.generations().await.unwrap();
        let live = statuses.iter().find(|status| status.state == GenerationState::Live).ok_or("nothing is live")?;
        let offsets: i64 = live.checkpoints.iter().map(|checkpoint| checkpoint.next_offset).sum();
        if offsets == (ACCOUNTS + OWNERS).cast_signed() { Ok(()) } else { Err("not yet") }
    })
    .await;
}

async fn what_a_search_gives_by_chance_is_found(scene: Scene) {
    write(&scene);
    let bank = OldBank { refers: false };
    let instance = start(&scene, bank);
    projected(&scene).await;
    assert_eq!(notices(&scene).await, [], "a live generation is not audited");
    let hash = bank.definition().hash().to_owned();
    let outcome = carry_out(&scene, &Command::Verify { definition_hash: hash }).await.outcome.unwrap();
    let dependent = "300 rows of `accounts` depend on the order between partitions: `set owner_id` from orders/0 and \
                     `update_where owner_id` from orders/2, such as 0; 1; 2";
    assert!(outcome.contains(dependent), "{outcome}");
    let told = notices(&scene).await;
    assert_eq!(told.iter().map(|notice| (notice.generation.0, notice.count)).collect::<Vec<_>>(), [(1, 300)]);
    assert!(told[0].text.starts_with("rows of `accounts` depend on the order between partitions"), "{told:?}");
    carry_out(
        &scene,
        &Command::Rebuild(readcast::store::Rebuild { accept_difference: true, ..rebuild(&bank.definition()) }),
    )
    .await;
    let told = notices(&scene).await;
    assert!(told.iter().any(|notice| (notice.generation.0, notice.count) == (3, 300)), "{told:?}");
    instance.stop().await;
}

async fn a_reference_is_no_finding(scene: Scene) {
    write(&scene);
    let bank = OldBank { refers: true };
    let instance = start(&scene, bank);
    projected(&scene).await;
    let hash = bank.definition().hash().to_owned();
    let outcome = carry_out(&scene, &Command::Verify { definition_hash: hash }).await.outcome.unwrap();
    assert_eq!(outcome, "the live tables hold exactly what the log makes of them: 400 rows");
    assert_eq!(notices(&scene).await, []);
    instance.stop().await;
}

mod on_postgres {
    use super::Scene;

    #[tokio::test]
    async fn what_a_search_gives_by_chance_is_found() {
        super::what_a_search_gives_by_chance_is_found(Scene::on_postgres().await).await;
    }

    #[tokio::test]
    async fn a_reference_is_no_finding() {
        super::a_reference_is_no_finding(Scene::on_postgres().await).await;
    }
}

mod on_sqlite {
    use super::Scene;

    #[tokio::test]
    async fn what_a_search_gives_by_chance_is_found() {
        super::what_a_search_gives_by_chance_is_found(Scene::on_sqlite().await).await;
    }

    #[tokio::test]
    async fn a_reference_is_no_finding() {
        super::a_reference_is_no_finding(Scene::on_sqlite().await).await;
    }
}
