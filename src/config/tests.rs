//! The configuration that several layers make together.

mod errors;
mod names;
mod secrets;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

const REGISTERED: [&str; 3] = ["customer_orders", "order_summary", "product_sales"];

/// A file, an environment and flags.
#[derive(Default)]
struct Layers {
    file: &'static str,
    environment: Vec<(&'static str, String)>,
    flags: Overrides,
}

impl Layers {
    fn file(file: &'static str) -> Self {
        Self { file, ..Self::default() }
    }

    fn environment<const N: usize>(mut self, variables: [(&'static str, &str); N]) -> Self {
        self.environment.extend(variables.map(|(name, value)| (name, value.to_owned())));
        self
    }

    /// The configuration, or the error with the file's directory taken out.
    fn load(self) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("readcast.toml");
        std::fs::write(&path, self.file).unwrap();
        let overrides = Overrides { config: Some(path), ..self.flags };
        let environment = self.environment.into_iter().collect();
        let directory = format!("{}/", directory.path().display());
        Config::load(&overrides, &environment, &REGISTERED).map_err(|error| error.to_string().replace(&directory, ""))
    }

    fn error(self) -> String {
        self.load().unwrap_err()
    }
}

fn kafka(config: &Config) -> KafkaProperties {
    match config.source().unwrap() {
        SourceOptions::Kafka { properties, .. } => properties.clone(),
        other => panic!("{other:?}"),
    }
}

fn store_url(config: &Config) -> String {
    match config.store().unwrap() {
        StoreOptions::Postgres { url, .. } => url.first().to_string(),
        StoreOptions::Sqlite { path } => format!("sqlite:{}", path.display()),
        StoreOptions::Other { url, .. } => url.expose().to_owned(),
    }
}

#[test]
fn the_defaults_need_nothing() {
    let config = Layers::default().load().unwrap();
    assert_eq!(config.admin, AdminOptions { listen: SocketAddr::from(([127, 0, 0, 1], 8088)), token: None });
    let projector =
        ProjectorOptions { app: "readcast".into(), drain: Duration::from_secs(10), duplicate_memory: 64 << 20 };
    assert_eq!(config.projector, projector);
    let options = ProjectionOptions {
        group: "readcast.order_summary".into(),
        lanes: 2,
        batch_records: 10_000,
        batch_bytes: 8_388_608,
        buffer_bytes: 33_554_432,
        rebuild_on_change: false,
        standby: Duration::from_secs(86_400),
        swap_lock_timeout: Duration::from_millis(100),
        max_row_loss_percent: 5,
        max_live_lag: 10_000,
        keep_indexes: false,
        stall_after: Duration::from_secs(60),
        max_parked: 10_000,
        max_parked_per_key: 1_000,
        max_record_bytes: 16 << 20,
        longest_projection: Duration::from_secs(10),
        duplicate_window: None,
        duplicate_id: DuplicateId::Body,
        spool_directory: std::env::temp_dir(),
    };
    assert_eq!(config.projection("order_summary"), options);
    assert!(config.source().unwrap_err().to_string().starts_with("no source: "));
    assert!(config.store().unwrap_err().to_string().starts_with("no store: "));
}

#[test]
fn a_file_says_it_all() {
    let config = Layers::file(
        r#"
[source]
kind = "kafka"
[source.properties]
"bootstrap.servers" = "127.0.0.1:9092"
"fetch.wait.max.ms" = 100
check.crcs = true
[store]
url = "postgres://app@localhost/shop"
schema = "read"
[admin]
listen = "0.0.0.0:9000"
token = "hunter2"
[projector]
app = "shop"
drain_seconds = 3
batch_bytes = "1 MiB"
[projections.order_summary]
lanes = 4
group = "legacy"
[projections.product_sales]
"#,
    )
    .load()
    .unwrap();
    let properties = kafka(&config);
    let values = ["bootstrap.servers", "fetch.wait.max.ms", "check.crcs"].map(|name| properties.get(name));
    assert_eq!(values, [Some("127.0.0.1:9092"), Some("100"), Some("true")]);
    assert!(matches!(config.store(), Ok(StoreOptions::Postgres { schema, .. }) if schema == "read"));
    assert_eq!((config.projector.app.as_str(), config.projector.drain), ("shop", Duration::from_secs(3)));
    let (own, other) = (config.projection("order_summary"), config.projection("product_sales"));
    assert_eq!((own.group.as_str(), own.lanes, own.batch_bytes), ("legacy", 4, 1_048_576));
    assert_eq!((other.group.as_str(), other.lanes, other.batch_bytes), ("shop.product_sales", 2, 1_048_576));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn flags_overrule_the_environment_and_the_environment_the_file() {
    let file = "[store]\nurl = 'sqlite:file.db'\n[admin]\nlisten = '127.0.0.1:1'\n[projector]\nlanes = 1\napp = 'file'";
    let environment = [
        ("READCAST_STORE_URL", "sqlite:environment.db"),
        ("READCAST_ADMIN_LISTEN", "127.0.0.1:2"),
        ("READCAST_LANES", "2"),
        ("DATABASE_URL", "mysql://not-ours"),
    ];
    let mut layers = Layers::file(file).environment(environment);
    layers.flags.store = Some("sqlite:flag.db".into());
    let config = layers.load().unwrap();
    assert_eq!(store_url(&config), "sqlite:flag.db");
    assert_eq!(config.admin.listen.port(), 2);
    assert_eq!((config.projection("x").lanes, config.projector.app.as_str()), (2, "file"));
}

#[test]
fn a_projection_overrides_what_is_set_for_all() {
    let file = "[projector]\non_change = 'rebuild'\nstandby_seconds = 0\n\
                [projections.order_summary]\non_change = 'refuse'\nmax_live_lag = 0";
    let environment = [
        ("READCAST_SWAP_LOCK_TIMEOUT_MS", "50"),
        ("READCAST_MAX_ROW_LOSS_PERCENT", "100"),
        ("READCAST_STANDBY_SECONDS", "60"),
        ("READCAST_MAX_LIVE_LAG", "7"),
    ];
    let config = Layers::file(file).environment(environment).load().unwrap();
    let (own, other) = (config.projection("order_summary"), config.projection("product_sales"));
    assert_eq!((own.rebuild_on_change, own.max_live_lag), (false, 0));
    assert_eq!((other.rebuild_on_change, other.max_live_lag), (true, 7));
    assert_eq!((own.standby, own.swap_lock_timeout), (Duration::from_secs(60), Duration::from_millis(50)));
    assert_eq!(other.max_row_loss_percent, 100);
    let refused = Layers::default().environment([("READCAST_ON_CHANGE", "maybe")]).error();
    assert_eq!(refused, "READCAST_ON_CHANGE: `projector.on_change` must be `refuse` or `rebuild`, found `maybe`");
}

#[test]
fn database_url_is_the_last_resort() {
    let url = "postgres://localhost/shared";
    let alone = Layers::default().environment([("DATABASE_URL", url)]).load().unwrap();
    assert_eq!(store_url(&alone), url);
    let beside = Layers::file("[store]\nurl = 'sqlite:own.db'").environment([("DATABASE_URL", url)]).load().unwrap();
    assert_eq!(store_url(&beside), "sqlite:own.db");
    let foreign = Layers::default().environment([("DATABASE_URL", "mysql:hunter2")]).error();
    assert_eq!(foreign, "DATABASE_URL: must be `postgres://…` or `sqlite:PATH`");
}

#[test]
fn kafka_properties_come_from_variables_too() {
    let environment = [("READCAST_KAFKA_BOOTSTRAP_SERVERS", "k:9092"), ("READCAST_KAFKA_SASL_PASSWORD", "hunter2")];
    let config = Layers::default().environment(environment).load().unwrap();
    assert_eq!(kafka(&config).get("bootstrap.servers"), Some("k:9092"));
    assert_eq!(kafka(&config).get("sasl.password"), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let refused = Layers::default().environment([("READCAST_KAFKA_GROUP_ID", "mine")]).error();
    assert!(refused.starts_with("READCAST_KAFKA_GROUP_ID: property `group.id` is refused: "), "{refused}");
}

#[test]
fn a_source_flag_names_a_directory_or_brokers() {
    let source = |flag: &str| {
        let mut layers = Layers::file("[source]\nkind = 'file'\npath = 'events'");
        layers.flags.source = Some(flag.into());
        layers.load().map(|config| config.source().unwrap().clone())
    };
    assert_eq!(source("file:other"), Ok(SourceOptions::File(PathBuf::from("other"))));
    assert_eq!(source("file:///var/events"), Ok(SourceOptions::File(PathBuf::from("/var/events"))));
    let brokers = source("kafka://a:1,b:2");
    assert!(
        matches!(brokers, Ok(SourceOptions::Kafka { properties: p, .. }) if p.get("bootstrap.servers") == Some("a:1,b:2"))
    );
    let credentials = "--source: takes no credentials; set `sasl.username` and `sasl.password`";
    assert_eq!(source("kafka://app:hunter2@a:1"), Err(credentials.into()));
    assert_eq!(source("events"), Err("--source: must be `file:DIR` or `kafka://host:port,…`".into()));
    assert_eq!(source("file:"), Err("--source: `source.path` must not be empty".into()));
}

#[test]
fn the_usual_variables_set_what_is_logged() {
    let environment = [("LOG_FORMAT", "json"), ("RUST_LOG", "debug"), ("NO_COLOR", "1")];
    let config = Layers::default().environment(environment).load().unwrap();
    assert_eq!(config.logging, LogOptions { format: LogFormat::Json, filter: Some("debug".into()), color: false });
    let error = Layers::default().environment([("LOG_FORMAT", "xml")]).error();
    assert_eq!(error, "LOG_FORMAT: must be `text` or `json`");
}

#[test]
fn a_url_of_another_scheme_is_left_to_the_program() {
    let file =
        "[source]\nurl = 'nats://app:hunter2@here'\ntopic_prefix = 'test.'\n[store]\nurl = 'mysql://app:hunter2@db/x'";
    let config = Layers::file(file).load().unwrap();
    let SourceOptions::Other { scheme, url, place, topic_prefix } = config.source().unwrap() else { panic!("{file}") };
    assert_eq!((&**scheme, url.expose(), &**topic_prefix), ("nats", "nats://app:hunter2@here", "test."));
    assert!(place.ends_with("2:7"), "{place}");
    let StoreOptions::Other { scheme, url, .. } = config.store().unwrap() else { panic!("{file}") };
    assert_eq!((&**scheme, url.expose()), ("mysql", "mysql://app:hunter2@db/x"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let overruled = Layers::file(file).environment([("READCAST_SOURCE_URL", "file:events")]).load().unwrap();
    assert_eq!(overruled.source().unwrap(), &SourceOptions::File(PathBuf::from("events")));
    let password = Layers::file(file).environment([("READCAST_STORE_PASSWORD", "hunter2")]).error();
    let expected = "READCAST_STORE_PASSWORD: `store.password` is for Postgres, and the store is one of `mysql`";
    assert_eq!(password, expected);
}
