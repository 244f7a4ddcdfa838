use super::*;

const HEADERS: &[(&str, &str)] =
    &[("eventType", "Opened"), ("eventId", "e1"), ("at", "1716215400123"), ("version", "2"), ("corr", "c9")];
const LOCATED: &str = "format = 'json'\ntype = 'header:eventType'\nevent_id = 'header:eventId'\n\
                       timestamp = 'header:at as millis'\nversion = 'header:version'\ncorrelation_id = 'header:corr'";

#[test]
fn the_parts_of_an_event_are_in_headers_and_its_data_is_the_value() {
    let event = one(LOCATED, &record(r#" {"balance": 1.10} "#, HEADERS));
    assert_eq!(event, r#"e1 Opened v2 2024-05-20T14:30:00.123000Z c9 {"balance": 1.10}"#);
}

#[test]
fn the_parts_of_an_event_are_in_its_body() {
    let settings = "format = 'json'\ntype = 'body:/meta/type'\nevent_id = ['body:/meta/id', 'body:/meta/n']\n\
                    timestamp = 'body:/meta/at'\nversion = 'body:/meta/v'\ndata = 'body:/payload'";
    let value =
        r#"{"meta":{"type":"Op\u0065ned","id":"x|1","n":7,"at":"2024-05-20T16:30:00+02:00","v":3},"payload":[1]}"#;
    assert_eq!(one(settings, &record(value, &[])), r"x\|1|7 Opened v3 2024-05-20T14:30:00Z - [1]");
}

#[test]
fn without_settings_beside_the_type_record_and_position_give_the_rest() {
    let settings = "format = 'json'\ntype = 'topic'";
    assert_eq!(one(settings, &record("7", &[])), "accounts/0@7 accounts v1 2024-05-20T14:30:00Z - 7");
    let decoders = configured(&format!("[topics.accounts]\n{settings}")).expect("settings");
    let (position, record) = (TopicPartition::new("accounts", 0).at(7), record("7", &[]));
    let events = decoders.of("accounts").decode(&position, &record).expect("an event");
    assert!(events.are_named_by_position(), "no memory is spent on such ids");
}

#[test]
fn the_type_is_the_key_or_a_constant() {
    assert!(one("format = 'json'\ntype = 'key'", &record("{}", &[])).contains(" a1 v1 "));
    assert!(one("format = 'json'\ntype = 'const:Opened'", &record("{}", &[])).contains(" Opened v1 "));
}

#[test]
fn types_get_the_names_that_the_code_knows() {
    let types =
        "\n[topics.accounts.types]\n\"com.bank.Opened.v1\" = 'AccountOpened'\ncom.bank.Closed = 'AccountClosed'";
    let settings = format!("format = 'json'\ntype = 'header:t'{types}");
    for (written, known) in
        [("com.bank.Opened.v1", "AccountOpened"), ("com.bank.Closed", "AccountClosed"), ("Other", "Other")]
    {
        let event = one(&settings, &record("{}", &[("t", written)]));
        assert!(event.contains(&format!(" {known} v1 ")), "{event}");
    }
}

#[test]
fn a_text_that_holds_json_is_unwrapped() {
    let data = |value: &str| {
        let event = one("format = 'json'\ntype = 'const:T'\ndata = 'body:/payload'", &record(value, &[]));
        event.split_once(" - ").map(|(_, data)| data.to_owned()).expect("data")
    };
    assert_eq!(data(r#"{"payload":"{\"amount\":1.10}"}"#), r#"{"amount":1.10}"#);
    assert_eq!(data(r#"{"payload":" [1] "}"#), "[1]");
    assert_eq!(data(r#"{"payload":"7"}"#), r#""7""#, "a number in a text stays a text");
    assert_eq!(data(r#"{"payload":"{broken"}"#), r#""{broken""#);
}

#[test]
fn an_array_is_cut_into_events() {
    let settings = "format = 'json'\ntype = 'body:/t'\nevents = 'body:/items'\ndata = 'body:/d'";
    let value = r#"{"sent":1,"items":[{"t":"A","d":1},{"t":"B","d":{"x":2}}]}"#;
    let expected =
        ["accounts/0@7 A v1 2024-05-20T14:30:00Z - 1", r#"accounts/0@7#1 B v1 2024-05-20T14:30:00Z - {"x":2}"#];
    assert_eq!(read(settings, &record(value, &[])).expect("events"), expected);
    assert_eq!(read(settings, &record(r#"{"items":[]}"#, &[])).map(|events| events.len()), Ok(0));
    assert!(refused(settings, &record(r#"{"items":{"t":"A"}}"#, &[])).starts_with("no array of events"));
    assert_eq!(refused(settings, &record("{}", &[])), "the record has nothing at the place of `events`");
    let whole = "format = 'json'\ntype = 'body:/t'\nevents = 'body:'";
    assert_eq!(read(whole, &record(r#"[{"t":"A"},{"t":"B"}]"#, &[])).map(|events| events.len()), Ok(2));
}

#[test]
fn a_tombstone_is_an_event_of_the_type_that_it_was_given() {
    let settings = format!("{LOCATED}\ntombstone = 'AccountErased'");
    assert_eq!(one(&settings, &tombstone(HEADERS)), "e1 AccountErased v2 2024-05-20T14:30:00.123000Z c9 nothing");
    let envelope = one("tombstone = 'AccountErased'", &tombstone(&[]));
    assert_eq!(envelope, "accounts/0@7 AccountErased v1 2024-05-20T14:30:00Z - nothing");
    assert!(refused(LOCATED, &tombstone(HEADERS)).contains("give it a type with `tombstone`"));
}

#[test]
fn an_envelope_can_have_some_of_its_parts_elsewhere() {
    let value =
        r#"{"type":"Opened","event_id":"e1","timestamp":"2024-05-20T14:30:00Z","correlation_id":"c","data":"{}"}"#;
    let timeless = value.replace(r#""timestamp":"2024-05-20T14:30:00Z","#, "");
    let refused = refused("event_id = 'header:id'", &record(&timeless, &[("id", "h1")]));
    assert_eq!(refused, "the event has no time: `body:/timestamp` is missing or empty");
    assert_eq!(
        one("event_id = 'header:id'", &record(value, &[("id", "h1")])),
        r#"h1 Opened v1 2024-05-20T14:30:00Z c "{}""#
    );
}

#[test]
fn an_event_without_an_id_has_an_empty_one() {
    let settings = "format = 'json'\ntype = 'const:T'\nevent_id = ['header:a', 'header:b']";
    assert!(one(settings, &record("{}", &[("a", "1")])).starts_with(" T v1 "));
    assert!(one(settings, &record("{}", &[("a", "1"), ("b", "2")])).starts_with("1|2 T v1 "));
}

#[test]
fn what_is_wrong_with_a_record_is_named() {
    let refused = |value: &str, headers| refused(LOCATED, &record(value, headers));
    assert_eq!(refused("{}", &HEADERS[1..]), "the event has no type: `header:eventType` is missing or empty");
    assert_eq!(refused("{}", &HEADERS[..2]), "the event has no time: `header:at` is missing or empty");
    let wrong = [("eventType", "T"), ("at", "yesterday")];
    assert_eq!(refused("{}", &wrong), "`header:at`: `yesterday` is not a number since 1970");
    let version = [("eventType", "T"), ("at", "0"), ("version", "1.0")];
    assert_eq!(refused("{}", &version), "`header:version`: the version is not a whole number");
    assert!(refused("{", HEADERS).starts_with("the value is not JSON: EOF"));
    assert!(refused("\u{1f}\u{8b}", HEADERS).starts_with("the value is not JSON"));
    let object = super::refused("format = 'json'\ntype = 'body:/t'", &record(r#"{"t":{}}"#, &[]));
    assert_eq!(object, "`body:/t`: it is not a text or a number");
    let timeless = Record { timestamp: None, ..record("{}", &[]) };
    assert!(
        super::refused("format = 'json'\ntype = 'topic'", &timeless).starts_with("the log has no time for the record")
    );
}

#[test]
fn a_key_in_json_is_read_and_is_all_that_a_tombstone_says() {
    let settings = "format = 'json'\ntype = 'const:T'\nkey = 'json'\nevent_id = 'key'\ntombstone = 'Erased'";
    let keyed = |key: &'static str, value| Record { key: Some(Bytes::from_static(key.as_bytes())), ..value };
    assert!(one(settings, &keyed("\"k1\"", record("{}", &[]))).starts_with("k1 T v1 "));
    assert!(one(settings, &keyed("17", tombstone(&[]))).starts_with("17 Erased v1 "));
    assert!(refused(settings, &keyed("k1", record("{}", &[]))).starts_with("the key is not JSON: "));
    assert_eq!(refused(settings, &keyed("[1]", record("{}", &[]))), "`key`: the key is not a text or a number");
    let decoders =
        configured(&format!("[topics.accounts]\n{settings}\n").replace("event_id = 'key'\n", "")).expect("settings");
    let erased = keyed(r#"{"id":7}"#, tombstone(&[]));
    let events = decode(decoders.of("accounts"), &TopicPartition::new("accounts", 0).at(7), &erased).expect("an event");
    let key: std::collections::BTreeMap<String, i64> = events[0].key_data().expect("a key");
    assert_eq!(key["id"], 7);
    assert!(
        configured("[topics.accounts]\nformat = 'json'\ntype = 'topic'\nkey = 'registry'")
            .unwrap_err()
            .contains("`topics.accounts.key`: set `registry.url`")
    );
}
