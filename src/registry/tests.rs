use std::sync::Arc;

use tokio::task::JoinSet;

use super::client::ANSWER_LIMIT;
use super::stub::{Answers, Stub, answer};
use super::*;
use crate::config::{Secret, SecretSource};

impl Stub {
    fn registry(&self) -> SchemaRegistry {
        SchemaRegistry::new(Client::new(&self.url, None, Credentials::default()).expect("a client"))
    }
}

fn schema(text: &str, more: &str) -> Option<String> {
    answer("200 OK", &format!(r#"{{"schema":{}{more}}}"#, serde_json::to_string(text).expect("a text")))
}

fn a_record(_: &str) -> Option<String> {
    schema(r#"{"type":"record","name":"A","fields":[]}"#, "")
}

/// Why schema 7 can't be fetched.
async fn refused(answers: Answers) -> String {
    let stub = Stub::start(answers).await;
    let registry = stub.registry();
    let error = registry.fetch([SchemaId::Number(7)]).await.expect_err("no schema");
    assert!(registry.schema(SchemaId::Number(7)).is_err_and(|error| error == "schema 7 was not fetched"));
    error.replace(&stub.url, "")
}

#[tokio::test]
async fn a_schema_is_fetched_once_for_all() {
    let stub = Stub::start(a_record).await;
    let registry = Arc::new(stub.registry());
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let registry = registry.clone();
        tasks.spawn(async move { registry.fetch([SchemaId::Number(7)]).await });
    }
    assert!(tasks.join_all().await.into_iter().all(|fetched| fetched.is_ok()));
    assert!(matches!(registry.schema(SchemaId::Number(7)), Ok(Schema::Avro(_))));
    assert_eq!(stub.asked(), 1);
}

#[tokio::test]
async fn references_are_fetched_to_their_end() {
    let stub = Stub::start(|request| match request.split(' ').nth(1)? {
        "/schemas/ids/7" => schema(
            r#"{"type":"record","name":"A","fields":[{"name":"b","type":"B"}]}"#,
            r#","references":[{"name":"B","subject":"b/1","version":3}]"#,
        ),
        "/subjects/b%2F1/versions/3" => schema(
            r#"{"type":"record","name":"B","fields":[{"name":"c","type":"C"}]}"#,
            r#","schemaType":"AVRO","references":[{"name":"C","subject":"c","version":1}]"#,
        ),
        "/subjects/c/versions/1" => schema(r#"{"type":"enum","name":"C","symbols":["X"]}"#, ""),
        other => panic!("{other}"),
    })
    .await;
    let registry = stub.registry();
    registry.fetch([SchemaId::Number(7)]).await.expect("a schema");
    assert!(matches!(registry.schema(SchemaId::Number(7)), Ok(Schema::Avro(_))));
}

#[tokio::test]
async fn a_schema_that_the_registry_does_not_have_is_asked_for_again_later() {
    let stub = Stub::start(|_| answer("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#)).await;
    let registry = stub.registry();
    for _ in 0..3 {
        registry.fetch([SchemaId::Number(7)]).await.expect("an answer");
    }
    assert!(registry.schema(SchemaId::Number(7)).is_err_and(|error| error == "the schema registry has no schema 7"));
    assert_eq!(stub.asked(), 1);
    let long_ago = Instant::now().checked_sub(UNKNOWN_FOR).expect("a time");
    registry.entries.write().expect("a lock").insert(SchemaId::Number(7), Entry::Unknown(long_ago));
    registry.fetch([SchemaId::Number(7)]).await.expect("an answer");
    assert_eq!(stub.asked(), 2);
}

#[tokio::test]
async fn what_is_no_answer_of_a_registry_is_unavailable() {
    assert_eq!(
        refused(|_| answer("500 Internal Server Error", "oh")).await,
        "/schemas/ids/7: the answer is 500 Internal Server Error"
    );
    assert_eq!(refused(|_| answer("401 Unauthorized", "")).await, "/schemas/ids/7: the answer is 401 Unauthorized");
    let html = refused(|_| answer("200 OK", "<html>Welcome</html>")).await;
    assert!(html.starts_with("/schemas/ids/7: the answer is not that of a schema registry: "), "{html}");
    assert_eq!(refused(|_| answer("404 Not Found", "<html>")).await, "/schemas/ids/7: the answer is 404 Not Found");
    let cut = refused(|_| Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into())).await;
    assert!(cut.starts_with("/schemas/ids/7: "), "{cut}");
    let nobody =
        SchemaRegistry::new(Client::new("http://127.0.0.1:1", None, Credentials::default()).expect("a client"));
    let error = nobody.fetch([SchemaId::Number(7)]).await.expect_err("nobody");
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_given_up() {
    let error = refused(|_| None).await;
    assert!(error.contains("timed out"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_registry_is_waited_for() {
    let stub = Stub::start_slow(ANSWER_LIMIT / 2, a_record).await;
    let (registry, begun) = (stub.registry(), tokio::time::Instant::now());
    registry.fetch([SchemaId::Number(7)]).await.expect("a schema");
    assert!(matches!(registry.schema(SchemaId::Number(7)), Ok(Schema::Avro(_))));
    assert!(begun.elapsed() >= ANSWER_LIMIT / 2);
    let stub = Stub::start_slow(ANSWER_LIMIT * 2, a_record).await;
    let error = stub.registry().fetch([SchemaId::Number(7)]).await.expect_err("too late");
    assert!(error.contains("timed out"), "{error}");
}

#[tokio::test]
async fn a_schema_that_can_not_be_used_is_known_as_such() {
    let unusable = async |answers: Answers| {
        let stub = Stub::start(answers).await;
        let registry = stub.registry();
        registry.fetch([SchemaId::Number(7)]).await.expect("an answer");
        registry.schema(SchemaId::Number(7)).expect_err("no use")
    };
    let endless = unusable(|_| schema(r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}"#, "")).await;
    assert!(endless.starts_with("schema 7 can't be used: "), "{endless}");
    assert!(unusable(|_| schema("{", "")).await.starts_with("schema 7 can't be used: "));
    let other = unusable(|_| schema("x", r#","schemaType":"XML""#)).await;
    assert_eq!(other, "schema 7 is of the type XML, which is not read");
}

#[tokio::test]
async fn a_schema_of_five_megabytes_is_read() {
    let stub = Stub::start(|_| {
        let symbols: Vec<String> = (0..500_000).map(|n| format!("\"S{n:07}\"")).collect();
        schema(&format!(r#"{{"type":"enum","name":"Many","symbols":[{}]}}"#, symbols.join(",")), "")
    })
    .await;
    let registry = stub.registry();
    registry.fetch([SchemaId::Number(7)]).await.expect("a schema");
    assert!(matches!(registry.schema(SchemaId::Number(7)), Ok(Schema::Avro(_))));
}

#[tokio::test]
async fn credentials_are_sent_and_not_shown() {
    let secret = |text: &str| Some(SecretSource::Fixed(Secret::new(text)));
    let stub = Stub::start(|request| match request.to_ascii_lowercase() {
        head if head.contains("authorization: basic yw5uonbhc3m=") => a_record(request),
        head if head.contains("authorization: bearer t0ken") => a_record(request),
        _ => answer("401 Unauthorized", ""),
    })
    .await;
    let basic = Credentials { username: Some("ann".into()), password: secret("pass"), token: None };
    let token = Credentials { token: secret("t0ken"), ..Credentials::default() };
    let in_url = stub.url.replace("http://", "http://ann:pass@");
    for (url, credentials) in [(&stub.url, basic), (&stub.url, token), (&in_url, Credentials::default())] {
        let registry = SchemaRegistry::new(Client::new(url, None, credentials).expect("a client"));
        registry.fetch([SchemaId::Number(7)]).await.expect("a schema");
        assert!(!format!("{registry:?}").contains("pass"));
    }
    assert!(Client::new("ftp://x", None, Credentials::default()).is_err());
}
