//! Names: former ones, unknown ones, and those of projections and topics.

use std::path::Path;

use super::*;
use crate::config::setting::{NAME, Scope};
use crate::config::table::SETTINGS;

/// The warnings of a configuration, without the directory of its file.
fn warnings(layers: Layers) -> Vec<String> {
    let config = layers.load().unwrap();
    config
        .warnings()
        .iter()
        .map(|warning| warning.rsplit_once('/').map_or(warning.as_str(), |(_, rest)| rest).into())
        .collect()
}

#[test]
fn every_setting_has_a_name_a_default_and_a_meaning_of_its_own() {
    let mut names: Vec<String> =
        SETTINGS.iter().flat_map(|setting| [setting.names(), setting.former_names()].concat()).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
    for setting in SETTINGS {
        let place = setting.name;
        if let Some(default) = setting.default {
            (setting.check)(&Written::text_at("default", place, default)).unwrap();
        }
        assert!(setting.meaning.starts_with(' ') && setting.meaning.ends_with('.'), "{place}: {}", setting.meaning);
        assert_eq!(setting.scope == Scope::Topic, place.starts_with("topics."), "{place}");
        assert_eq!(setting.variable().is_none(), place.contains(NAME), "{place}");
    }
}

/// The text of every source file in `directory`, except for the table and the tests of the configuration.
fn sources(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.is_dir() {
        true if path.ends_with("config/tests") => String::new(),
        true => sources(&path),
        false if path.ends_with("config/table.rs") || path.ends_with("config/tests.rs") => String::new(),
        false => std::fs::read_to_string(path).unwrap(),
    };
    entries.map(text).collect()
}

#[test]
fn every_setting_is_used() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let words: BTreeSet<&str> = sources.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for setting in SETTINGS {
        assert!(words.contains(setting.field), "nothing uses `{}`, the field of `{}`", setting.field, setting.name);
    }
}

#[test]
fn a_former_name_in_a_file_is_read_with_a_warning() {
    let file = || Layers::file("[projector]\nmax_impact = 7\n[projections.order_summary]\nmost_lost_percent = 9");
    let config = file().load().unwrap();
    assert_eq!(config.projection("product_sales").max_live_lag, 7);
    assert_eq!(config.projection("order_summary").max_row_loss_percent, 9);
    assert_eq!(config.projection("product_sales").max_row_loss_percent, 5);
    let expected = [
        "readcast.toml:2:1: `projector.max_impact` has a new name; write `projector.max_live_lag`",
        "readcast.toml:4:1: `projections.order_summary.most_lost_percent` has a new name; write \
         `projections.order_summary.max_row_loss_percent`",
    ];
    assert_eq!(warnings(file()), expected);
}

#[test]
fn a_former_variable_is_read_with_a_warning() {
    let environment = || Layers::default().environment([("READCAST_MOST_LOST_PERCENT", "50")]);
    assert_eq!(environment().load().unwrap().projection("order_summary").max_row_loss_percent, 50);
    let expected = "READCAST_MOST_LOST_PERCENT has a new name; write READCAST_MAX_ROW_LOSS_PERCENT";
    assert_eq!(warnings(environment()), [expected]);
    let error = Layers::default().environment([("READCAST_MAX_IMPACT", "many")]).error();
    let expected = "READCAST_MAX_IMPACT: `projector.max_impact` must be a whole number of records from 0 to 1000000000000, \
                    found `many`";
    assert_eq!(error, expected);
}

#[test]
fn both_names_in_one_layer_are_refused() {
    let file = "[projector]\nmax_live_lag = 1\nmax_impact = 1";
    let expected = "readcast.toml:3:1: `projector.max_live_lag` is set twice, here and at readcast.toml:2:1; keep one of \
                    them, and not its former name `projector.max_impact`";
    assert_eq!(Layers::file(file).error(), expected);
    let both = [("READCAST_MAX_LIVE_LAG", "1"), ("READCAST_MAX_IMPACT", "1")];
    let expected = "READCAST_MAX_LIVE_LAG: `projector.max_live_lag` is set twice, here and at READCAST_MAX_IMPACT; keep \
                    one of them, and not its former name `projector.max_impact`";
    assert_eq!(Layers::default().environment(both).error(), expected);
    let one_of_all = "[projector]\nmax_live_lag = 1\n[projections.order_summary]\nmax_impact = 2";
    assert_eq!(Layers::file(one_of_all).load().unwrap().projection("order_summary").max_live_lag, 2);
}

