//! What a whole configuration comes to, layer upon layer, and the exact text of its errors.

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
    assert_eq!(config.projector, ProjectorOptions { app: "readcast".into(), drain: Duration::from_secs(10) });
    let options = ProjectionOptions {
        group: "readcast.order_summary".into(),
        lanes: 2,
        batch_records: 10_000,
        batch_bytes: 8_388_608,
        buffer_bytes: 33_554_432,
        rebuild_on_change: false,
        standby: Duration::from_secs(86_400),
        swap_lock_timeout: Duration::from_millis(100),
        most_lost_percent: 5,
        max_impact: 10_000,
        keep_indexes: false,
        stall_after: Duration::from_secs(60),
        max_parked: 10_000,
        max_parked_per_key: 1_000,
        max_record_bytes: 16 << 20,
        longest_projection: Duration::from_secs(10),
        duplicate_window: 0,
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
    assert_eq!(config.projector, ProjectorOptions { app: "shop".into(), drain: Duration::from_secs(3) });
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
fn how_a_projection_is_rebuilt_is_said_for_all_and_for_one() {
    let file = "[projector]\non_change = 'rebuild'\nstandby_seconds = 0\n\
                [projections.order_summary]\non_change = 'refuse'\nmax_impact = 0";
    let environment = [
        ("READCAST_SWAP_LOCK_TIMEOUT_MS", "50"),
        ("READCAST_MOST_LOST_PERCENT", "100"),
        ("READCAST_STANDBY_SECONDS", "60"),
        ("READCAST_MAX_IMPACT", "7"),
    ];
    let config = Layers::file(file).environment(environment).load().unwrap();
    let (own, other) = (config.projection("order_summary"), config.projection("product_sales"));
    assert_eq!((own.rebuild_on_change, own.max_impact), (false, 0));
    assert_eq!((other.rebuild_on_change, other.max_impact), (true, 7));
    assert_eq!((own.standby, own.swap_lock_timeout), (Duration::from_secs(60), Duration::from_millis(50)));
    assert_eq!(other.most_lost_percent, 100);
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
fn a_secret_may_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap();
    let config = Layers::default().environment([("READCAST_ADMIN_TOKEN_FILE", path)]).load().unwrap();
    assert_eq!(config.admin.token, Some(SecretSource::File(path.into())));
    assert_eq!(config.admin.token.unwrap().current(), Ok(Secret::new("hunter2")));
    let missing = Layers::default().environment([("READCAST_STORE_URL_FILE", "/no/such/file")]).error();
    assert!(missing.starts_with("READCAST_STORE_URL_FILE: can't read `/no/such/file`: "), "{missing}");
}

fn postgres(config: &Config) -> PostgresUrlSource {
    match config.store().unwrap() {
        StoreOptions::Postgres { url, .. } => url.clone(),
        other => panic!("{other:?}"),
    }
}

fn logs_in_with(url: &PostgresUrl) -> (Option<String>, Option<String>) {
    let password = url.password(&url.endpoints()[0], "").map(|secret| secret.expose().to_owned());
    (url.user().map(str::to_owned), password)
}

fn login(user: &str, password: &str) -> (Option<String>, Option<String>) {
    (Some(user.to_owned()), Some(password.to_owned()))
}

#[test]
fn a_url_in_a_file_is_read_again_for_each_connection() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &str| std::fs::write(file.path(), text).unwrap();
    write("postgres://app:old@localhost/shop\n");
    let path = file.path().to_str().unwrap();
    let config = Layers::default().environment([("READCAST_STORE_URL_FILE", path)]).load().unwrap();
    let url = postgres(&config);
    assert_eq!(logs_in_with(&url.current().unwrap()), login("app", "old"));
    write("postgres://other:new@127.0.0.1:5433/shop\r\n");
    assert_eq!(logs_in_with(&url.current().unwrap()), login("other", "new"));
    let refused = [
        ("", "is empty"),
        ("postgres://app:hunter2", "must be a number from 1 to 65535"),
        ("sqlite:hunter2", "must be `postgres://…`"),
        ("postgres://app:hunter2@db.example/shop", "`db.example` is not this machine"),
        ("postgres://app:hunter2@localhost/other", "names another database than at the start"),
    ];
    for (text, expected) in refused {
        write(text);
        let error = url.current().expect_err(text);
        assert!(error.contains(expected) && !error.contains("hunter2"), "{text}: {error}");
    }
    std::fs::remove_file(file.path()).unwrap();
    assert!(url.current().unwrap_err().starts_with(&format!("can't read `{path}`: ")));
    write("postgres://app:newest@localhost/shop");
    assert_eq!(logs_in_with(&url.current().unwrap()), login("app", "newest"));
    assert!(!format!("{config:?} {url:?}").contains("old@"));
}

