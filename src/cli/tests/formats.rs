//! Records in other people's formats, from the configuration to the rows.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::registry::stub::{Stub, answer};
use crate::store::{Generation, ParkedIn, ParkingStore as _};

/// The words in the database, each with its count, and why records are parked.
async fn outcome(folder: &Path) -> (Vec<String>, Vec<String>) {
    let store = Sqlite::open_read_only(&folder.join("read.db")).await.unwrap();
    let parked = store.parked(ParkedIn { projection: "words", generation: Generation(1) }).await.unwrap();
    (words(&store).await, parked.into_iter().filter_map(|sequence| Some(sequence.cause?.reason)).collect())
}

#[tokio::test]
async fn all_events_of_a_record_are_applied_or_none() {
    let (log, folder) = (MemorySource::default(), tempfile::tempdir().unwrap());
    for words in [r#"["to","be"]"#, r#"["or",7,"not"]"#, "[]", r#"["to","be"]"#] {
        log.append("words", 0, None, words);
    }
    let file = "[topics.words]\nformat = 'json'\nevents = 'body:'\ntype = 'const:SAID'\n\
                timestamp = 'const:2024-05-20T14:30:00Z'";
    run(app(&log), folder.path(), "memory://here", file).await.unwrap();
    let (rows, parked) = outcome(folder.path()).await;
    assert_eq!(rows, ["be2", "to2"]);
    assert!(parked.len() == 1 && parked[0].starts_with("event 2 of 3: invalid type: integer `7`"), "{parked:?}");
}

#[tokio::test]
async fn a_value_is_resolved_to_the_schema_of_its_reader() {
    let (log, folder) = (MemorySource::default(), tempfile::tempdir().unwrap());
    // A word; a word or nothing.
    for record in ["\0\0\0\0\x07\x04to", "\0\0\0\0\x08\x02\x04be", "\0\0\0\0\x08\x00"] {
        log.append("words", 0, None, record);
    }
    let stub = Stub::start(|request| {
        let word = if request.contains("/ids/7 ") { r#""string""# } else { r#"["null","string"]"# };
        let schema = format!(r#"{{"type":"record","name":"Word","fields":[{{"name":"text","type":{word}}}]}}"#);
        answer("200 OK", &serde_json::json!({ "schema": schema }).to_string())
    })
    .await;
    let reader = r#"{"type":"record","name":"SAID","aliases":["Word"],"fields":[{"name":"word","aliases":["text"],"type":"string"}]}"#;
    let schema = folder.path().join("said.avsc");
    std::fs::write(&schema, reader).unwrap();
    let file = format!(
        "[registry]\nurl = '{}'\n[topics.words]\nformat = 'avro'\ndata = 'body:/word'\nschema = '{}'\n\
         timestamp = 'const:2024-05-20T14:30:00Z'",
        stub.url,
        schema.display()
    );
    run(app(&log), folder.path(), "memory://here", &file).await.unwrap();
    let (rows, parked) = outcome(folder.path()).await;
    assert_eq!(rows, ["be1", "to1"]);
    let refusal = "/text: it was written as null, and is read as string";
    assert!(parked.len() == 1 && parked[0].ends_with(refusal), "{parked:?}");
    let (_, context) = typed_in(app(&log), folder.path(), "memory://here", &file).unwrap();
    let checks = check::checks(&context).await.map_err(told).unwrap();
    let warned = checks.iter().find(|check| check.what == "topic `words`: schemas").expect("a warning");
    assert!(warned.warning, "{warned:?}");
    assert_eq!(warned.finding, format!("records may come that can't be read: schema 8: {refusal}"));
}

#[tokio::test]
async fn a_record_waits_for_a_registry_that_does_not_answer() {
    let (log, folder) = (MemorySource::default(), tempfile::tempdir().unwrap());
    for record in ["\0\0\0\0\x07\x04to", "\0\0\0\0\x07\x04be", "\0\0\0\0\x07\x05", "\0\0\0\0\x08\x04or"] {
        log.append("words", 0, None, record);
    }
    let refusals = AtomicUsize::new(3);
    let stub = Stub::start(move |request| {
        let refuses = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        match request {
            _ if refuses => answer("503 Service Unavailable", ""),
            other if other.contains("/ids/7 ") => {
                let schema =
                    r#"{\"type\":\"record\",\"name\":\"SAID\",\"fields\":[{\"name\":\"word\",\"type\":\"string\"}]}"#;
                answer("200 OK", &format!(r#"{{"schema":"{schema}"}}"#))
            }
            _ => answer("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#),
        }
    })
    .await;
    let file = format!(
        "[registry]\nurl = '{}'\n[topics.words]\nformat = 'avro'\ndata = 'body:/word'\n\
         timestamp = 'const:2024-05-20T14:30:00Z'",
        stub.url
    );
    run(app(&log), folder.path(), "memory://here", &file).await.unwrap();
    let (rows, parked) = outcome(folder.path()).await;
    assert_eq!(rows, ["be1", "to1"]);
    assert!(parked[0].starts_with("the value does not fit its schema, 7: "), "{parked:?}");
    assert_eq!(parked[1..], ["the schema registry has no schema 8"]);
}
