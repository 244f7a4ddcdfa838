//! Both forms of the examples, in files and in code, are valid and make the same tables.

use readcast_core::{ChangeSet, Definition, Envelope, Model, Registry, TopicPartition};
use readcast_files::FileProjection;

use crate::{FILES, bank, registry, sample};

const EVENTS: usize = 1_000;

fn of_file((path, text): (&str, &str)) -> Definition {
    let loaded = FileProjection::load(path, text).unwrap_or_else(|problems| panic!("{}", problems[0]));
    Registry::new().register(loaded).definitions()[0].clone()
}

/// The tables of a definition after these events, each with its topic.
fn tables(definition: &Definition, events: &[(&str, String)]) -> Model {
    let mut model = Model::new(definition.tables().to_vec());
    for ((topic, json), offset) in events.iter().zip(0..) {
        let position = TopicPartition::new(*topic, 0).at(offset);
        let event = Envelope::from_plain_json(position, None, json.as_bytes()).expect("an event");
        if !definition.reads(topic) || !definition.subscribes(&event.event_type) {
            continue;
        }
        let mut changes = ChangeSet::new();
        for change in definition.project(&event).unwrap_or_else(|error| panic!("{error}: {json}")) {
            changes.push(change, definition.tables());
        }
        model.apply(&changes).expect("numbers in range");
    }
    model
}

#[test]
fn every_declaration_is_valid() {
    assert_eq!(registry().validate(), Ok(()));
    assert_eq!(bank::registry().validate(), Ok(()));
}

#[test]
fn the_shop_has_the_same_tables_in_files_and_in_code() {
    let events: Vec<_> = sample::Orders::new(7).take(EVENTS).map(|(_, json)| (sample::TOPIC, json)).collect();
    for (file, code) in FILES.into_iter().zip(registry().definitions()) {
        let file = of_file(file);
        assert_eq!((file.name(), file.tables_json()), (code.name(), code.tables_json()));
        assert!(tables(&file, &events) == tables(code, &events), "{}", code.name());
    }
}

#[test]
fn the_bank_has_the_same_tables_in_files_and_in_code() {
    let events = bank::sample::BankEvents::new(7).take(EVENTS);
    let events: Vec<_> = events.map(|event| (event.topic, event.json)).collect();
    let (code, file) = (bank::registry(), of_file(bank::FILE));
    let code = &code.definitions()[0];
    assert_eq!(file.tables_json(), code.tables_json());
    assert!(tables(&file, &events) == tables(code, &events));
}
