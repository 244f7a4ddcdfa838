use super::*;

fn error(file: &str) -> String {
    configured(file).expect_err("a refusal")
}

#[test]
fn wrong_settings_of_a_topic_are_refused_with_what_they_may_be() {
    assert_eq!(
        error("[topics.accounts]\nformat = 'jsn'"),
        "`topics.accounts.format` is `jsn`, which is unknown; there are `envelope`, `json`, `cloudevents`, `debezium`, \
         `debezium-outbox`, `avro`, `protobuf`, `json-schema`"
    );
    assert!(
        error("[topics.accounts]\nformat = 'json'")
            .starts_with("`topics.accounts.type` is required for the format `json`")
    );
    assert!(error("[topics.accounts]\ntype = 'headers:x'").contains("must be `header:NAME`, `body:/POINTER`, "));
    assert!(error("[topics.accounts]\nevent_id = ['key', 'x']").contains(r#"found ["key", "x"]"#));
    assert!(error("[topics.accounts]\ntimestamp = 'key as hours'").contains("with `as seconds`"));
    assert!(error("[topics.accounts]\ndata = '/x'").contains("must be `body:` or `body:/POINTER`"));
    assert_eq!(
        error("[topics.a]\nformat = 'json'\ntype = 'attribute:type'"),
        "`topics.a`: records of the format `json` have no `attribute:type`"
    );
    assert_eq!(
        error("[topics.a]\nformat = 'cloudevents'\nevents = 'body:'"),
        "`topics.a.events` has no effect with the format `cloudevents`"
    );
    assert_eq!(
        error("[topics.a]\nformat = 'avro'"),
        "`topics.a.format` is `avro`: set `registry.url` to the schema registry"
    );
    assert_eq!(
        error("[registry]\nurl = 'http://here'\n[topics.a]\nformat = 'protobuf'\nschema = 'x'"),
        "`topics.a.schema` has no effect with the format `protobuf`"
    );
    let missing = error("[registry]\nurl = 'http://here'\n[topics.a]\nformat = 'avro'\nschema = '/nowhere/x.avsc'");
    assert!(
        missing.starts_with("`topics.a.format` is `avro`: its `schema`, /nowhere/x.avsc: No such file"),
        "{missing}"
    );
    assert!(error("[registry]\nurl = 'localhost:8081'").starts_with("`registry.url`: "));
    assert!(error("[topics.a]\ntypes = 'x'").contains("`topics.a.types` must be a section"));
    assert!(error("[topics.a.types]\nx = 7").contains("`topics.a.types.x` must be a text in quotes"));
}

#[test]
fn the_most_exact_name_or_pattern_of_a_topic_counts() {
    let decoders = configured(
        "[topics.'orders-*']\nformat = 'json'\ntype = 'const:short'\n[topics.'orders-eu-*']\nformat = 'json'\n\
         type = 'const:long'\n[topics.orders-eu-1]\nformat = 'json'\ntype = 'const:name'",
    )
    .expect("settings");
    let type_in = |topic: &str| {
        let (position, record) = (TopicPartition::new(topic, 0).at(7), record("{}", &[]));
        let events = decode(decoders.of(topic), &position, &record)?;
        Ok::<_, String>(events[0].event_type.to_string())
    };
    assert_eq!(type_in("orders-us"), Ok("short".into()));
    assert_eq!(type_in("orders-eu-2"), Ok("long".into()));
    assert_eq!(type_in("orders-eu-1"), Ok("name".into()));
    assert!(type_in("orders").is_err(), "the envelope");
}

#[test]
fn the_settings_in_the_book_are_accepted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/guides/formats.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let blocks: Vec<&str> =
        page.split("```toml,example\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect();
    assert!(blocks.len() > 5, "the page has examples");
    for block in blocks {
        configured(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}
