//! Secrets: in variables, in files that are read again, and in no output.

use super::*;

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
fn a_password_may_be_apart_from_the_url() {
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
    let expected = "readcast.toml:3:12: `store.password` is for Postgres, and the store is a SQLite file";
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