#[test]
fn a_former_name_in_a_later_layer_counts() {
    let file = "[projector]\nmax_live_lag = 1";
    let config = Layers::file(file).environment([("READCAST_MAX_IMPACT", "2")]).load().unwrap();
    assert_eq!(config.projection("order_summary").max_live_lag, 2);
}

#[test]
fn a_topic_has_a_format() {
    let file =
        "[topics.orders]\nformat = 'avro'\n[topics.payments.v2]\nformat = 'json'\n[topics.\"a.b\"]\n[topics.empty]";
    let config = Layers::file(file).load().unwrap();
    let formats: Vec<_> = config.topics().iter().map(|(name, topic)| (&**name, &*topic.options.format)).collect();
    assert_eq!(formats, [("orders", "avro"), ("payments.v2", "json")]);
    assert_eq!(config.other_topics().options.format, "envelope");
    let known = BTreeSet::from(["orders", "payments.v2"]);
    assert_eq!(config.check_topics(&known), Ok(()));
    let error = config.check_topics(&BTreeSet::from(["order", "payments.v2"])).unwrap_err().to_string();
    assert_eq!(error, "[topics]: unknown topic `orders`; did you mean `order`?");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_ones() {
    let cases = [
        ("[topics.orders]\nfromat = 'avro'", "2:1: unknown key `fromat`; did you mean `format`?"),
        ("[topics]\norders = 'avro'", "2:10: `topics.orders` must be a section, found `avro`"),
        (
            "[topics.orders]\nformat = 'a/b'",
            "2:10: `topics.orders.format` must be a name of letters, digits, `.`, `_` and `-`, found `a/b`",
        ),
        ("[topics.orders]\nformat = 3", "2:10: `topics.orders.format` must be a text in quotes, found an integer"),
        ("[topics.orders]\nformat = ''", "2:10: `topics.orders.format` must not be empty"),
        (
            "[projections.order_sumary]\nlanes = 1",
            "1:14: unknown projection `order_sumary`; did you mean `order_summary`?",
        ),
        ("[projections]\norder_summary = 1", "2:17: `projections.order_summary` must be a section, found `1`"),
        ("[projections.order_summary]\napp = 'x'", "2:1: unknown key `app`"),
        (
            "[projections.order_summary.lanes]\nx = 1",
            "1:1: `projections.order_summary.lanes` must be a whole number of lanes from 1 to 64, found a section",
        ),
        ("[projections.order_summary.more]\nlanes = 1", "1:28: unknown section `more`"),
        ("[projector]\ngroup = 'x'", "2:1: unknown key `group`"),
        (
            "[store.postgres]\nurl = 'x'",
            "1:8: unknown section `postgres`; there are `url`, `password`, `schema`, `max_connections`, `insecure`",
        ),
        ("[source]\nproprties.x = 1", "2:1: unknown section `proprties`; did you mean `properties`?"),
        ("[source]\nproperties = 'x'", "2:14: `source.properties` must be a section, found `x`"),
        ("topics = []", "1:10: `topics` must be a section, found an array"),
        ("[projector]\nNAME = 1", "2:1: unknown key `NAME`"),
    ];
    for (file, expected) in cases {
        assert_eq!(Layers::file(file).error(), format!("readcast.toml:{expected}"));
    }
}

#[test]
fn an_empty_variable_is_not_set_and_a_wrong_one_is_named() {
    let whole = |text: &str| {
        Layers::default()
            .environment([("READCAST_LANES", text)])
            .load()
            .map(|config| config.projection("order_summary").lanes)
    };
    assert_eq!(whole(""), Ok(2), "empty is not set");
    for text in ["0", "65", "two", "1e1", "\u{fffd}"] {
        assert!(whole(text).unwrap_err().starts_with("READCAST_LANES: "), "{text}");
    }
    let topics = Layers::default().environment([("READCAST_TOPICS_ORDERS_FORMAT", "avro")]).error();
    assert!(topics.starts_with("environment: unknown variable `READCAST_TOPICS_ORDERS_FORMAT`"), "{topics}");
}

#[test]
fn a_value_that_another_layer_overrules_is_checked_too() {
    let error = Layers::file("[projector]\nlanes = 0").environment([("READCAST_LANES", "2")]).error();
    assert!(error.starts_with("readcast.toml:2:9: `projector.lanes` must be "), "{error}");
}
