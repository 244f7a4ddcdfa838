//! A projection that keeps, for each key, the list of the events that it was given: one too many, too few, or out of
//! order, shows. And the log and the store that it stands between.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use readcast::internals::operations::Policy;
use readcast::internals::plan::RecordPolicy;
use readcast::store::{
    Command, GenerationState, GenerationStatus, Operation, OperationState, ParkedIn, ParkedSequence, Selection,
    SettleAction, SettleRequest,
};
use readcast_core::{
    Changes, ColumnType, Definition, Envelope, Json, Projection, ProjectionError, Registry, TableSpec,
};
use serde::Deserialize;

use crate::rebuild::scene::{Instance, PARTITIONS, Scene, finished, rebuild};
use crate::support::eventually::{PATIENCE, eventually};

pub(crate) const NAME: &str = "diary";

/// What an event asks of the projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Note,
    Refuse,
    Panic,
    /// To make changes without end.
    Flood,
    /// To never end, without a change.
    Hang,
    /// To add so much that no column can hold it.
    Overflow,
}

#[derive(Deserialize)]
struct Data {
    n: u64,
    ask: Ask,
}

/// `diary (key, notes, sum)`. A later version does what is asked for without harm.
#[derive(Clone)]
pub(crate) struct Diary {
    /// As if the code had been corrected, and nothing else.
    pub(crate) mended: bool,
    pub(crate) version: u32,
    /// What hangs ends when nobody holds this any more: the test's runtime waits for its threads.
    pub(crate) hanging: Weak<()>,
}

impl Diary {
    /// As it is before anything is corrected.
    pub(crate) fn flawed() -> Self {
        Self { mended: false, version: 1, hanging: Weak::new() }
    }

    /// The corrected code.
    pub(crate) fn mended() -> Self {
        Self { mended: true, ..Self::flawed() }
    }

    pub(crate) fn definition(&self) -> Definition {
        Registry::new().register(self.clone()).definitions()[0].clone()
    }
}

pub(crate) fn table() -> TableSpec {
    TableSpec::new("diary")
        .key("key", ColumnType::Text)
        .with_default("notes", ColumnType::Json, Json::empty_array())
        .with_default("sum", ColumnType::I64, 0)
}

impl Projection for Diary {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn topics(&self) -> &[&str] {
        &["orders"]
    }

    fn event_types(&self) -> &[&str] {
        &["WRITTEN"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![table()]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let Data { n, ask } = event.data()?;
        let key = event.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default();
        let mut sum = 1;
        match ask {
            _ if self.mended => {}
            Ask::Note => {}
            Ask::Refuse => return Err("it will not have it".into()),
            Ask::Panic => panic!("over {n}"),
            Ask::Flood => loop {
                changes.upsert("diary", [format!("{key}{n}")]).add("sum", 1);
            },
            Ask::Hang => {
                while self.hanging.strong_count() > 0 {
                    std::thread::yield_now();
                }
            }
            Ask::Overflow => sum = i64::MAX,
        }
        changes.upsert("diary", [key]).append("notes", Json::parse(&n.to_string())?).add("sum", sum);
        Ok(())
    }
}

/// An event as a producer writes it.
pub(crate) fn event(id: &str, n: u64, ask: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","type":"WRITTEN","timestamp":"2024-05-20T14:30:00Z","data":{{"n":{n},"ask":"{ask}"}}}}"#
    )
}

/// The notes of every key.
pub(crate) type Notes = BTreeMap<String, Vec<u64>>;

/// A log and a store with a diary between them.
pub(crate) struct Desk {
    pub(crate) scene: Scene,
    pub(crate) record_policy: RecordPolicy,
    hanging: Arc<()>,
}

impl Desk {
    pub(crate) async fn on_postgres() -> Self {
        Self { scene: Scene::on_postgres().await, record_policy: RecordPolicy::default(), hanging: Arc::default() }
    }

    pub(crate) async fn on_sqlite() -> Self {
        Self { scene: Scene::on_sqlite().await, record_policy: RecordPolicy::default(), hanging: Arc::default() }
    }

    /// Appends event number `n` of `key`, with an id of its own.
    pub(crate) fn write(&self, key: &str, n: u64, ask: &str) {
        self.scene.append(key, event(&format!("{key}-{n}"), n, ask));
    }

