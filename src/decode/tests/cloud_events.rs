use super::*;

const FORMAT: &str = "format = 'cloudevents'";
const BINARY: [(&str, &str); 6] = [
    ("ce_specversion", "1.0"),
    ("ce_id", "e1"),
    ("ce_source", "/bank"),
    ("ce_type", "com.bank.Opened"),
    ("ce_time", "2024-05-20T14:31:00Z"),
    ("content-type", "application/json; charset=utf-8"),
];
const STRUCTURED: &str = r#"{"specversion":"1.0","id":"e1","source":"/bank","type":"com.bank.Opened",
    "time":"2024-05-20T14:31:00Z","datacontenttype":"application/json","retries":3,"data":{"balance":1.10}}"#;
const EVENT: &str = r#"/bank|e1 com.bank.Opened v1 2024-05-20T14:31:00Z - {"balance":1.10}"#;

#[test]
fn both_modes_give_the_same_event() {
    assert_eq!(one(FORMAT, &record(r#"{"balance":1.10}"#, &BINARY)), EVENT);
    let headers = [("content-type", "application/cloudevents+json; charset=UTF-8")];
    assert_eq!(one(FORMAT, &record(STRUCTURED, &headers)), EVENT);
    assert_eq!(one(FORMAT, &record(STRUCTURED, &[])), EVENT, "the headers were lost");
}

#[test]
fn a_batch_holds_several_events() {
    let batch = format!("[{STRUCTURED},{}]", STRUCTURED.replace("e1", "e2"));
    let headers = [("content-type", "application/cloudevents-batch+json")];
    assert_eq!(read(FORMAT, &record(&batch, &headers)).expect("events"), [EVENT.to_owned(), EVENT.replace("e1", "e2")]);
}

#[test]
fn attributes_and_extensions_are_places() {
    let settings = format!("{FORMAT}\nversion = 'attribute:retries'\nevent_id = 'attribute:id'");
    assert!(one(&settings, &record(STRUCTURED, &[])).starts_with("e1 com.bank.Opened v3 "));
    let headers: Vec<_> = BINARY.into_iter().chain([("ce_retries", "4"), ("ce_correlationid", "c7")]).collect();
    assert!(one(&settings, &record("{}", &headers)).starts_with("e1 com.bank.Opened v4 2024-05-20T14:31:00Z c7"));
}

#[test]
fn the_trace_is_an_extension() {
    let decoders = configured(&format!("[topics.accounts]\n{FORMAT}")).expect("settings");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01";
    let structured = STRUCTURED.replace("\"retries\":3", &format!("\"traceparent\":\"{trace}\""));
    let headers: Vec<_> = BINARY.into_iter().chain([("ce_traceparent", trace)]).collect();
    for record in [record(&structured, &[]), record("{}", &headers)] {
        let position = TopicPartition::new("accounts", 0).at(7);
        let events = decode(decoders.of("accounts"), &position, &record).expect("an event");
        assert_eq!(events[0].trace.as_ref().map(|context| &*context.traceparent), Some(trace));
    }
}

#[test]
fn data_may_be_missing_a_text_or_in_base64() {
    let data = |event: &str| event.split_once(" - ").map(|(_, data)| data.to_owned()).expect("data");
    let without = |data: &str, instead: &str| STRUCTURED.replace(&format!(",{data}"), instead);
    let json = r#""data":{"balance":1.10}"#;
    assert_eq!(data(&one(FORMAT, &record(&without(json, ""), &[]))), "nothing");
    assert_eq!(data(&one(FORMAT, &tombstone(&BINARY))), "nothing", "the attributes alone");
    let encoded = without(json, r#","data_base64":"eyJiYWxhbmNlIjoxLjEwfQ==""#);
    assert_eq!(data(&one(FORMAT, &record(&encoded, &[]))), r#"{"balance":1.10}"#);
    let text: Vec<_> = BINARY[..5].iter().copied().chain([("content-type", "text/plain")]).collect();
    assert_eq!(data(&one(FORMAT, &record("a \"b\"", &text))), r#""a \"b\"""#);
    let untyped = &BINARY[..5];
    assert_eq!(data(&one(FORMAT, &record("[1]", untyped))), "[1]", "JSON without a content type");
}

#[test]
fn the_time_is_that_of_the_record_where_the_event_has_none() {
    let untimed = STRUCTURED.replace("\"time\":\"2024-05-20T14:31:00Z\",", "");
    assert!(one(FORMAT, &record(&untimed, &[])).contains(" 2024-05-20T14:30:00Z "));
}

#[test]
fn what_is_no_cloud_event_is_refused() {
    let refused = |value: &str, headers: &[(&str, &str)]| refused(FORMAT, &record(value, headers));
    assert_eq!(refused("{}", &[]), "the value is not a CloudEvent: it has no `specversion`");
    assert_eq!(refused(&STRUCTURED.replace("\"1.0\"", "\"0.3\""), &[]), "CloudEvents 0.3 are not read; version 1.0 is");
    assert_eq!(refused("{}", &BINARY[..3]), "the CloudEvent has no attribute `type`");
    assert_eq!(
        refused(&STRUCTURED.replace("\"source\"", "\"sauce\""), &[]),
        "the CloudEvent has no attribute `source`"
    );
    let avro = [("content-type", "application/cloudevents+avro")];
    assert!(
        refused(STRUCTURED, &avro).starts_with("CloudEvents in the form `application/cloudevents+avro` are not read")
    );
    let bytes: Vec<_> = BINARY[..5].iter().copied().chain([("content-type", "application/protobuf")]).collect();
    assert!(refused("x", &bytes).starts_with("data of the content type `application/protobuf` is not read"));
    assert!(refused("{", &BINARY).starts_with("the data is not JSON"));
    assert!(refused("[]", &[]).starts_with("the value is not a CloudEvent"));
    assert!(super::refused(FORMAT, &tombstone(&[])).starts_with("neither the headers nor the value"));
}
