//! What files declare and do, and what is wrong with them.

mod mistakes;

use readcast_core::testing::{TestEvent, event, given, try_given};
use readcast_core::{Changes, Envelope, Registry, TopicPartition, Upcasters};

use super::*;
use crate::upcasters::upcasters;

const VISITS: &str = r#"
topics = "site"

[tables.visits]
key = "page"
columns.page = "text"
columns.count = "i64 default 0"
columns.title = "text null"
columns.last = "timestamp null"
columns.log = "json null"

[[on]]
event = "VISITED"
upsert = "visits"
key = "data.page"
add.count = "1"
"#;

/// The problems of a text, each in a line.
fn problems(text: &str) -> String {
    let problems = FileProjection::load("visits.toml", text).map(drop).expect_err(text);
    problems.iter().map(|problem| problem.line() + "\n").collect()
}

#[track_caller]
fn projection(text: &str) -> FileProjection {
    FileProjection::load("visits.toml", text).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

#[test]
fn every_operation_does_what_it_does_in_code() {
    let text = VISITS.to_owned()
        + r#"
set.title = "data.?title"
max.last = "time"
append.log = "{'by': data.by, 'at': time}"

[[on]]
event = "CLOSED"
when = "data.for_ever"
delete = "visits"
key = "data.page"

[[on]]
event = "RENAMED"
update_where = "visits"
where.title = "data.from"
set.title = "data.to"

[[on]]
event = "RETITLED"
update = "visits"
key = "data.page"
set.title = "data.title"
"#;
    let on = |kind: &str, data: &str| event(kind, data).key("one");
    let events = [
        on("VISITED", r#"{"page":"/a","by":"ada","title":"A"}"#),
        on("VISITED", r#"{"page":"/b","by":"bo"}"#),
        on("VISITED", r#"{"page":"/c","by":"cy","title":"A"}"#),
        on("RETITLED", r#"{"page":"/none","title":"N"}"#),
        on("RETITLED", r#"{"page":"/b","title":"B"}"#),
        on("RENAMED", r#"{"from":"A","to":"Z"}"#),
        on("CLOSED", r#"{"page":"/a","for_ever":false}"#),
        on("CLOSED", r#"{"page":"/b","for_ever":true}"#),
    ];
    given(projection(&text), events).then(
        "visits",
        r#"page | count | title | last | log
           /a   | 1     | Z     | 2024-01-01T00:00:00.000000Z | [{"by":"ada","at":"2024-01-01T00:00:00.000000Z"}]
           /c   | 1     | Z     | 2024-01-01T00:00:02.000000Z | [{"by":"cy","at":"2024-01-01T00:00:02.000000Z"}]"#,
    );
}

#[test]
fn the_newest_value_wins_in_any_order() {
    let text = r#"
topics = "owners"

[tables.owners]
key = "id"
columns = { id = "uuid", name = "text null", at = "timestamp null", tie = "i64 null" }
newer_by = ["at", "tie"]

[[on]]
event = "RENAMED"
upsert = "owners"
key = "data.id"
newer.name = "data.name"
newer.at = "data.at"
newer.tie = "position.offset"
"#;
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let renamed = |name: &str, at: &str, key: &str| {
        event("RENAMED", &format!(r#"{{"id":"{id}","name":"{name}","at":"{at}"}}"#)).key(key)
    };
    let events = [renamed("Ada", "2024-01-02T00:00:00Z", "a"), renamed("Eve", "2024-01-01T00:00:00Z", "b")];
    given(projection(text), events).then("owners", &format!("id | name\n {id} | Ada"));
}

#[test]
fn a_rule_may_be_for_each_item_and_an_error_names_its_place() {
    let text = VISITS.replace("key = \"data.page\"\nadd", "foreach = \"data\"\nkey = \"item.page\"\nadd");
    given(projection(&text), [event("VISITED", r#"[{"page":"/a"},{"page":"/b"},{"page":"/a"}]"#)])
        .then("visits", "page | count\n /a | 2\n /b | 1");
    let refused = |text: &str, data: &str| {
        let event: TestEvent = event("VISITED", data);
        try_given(projection(text), [event]).map(drop).expect_err(data)
    };
    assert_eq!(
        refused(&text, r#"[{"page":"/a"},{"path":"/b"}]"#),
        "event 0: visits.toml:12: item 1: page: the event has no `item.page`"
    );
    assert_eq!(
        refused(VISITS, r#"{"page":7}"#),
        "event 0: visits.toml:12: page: an integer is not a text: write string(…)"
    );
    assert_eq!(refused(VISITS, "[]"), "event 0: visits.toml:12: page: `data`: a list has no field `page`");
}

#[test]
fn a_parked_event_names_the_rows_that_it_would_have_changed() {
    let registry = Registry::new().register(projection(&(VISITS.to_owned() + "set.title = \"upper(data.title)\"\n")));
    let json = r#"{"event_id":"e1","type":"VISITED","timestamp":"2024-05-20T14:30:00Z","data":{"page":"/a"}}"#;
    let event =
        Envelope::from_plain_json(TopicPartition::new("site", 0).at(0), None, json.as_bytes()).expect("an event");
    assert!(registry.definitions()[0].project(&event).is_err());
    assert_eq!(registry.definitions()[0].affected(&event), [AffectedRow::new("visits", ["/a"])]);
}

#[test]
fn upcasters_of_a_file_bring_every_version_to_the_current_one() {
    let text = VISITS.replace(
        "[[on]]",
        r#"
[[upcast]]
event = "VISITED"
from = 1
rename.url = "target.path"
rename.who = "by"
default.by = "'nobody'"
set.seen = "epoch(data.seen, 'millis')"
remove = "noise"

[[upcast]]
event = "VISITED"
from = 2
set.page = "data.target.path.lower()"
set.price = "data.price * 2"

[[on]]"#,
    ) + "set.title = \"json(data)\"\n";
    let events = [
        event("VISITED", r#"{"url":"/A","seen":0,"noise":1,"price":12345678901234567.89}"#),
        event("VISITED", r#"{"url":"/D","who":"ada","seen":0,"price":1}"#),
        event("VISITED", r#"{"target":{"path":"/B"},"price":0}"#).version(2),
        event("VISITED", r#"{"page":"/c"}"#).version(3),
    ];
    given(projection(&text), events).then(
        "visits",
        r#"page | title
           /a | {"seen":"1970-01-01T00:00:00.000000Z","price":24691357802469135.78,"target":{"path":"/A"},"by":"nobody","page":"/a"}
           /d | {"seen":"1970-01-01T00:00:00.000000Z","price":2,"target":{"path":"/D"},"by":"ada","page":"/d"}
           /b | {"target":{"path":"/B"},"price":0,"page":"/b"}
           /c | {"page":"/c"}"#,
    );
}

#[test]
fn links_that_are_missing_or_lead_nowhere_are_problems() {
    let with = |upcasts: &str| problems(&VISITS.replace("[[on]]", &format!("{upcasts}\n[[on]]")));
    let upcast = |event: &str, from: u32| format!("[[upcast]]\nevent = \"{event}\"\nfrom = {from}\nset.a = \"1\"\n");
    assert!(
        with(&(upcast("VISITED", 1) + &upcast("VISITED", 3)))
            .contains("to version 2 and from version 3, and none between")
    );
    assert!(with(&(upcast("VISITED", 1) + &upcast("VISITED", 1))).contains("has two upcasters from version 1"));
    assert!(with(&upcast("LEFT", 1)).contains("to which the projection does not subscribe"));
    assert!(
        with("[[upcast]]\nevent = \"VISITED\"\nfrom = -1\n")
            .contains("visits.toml:14:8: `from` is the number of a version")
    );
    assert!(with("[[upcast]]\nevent = \"VISITED\"\n").contains("`upcast` has no `from`"));
    let wrong = with("[[upcast]]\nevent = \"VISITED\"\nfrom = 1\nset.page = \"data.path +\"\n");
    assert!(wrong.starts_with("visits.toml:15:24: unexpected end"), "{wrong}");
}

#[test]
fn what_a_file_declares_is_its_content_without_comments() {
    let hash = |text: &str| Registry::new().register(projection(text)).definitions()[0].hash().to_owned();
    let commented = format!(
        "# about\n{}",
        VISITS.replace("key = \"page\"", "key   =   [\"page\"] # the path").replace("[\"page\"]", "\"page\"")
    );
    assert_eq!(hash(VISITS), hash(&commented));
    assert_ne!(hash(VISITS), hash(&VISITS.replace("add.count = \"1\"", "add.count = \"2\"")));
    assert_ne!(hash(VISITS), hash(&VISITS.replace("i64 default 0", "i64 default 1")));
    let two = projection(VISITS).with_version(2);
    assert_eq!((two.version(), two.name()), (2, "visits"));
}

/// A projection in code whose upcasters are a file.
struct Counted(Upcasters);

impl Projection for Counted {
    fn name(&self) -> &str {
        "counted"
    }

    fn topics(&self) -> &[&str] {
        &["site"]
    }

    fn event_types(&self) -> &[&str] {
        &["VISITED"]
    }

    fn upcasters(&self) -> Upcasters {
        self.0.clone()
    }

    fn tables(&self) -> Vec<TableSpec> {
        projection(VISITS).tables()
    }

    fn project(&self, _: &Envelope<'_>, _: &mut Changes<'_>) -> Result<(), ProjectionError> {
        Ok(())
    }
}

#[test]
fn what_code_declares_changes_with_the_upcasters_of_its_file() {
    let hash = |text: &str| {
        let upcasters = upcasters("upcasts.toml", text).expect("upcasters");
        Registry::new().register(Counted(upcasters)).definitions()[0].hash().to_owned()
    };
    let table = "[[upcast]]\nevent = \"VISITED\"\nfrom = 1\nset.page = \"data.path\"\n";
    assert_eq!(hash(table), hash(&table.replace("from = 1", "from   =  1 # the first")));
    assert_ne!(hash(table), hash(&table.replace("data.path", "data.url")));
    let inline = "upcast = [{ event = \"VISITED\", from = 1, set.page = \"data.path\" }]";
    assert_eq!(hash(table), hash(inline));
}

/// The problem as it is shown.
fn shown(text: &str) -> String {
    let problems = FileProjection::load("projections/visits.toml", text).map(drop).expect_err(text);
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn a_problem_is_shown_where_it_stands() {
    let text = VISITS.replace("upsert = \"visits\"", "upsert = \"visit\"");
    assert_eq!(
        shown(&text),
        r#"error: table `visit` is not declared
  --> projections/visits.toml:14:10
   |
14 | upsert = "visit"
   |          ^^^^^^^
   |
   = help: did you mean `visits`?"#
    );
    let text = VISITS.to_owned() + "set.title = \"data.title.uper()\"\n";
    assert_eq!(
        shown(&text),
        r#"error: there is no function `uper`
  --> projections/visits.toml:17:14
   |
17 | set.title = "data.title.uper()"
   |              ^^^^^^^^^^^^^^^^^
   |
   = help: did you mean `upper`?"#
    );
}

#[test]
fn an_event_is_explained_expression_by_expression() {
    let text = VISITS.replace("add.count", "when = \"data.page != ''\"\nset.title = \"upper(data.title)\"\nadd.count");
    let explained = |data: &str| {
        let json = format!(r#"{{"event_id":"e","type":"VISITED","timestamp":"2024-05-20T14:30:00Z","data":{data}}}"#);
        let event = Envelope::from_plain_json(TopicPartition::new("site", 0).at(0), None, json.as_bytes());
        projection(&text).explain(&event.expect("an event")).expect("rules").join("\n")
    };
    assert_eq!(
        explained(r#"{"page":"/a"}"#),
        r#"visits.toml:12: upsert visits
  when                     data.page != '' → true
  key page                 data.page → "/a"
  set.title                upper(data.title) → error: the event has no `data.title`
  add.count                1 → 1"#
    );
    assert_eq!(
        explained(r#"{"page":""}"#),
        "visits.toml:12: upsert visits\n  when                     data.page != '' → false"
    );
}

#[test]
fn what_is_suspicious_is_named_with_its_place() {
    let text = VISITS.replace(
        "key = \"data.page\"\nadd",
        "foreach = \"data.pages\"\nkey = \"item.page\"\nset.title = \"item.title\"\nadd",
    ) + "\n[[on]]\nevent = \"RENAMED\"\nupdate_where = \"visits\"\nwhere.title = \"data.from\"\nset.title = \"data.to\"\n";
    let doubts = projection(&text).lint();
    assert_eq!(doubts.len(), 4, "{doubts:?}");
    assert!(doubts[0].starts_with("visits.toml: column `last` of `visits` is set by no rule"));
    assert!(doubts[1].starts_with("visits.toml: column `log` of `visits`"));
    assert!(doubts[2].starts_with("visits.toml:12: rows of `visits` have a key from the items of a list, `item.page`"));
    assert!(
        doubts[3].starts_with("visits.toml:20: `update_where` scans `visits`")
            && doubts[3].ends_with("indexes = [\"title\"]")
    );
    let indexed = projection(&text.replace("key = \"page\"", "key = \"page\"\nindexes = \"title\""));
    assert_eq!(indexed.lint().len(), 3);
}
