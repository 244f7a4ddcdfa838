use super::*;

const OUTBOX: &str = "format = 'debezium-outbox'";
const HEADERS: [(&str, &str); 2] = [("id", "406c07f3-26f0-4eea-a50c-109940064b8f"), ("eventType", "OrderCreated")];

#[test]
fn an_outbox_event_has_its_payload_in_one_of_three_shapes() {
    let json = r#"{"id":1,"total":"12.50"}"#;
    let expected = format!("{} OrderCreated v1 2024-05-20T14:30:00Z - {json}", HEADERS[0].1);
    let text = serde_json::to_string(json).expect("a text");
    let with_schema =
        |payload: &str| format!(r#"{{"schema":{{"type":"string","optional":true}},"payload":{payload}}}"#);
    for value in [json.to_owned(), text.clone(), with_schema(&text), with_schema(json)] {
        assert_eq!(one(OUTBOX, &record(&value, &HEADERS)), expected, "{value}");
    }
    let settings = format!("{OUTBOX}\nversion = 'body:/id'");
    assert!(one(&settings, &record(&with_schema(&text), &HEADERS)).contains(" v1 "), "a place in an unwrapped payload");
}

#[test]
fn an_outbox_event_without_a_type_tells_where_it_is_expected() {
    let refused = refused(OUTBOX, &record("{}", &HEADERS[..1]));
    assert_eq!(refused, "the event has no type: `header:eventType` is missing or empty");
}

const CHANGE: &str = r#"{"before":null,"after":{"id":1,"name":"Ann"},"source":{"version":"3.0","connector":"postgresql",
    "name":"bank","ts_ms":1716215460000,"db":"bank","schema":"public","table":"customers","lsn":24023128},
    "op":"c","ts_ms":1716215461000}"#;

#[test]
fn a_change_is_an_event_with_the_row() {
    let expected = r#"accounts/0@7 customers.created v1 2024-05-20T14:31:00Z - {"id":1,"name":"Ann"}"#;
    assert_eq!(one("format = 'debezium'", &record(CHANGE, &[])), expected);
    let with_schema = format!(r#"{{"schema":{{"type":"struct","fields":[]}},"payload":{CHANGE}}}"#);
    assert_eq!(one("format = 'debezium'", &record(&with_schema, &[])), expected);
}

#[test]
fn each_operation_is_a_type() {
    let deleted = CHANGE.replace(r#""before":null,"after":"#, r#""after":null,"before":"#);
    for (op, value, expected) in [
        ("c", CHANGE, "customers.created"),
        ("u", CHANGE, "customers.updated"),
        ("r", CHANGE, "customers.read"),
        ("d", &deleted, "customers.deleted"),
    ] {
        let event = one("format = 'debezium'", &record(&value.replace(r#""op":"c""#, &format!(r#""op":"{op}""#)), &[]));
        assert!(event.contains(&format!(" {expected} v1 ")) && event.ends_with(r#"{"id":1,"name":"Ann"}"#), "{event}");
    }
    let truncated = CHANGE.replace(r#""op":"c""#, r#""op":"t""#);
    assert!(one("format = 'debezium'", &record(&truncated, &[])).ends_with("nothing"));
    let unknown = CHANGE.replace(r#""op":"c""#, r#""op":"x""#);
    assert_eq!(refused("format = 'debezium'", &record(&unknown, &[])), "the change event has the unknown `op` `x`");
}

#[test]
fn the_tombstone_behind_a_deletion_holds_no_event() {
    assert_eq!(read("format = 'debezium'", &tombstone(&[])), Ok(Vec::new()));
}

#[test]
fn a_change_can_be_read_whole_and_be_named_by_its_source() {
    let settings = "format = 'debezium'\ndata = 'body:'\nevent_id = ['body:/source/db', 'body:/source/lsn']";
    let event = one(settings, &record(CHANGE, &[]));
    assert!(event.starts_with("bank|24023128 customers.created ") && event.contains(r#""before":null"#), "{event}");
}

#[test]
fn a_document_of_mongodb_is_a_row_in_a_text() {
    let change = r#"{"after":"{\"_id\":7}","source":{"collection":"customers","ts_ms":1716215460000},"op":"c"}"#;
    assert!(
        one("format = 'debezium'", &record(change, &[]))
            .ends_with(r#"customers.created v1 2024-05-20T14:31:00Z - {"_id":7}"#)
    );
}

#[test]
fn what_is_no_change_is_refused() {
    assert!(
        refused("format = 'debezium'", &record(r#"{"id":1}"#, &[]))
            .starts_with("the value is not a change event: missing field")
    );
}