#[test]
fn a_password_stands_beside_the_url() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &str| std::fs::write(file.path(), text).unwrap();
    write("old\n");
    let path = file.path().to_str().unwrap();
    let plain = ("READCAST_STORE_URL", "postgres://app@localhost/shop");
    let of_file = ("READCAST_STORE_PASSWORD_FILE", path);
    let url = postgres(&Layers::default().environment([plain, of_file]).load().unwrap());
    assert_eq!(logs_in_with(&url.current().unwrap()), login("app", "old"));
    write("new");
    assert_eq!(logs_in_with(&url.current().unwrap()), login("app", "new"));
    write("\n");
    assert_eq!(url.current().unwrap_err(), format!("`{path}` is empty"));
    write("hunter2");
    let another = Layers::default().environment([("READCAST_STORE_URL", "postgres://app:x@localhost/shop"), of_file]);
    let expected = "READCAST_STORE_URL: the URL and `store.password` hold different passwords; keep one of them";
    assert_eq!(another.error(), expected);
    let fallback = [("DATABASE_URL", plain.1), ("READCAST_STORE_PASSWORD", "x")];
    assert_eq!(
        logs_in_with(postgres(&Layers::default().environment(fallback).load().unwrap()).first()),
        login("app", "x")
    );
    let in_file = Layers::file("[store]\nurl = 'postgres://app@localhost/shop'\npassword = 'hunter2'").load().unwrap();
    assert_eq!(logs_in_with(postgres(&in_file).first()), login("app", "hunter2"));
    assert!(!format!("{in_file:?}").contains("hunter2"));
    let sqlite = Layers::file("[store]\nurl = 'sqlite:read.db'\npassword = 'x'").error();
    let expected = "readcast.toml:3:12: `store.password` is for Postgres, and the store is a file of SQLite";
    assert_eq!(sqlite, expected);
}

#[test]
fn a_kafka_secret_in_a_file_is_read_again_for_each_client() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old\n").unwrap();
    let path = file.path().to_str().unwrap();
    let environment = [("READCAST_KAFKA_BOOTSTRAP_SERVERS", "k:9092"), ("READCAST_KAFKA_SASL_PASSWORD_FILE", path)];
    let properties = kafka(&Layers::default().environment(environment).load().unwrap());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let servers = pair("bootstrap.servers", "k:9092");
    assert_eq!(properties.current().unwrap(), [servers.clone(), pair("sasl.password", "old")]);
    std::fs::write(file.path(), "new").unwrap();
    assert_eq!(properties.current().unwrap(), [servers, pair("sasl.password", "new")]);
    std::fs::remove_file(file.path()).unwrap();
    let error = properties.current().unwrap_err();
    assert!(error.starts_with(&format!("property `sasl.password`: can't read `{path}`: ")), "{error}");
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

#[test]
fn a_topic_has_a_format() {
    let file = "[topics.orders]\nformat = 'message'\n[topics.\"loans.v1\"]\nformat = 'typed'";
    let config = Layers::file(file).load().unwrap();
    let formats = ["orders", "loans.v1", "other"].map(|topic| config.format_of(topic));
    assert_eq!(formats, ["message", "typed", "envelope"]);
    assert_eq!(config.topics().collect::<Vec<_>>(), ["loans.v1", "orders"]);
    assert_eq!(
        Layers::file("[topics]\norders = 'x'").error(),
        "readcast.toml:2:10: `topics.orders` must be a section, found `x`"
    );
    let unknown = Layers::file("[topics.orders]\nfromat = 'x'").error();
    assert_eq!(unknown, "readcast.toml:2:1: unknown key `fromat`; did you mean `format`?");
}