    pub(crate) fn start(&self, diary: Diary) -> Instance {
        let registry = Registry::new().register(diary);
        let (source, store) = (Arc::new(self.scene.log.clone()), self.scene.store.clone());
        Instance::start_handling(source, store, "desk", registry, Policy::default(), self.record_policy.clone())
    }

    /// An instance as it is before anything is corrected.
    pub(crate) fn opens(&self) -> Instance {
        self.start(Diary { hanging: Arc::downgrade(&self.hanging), ..Diary::flawed() })
    }

    /// An instance with the corrected code.
    pub(crate) fn opens_mended(&self) -> Instance {
        self.start(Diary::mended())
    }

    pub(crate) async fn live(&self) -> GenerationStatus {
        self.scene.live().await
    }

    /// Waits until everything that is in the log is behind the live generation.
    pub(crate) async fn comes_to_the_end(&self) {
        self.generation_comes_to_the_end(None).await;
    }

    async fn generation_comes_to_the_end(&self, number: Option<i32>) {
        use readcast::source::Source;
        let extents = self.scene.log.extents(&["orders"]).await.unwrap();
        eventually("the log is projected to its end", 2 * PATIENCE, async || {
            let statuses = self.scene.store.generations().await.map_err(|error| error.to_string())?;
            let wanted = |status: &&GenerationStatus| match number {
                Some(number) => status.generation.0 == number,
                None => status.state == GenerationState::Live,
            };
            let status = statuses.iter().find(wanted).ok_or("no generation")?;
            let at_end = extents.iter().all(|(partition, extent)| {
                status.positions().get(partition).is_some_and(|next_offset| *next_offset >= extent.end)
            });
            if at_end { Ok(()) } else { Err(format!("{:?} {:?}", status.positions(), status.last_error)) }
        })
        .await;
    }

    pub(crate) async fn notes(&self) -> Notes {
        let rows = self.scene.rows(&table()).await;
        rows.into_iter().map(|row| (row[0].clone(), serde_json::from_str(&row[1]).unwrap())).collect()
    }

    pub(crate) async fn parked(&self) -> Vec<ParkedSequence> {
        let live = self.live().await;
        let of = ParkedIn { projection: NAME, generation: live.generation };
        self.scene.store.parked(of).await.unwrap()
    }

    /// What is parked: each key, the class of its first record, and how many records wait.
    pub(crate) async fn parked_keys(&self) -> BTreeMap<String, (String, u64)> {
        let key = |sequence: &ParkedSequence| {
            sequence.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or("-".into())
        };
        let class = |sequence: &ParkedSequence| {
            sequence.cause.as_ref().map_or("waiting".to_owned(), |cause| cause.class.to_string())
        };
        let parked = self.parked().await;
        parked.iter().map(|sequence| (key(sequence), (class(sequence), sequence.records))).collect()
    }

    pub(crate) async fn resolve(&self, selection: Selection, resolution: SettleAction) -> Operation {
        let definition_hash = Diary::flawed().definition().hash().to_owned();
        let command = Command::DeadLetters(SettleRequest { selection, resolution, definition_hash, reason: None });
        self.does(&command).await
    }

    /// Requests a command, and waits for its end.
    pub(crate) async fn does(&self, command: &Command) -> Operation {
        let id = self.scene.store.request(NAME, command, "a test").await.unwrap();
        finished(&*self.scene.store, NAME, id).await
    }

    pub(crate) async fn retry(&self, selection: Selection) -> Operation {
        self.resolve(selection, SettleAction::Retry { edited: None }).await
    }

    /// Rebuilds with the code of `diary` and asserts that readers see the same notes, and the same is parked.
    pub(crate) async fn survives_a_rebuild(&self, diary: &Diary) {
        let before = (self.notes().await, self.parked_keys().await);
        let command = Command::Rebuild(rebuild(&diary.definition()));
        let operation = self.does(&command).await;
        assert_eq!(operation.state, OperationState::Done, "{operation:?}");
        assert!(self.live().await.generation.0 > 1);
        assert_eq!((self.notes().await, self.parked_keys().await), before, "after the rebuild");
    }
}

pub(crate) fn of_key(key: &str) -> Selection {
    Selection { key: Some(key.into()), ..Selection::default() }
}

/// The partition of a key.
pub(crate) fn partition_of(key: &str) -> i32 {
    key.bytes().fold(7_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())).rem_euclid(PARTITIONS)
}