#[test]
fn errors_of_the_file_name_line_and_column() {
    let cases = [
        ("[projector]\n\n\n\n\n\nbacth_records = 1", "7:1: unknown key `bacth_records`; did you mean `batch_records`?"),
        ("[sorce]\nkind = 'kafka'", "1:2: unknown section `sorce`; did you mean `source`?"),
        ("store = 'x'", "1:9: `store` must be a section, found `x`"),
        (
            "lanes = 2",
            "1:1: unknown key `lanes`; there are `source`, `store`, `admin`, `projector`, `projections`, `topics`",
        ),
        ("[source]\nkind = 'kafak'", "2:8: `source.kind` must be `kafka` or `file`, found `kafak`"),
        ("[projector]\n  lanes = 0", "2:11: `projector.lanes` must be a whole number from 1 to 64, found `0`"),
        (
            "[projector]\nlanes = 1.5",
            "2:9: `projector.lanes` must be a whole number from 1 to 64, found a number with a fraction",
        ),
        (
            "[projector]\nbatch_bytes = '8 M'",
            "2:15: `projector.batch_bytes` must be a number of bytes or a size like \"8 MiB\", from 1024 to 1073741824 \
             bytes, found `8 M`",
        ),
        (
            "[projector]\nstandby_seconds = 2592001",
            "2:19: `projector.standby_seconds` must be a whole number from 0 to 2592000, found `2592001`",
        ),
        (
            "[projector]\nswap_lock_timeout_ms = 9",
            "2:24: `projector.swap_lock_timeout_ms` must be a whole number from 10 to 10000, found `9`",
        ),
        (
            "[projector]\nmost_lost_percent = 101",
            "2:21: `projector.most_lost_percent` must be a whole number from 0 to 100, found `101`",
        ),
        ("[projections.order_sumary]", "1:14: unknown projection `order_sumary`; did you mean `order_summary`?"),
        ("[projections.order_summary]\nlane = 1", "2:1: unknown key `lane`; did you mean `lanes`?"),
        ("[admin]\ntoken = 1234", "2:9: `admin.token` must be a text in quotes, found an integer"),
        ("[admin]\ntoken = ''", "2:9: `admin.token` must not be empty"),
        (
            "[admin]\nlisten = 'localhost'",
            "2:10: `admin.listen` must be an address and a port, like `127.0.0.1:8088`, found `localhost`",
        ),
        ("[store]\nschema = 'a-b'", "2:10: `store.schema` must be a name of letters, digits and `_`, found `a-b`"),
        (
            "[store]\nschema = 'readcast_tables'",
            "2:10: `store.schema` is `readcast_tables`, where readcast keeps tables of its own: name the schema that \
             readers look in, like `public`",
        ),
        (
            "[store]\nschema = 'pg_catalog'",
            "2:10: `store.schema` is `pg_catalog`, where Postgres keeps tables of its own: name the schema that readers \
             look in, like `public`",
        ),
        ("[store]\nurl = 'hunter2'", "2:7: must be `postgres://…` or `sqlite:PATH`"),
        ("[store]\nurl = 'sqlite::memory:'", "2:7: `sqlite::memory:` keeps nothing; name a file"),
        (
            "[source.properties]\n'plugin.library.paths' = 'x'",
            "2:1: property `plugin.library.paths` is refused: it loads code into the process",
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(Layers::file(file).error(), format!("readcast.toml:{expected}"));
    }
}

#[test]
fn readers_look_in_no_schema_of_readcasts() {
    for (schema, named) in [("readcast", true), ("readcast_tables", true), ("readcast_views", false), ("public", false)]
    {
        let error = Layers::file("").environment([("READCAST_STORE_SCHEMA", schema)]).load().err();
        assert_eq!(error.is_some_and(|error| error.to_string().contains(schema)), named, "{schema}");
    }
}

#[test]
fn other_machines_need_a_token() {
    let file = "[admin]\nlisten = '0.0.0.0:9000'";
    let expected = "readcast.toml:2:10: `admin.listen` is `0.0.0.0:9000`, which other machines can reach: \
                    set `admin.token`, or listen on `127.0.0.1:9000`";
    assert_eq!(Layers::file(file).error(), expected);
    assert!(Layers::file(file).environment([("READCAST_ADMIN_TOKEN", "")]).load().is_err());
    assert!(Layers::file(file).environment([("READCAST_ADMIN_TOKEN", "x")]).load().is_ok());
    assert!(Layers::file("[admin]\nlisten = '[::1]:9000'").load().is_ok());
}

#[test]
fn another_machine_is_reached_over_tls_unless_written_otherwise() {
    let url = "postgres://app:hunter2@db.example/shop";
    let expected = "READCAST_STORE_URL: `db.example` is not this machine: add `sslmode=verify-full` to the URL's \
                    parameters, or write `insecure = true` under `[store]` to send rows and password where others may \
                    read them";
    assert_eq!(Layers::default().environment([("READCAST_STORE_URL", url)]).error(), expected);
    let insecure = Layers::file("[store]\ninsecure = true").environment([("READCAST_STORE_URL", url)]).load().unwrap();
    assert_eq!(store_url(&insecure), "postgres://app:***@db.example/shop");
    assert!(format!("{insecure:?}").contains("postgres://app:***@db.example/shop"));
}

#[test]
fn values_must_suit_one_another() {
    let small = "[projections.order_summary]\nbuffer_bytes = '1 MiB'";
    assert!(
        Layers::file(small).error().starts_with("projection `order_summary`: `buffer_bytes` (1048576) must not be")
    );
    let shared = "[projections.order_summary]\ngroup = 'readcast.product_sales'";
    let expected = "projections `order_summary` and `product_sales` share the group `readcast.product_sales`: ";
    assert!(Layers::file(shared).error().starts_with(expected));
    let nowhere = "`source.kind` is `file`, and `source.path` names no directory";
    assert_eq!(Layers::file("[source]\nkind = 'file'").error(), nowhere);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let named = [("READCAST_CONFIG", "/no/such/readcast.toml")];
    let error = Config::load(&Overrides::default(), &named.into_iter().collect(), &REGISTERED).unwrap_err().to_string();
    assert!(error.starts_with("/no/such/readcast.toml: can't be read: "), "{error}");
    assert!(Config::load(&Overrides::default(), &Environment::default(), &REGISTERED).is_ok());
}

#[test]
fn the_log_is_told_by_variables_that_everybody_knows() {
    let environment = [("LOG_FORMAT", "json"), ("RUST_LOG", "debug"), ("NO_COLOR", "1")];
    let config = Layers::default().environment(environment).load().unwrap();
    assert_eq!(config.logging, LogOptions { format: LogFormat::Json, filter: Some("debug".into()), color: false });
    let error = Layers::default().environment([("LOG_FORMAT", "xml")]).error();
    assert_eq!(error, "LOG_FORMAT: must be `text` or `json`");
}
