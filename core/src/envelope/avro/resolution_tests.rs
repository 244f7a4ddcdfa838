//! The rules of the Avro specification's "Schema Resolution", one by one, with Apache's own library as writer and reader.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value as Json, json};

use super::*;

/// A value in the encoding of `writer`, by Apache's library.
fn written(writer: &str, value: &Json) -> Vec<u8> {
    let schema = Schema::parse_str(writer).expect("a schema");
    let value = Value::try_from(value.clone()).and_then(|value| value.resolve(&schema)).expect("a value of the schema");
    let writer = GenericDatumWriter::builder(&schema).build().expect("a writer");
    writer.write_value_to_vec(value).expect("Avro")
}

/// The value as Apache's library reads what it was resolved to. It must be what we read of it, unless that has no form in JSON.
fn resolved(writer: &str, value: &Json, reader: &str) -> Result<Value, String> {
    let bytes = written(writer, value);
    let (writer, reader_schema) = (AvroSchema::parse("w", writer, &[]), AvroReaderSchema::parse("r", reader));
    let (writer, reader_schema) = (writer.expect("a schema"), reader_schema.expect("a schema"));
    let avro = reader_schema.resolve(&Avro::new(bytes, writer)).map_err(|error| error.to_string())?;
    let model = Schema::parse_str(reader).expect("a schema");
    let theirs = GenericDatumReader::builder(&model).build().and_then(|reader| reader.read_value(&mut &*avro.bytes));
    let theirs = theirs.expect("a value of the reader's schema");
    if let Ok(ours) = avro.deserialize::<Json>() {
        assert_eq!(Json::try_from(theirs.clone()).expect("JSON"), ours);
    }
    Ok(theirs)
}

fn read(writer: &str, value: Json, reader: &str) -> Result<Json, String> {
    resolved(writer, &value, reader).map(|value| Json::try_from(value).expect("JSON"))
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"a.R","fields":[{fields}]}}"#)
}

#[test]
fn numbers_become_wider_ones_and_no_narrower_ones() {
    let types = ["int", "long", "float", "double"];
    for (from, writer) in types.iter().enumerate() {
        for (to, reader) in types.iter().enumerate() {
            let read = read(&format!("\"{writer}\""), json!(7), &format!("\"{reader}\""));
            let expected = if to < 2 { json!(7) } else { json!(7.0) };
            assert_eq!(read.ok(), (from <= to).then_some(expected), "{writer} as {reader}");
        }
    }
    assert_eq!(
        read(r#""long""#, json!(-9_007_199_254_740_993_i64), r#""long""#),
        Ok(json!(-9_007_199_254_740_993_i64))
    );
    assert_eq!(read(r#""long""#, json!(-2), r#""double""#), Ok(json!(-2.0)));
}

#[test]
fn texts_and_bytes_become_each_other_and_nothing_else() {
    let types = ["null", "boolean", "int", "bytes", "string"];
    let values = [json!(null), json!(true), json!(1), json!([97]), json!("a")];
    for (writer, value) in types.iter().zip(&values) {
        for reader in types {
            let is_same = *writer == reader || [(*writer, reader), (reader, *writer)].contains(&("bytes", "string"));
            let read = read(&format!("\"{writer}\""), value.clone(), &format!("\"{reader}\""));
            assert_eq!(read.is_ok(), is_same, "{writer} as {reader}: {read:?}");
        }
    }
}

#[test]
fn fields_are_found_by_name_or_alias_in_any_order_and_missing_ones_have_their_defaults() {
    let writer = record(
        r#"{"name":"id","type":"string"},{"name":"gone","type":{"type":"array","items":"long"}},{"name":"cents","type":"int"}"#,
    );
    let reader = record(
        r#"{"name":"amount","aliases":["cents"],"type":"long"},{"name":"note","type":["null","string"],"default":null},
           {"name":"tags","type":{"type":"map","values":"int"},"default":{"a":1}},{"name":"id","type":"string"},
           {"name":"raw","type":"bytes","default":"\u00ff"},{"name":"in","type":{"type":"record","name":"In","fields":[
           {"name":"x","type":"double","default":1.5},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}}]},"default":{"e":"B"}}"#,
    );
    let value = json!({"id": "a1", "gone": [1, 2, 3], "cents": 1234});
    let expected =
        json!({"amount": 1234, "note": null, "tags": {"a": 1}, "id": "a1", "raw": [255], "in": {"x": 1.5, "e": "B"}});
    let read_value = resolved(&writer, &value, &reader).expect("a value");
    assert_eq!(Json::try_from(read_value).expect("JSON"), expected);

    let error = read(&writer, value, &record(r#"{"name":"owner","type":"string"}"#)).unwrap_err();
    assert_eq!(
        error,
        "the value, written with the schema w, can't be read as r: /owner: it was not written, and has no default"
    );
}

#[test]
fn types_with_names_must_have_the_same_or_an_alias() {
    let named = |name: &str| format!(r#"{{"type":"record","name":"{name}","fields":[]}}"#);
    let renamed = r#"{"type":"record","name":"b.S","aliases":["a.R"],"fields":[]}"#;
    assert!(read(&named("a.R"), json!({}), &named("b.R")).is_ok(), "the namespace does not count");
    assert!(read(&named("a.R"), json!({}), &named("a.S")).is_err());
    assert!(read(&named("a.R"), json!({}), renamed).is_ok());
    let fixed = |name: &str, size: u8| format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#);
    assert!(read(&fixed("F", 2), json!("ab"), &fixed("F", 2)).is_ok());
    assert!(read(&fixed("F", 2), json!("ab"), &fixed("F", 3)).is_err());
    assert!(read(&fixed("F", 2), json!("ab"), &fixed("G", 2)).is_err());
}

#[test]
fn an_enum_has_the_symbol_or_a_default_or_this_value_is_refused() {
    let symbols = |more: &str| format!(r#"{{"type":"enum","name":"E","symbols":["C","A"]{more}}}"#);
    let writer = r#"{"type":"enum","name":"E","symbols":["A","B"]}"#;
    assert_eq!(read(writer, json!("A"), &symbols("")), Ok(json!("A")));
    assert_eq!(read(writer, json!("B"), &symbols(r#","default":"C""#)), Ok(json!("C")));
    assert!(read(writer, json!("B"), &symbols("")).is_err_and(|error| error.contains("the reader's enum has no `B`")));
}

#[test]
fn arrays_and_maps_are_resolved_by_their_items() {
    let of = |kind: &str, item: &str| {
        format!(r#"{{"type":"{kind}","{}":"{item}"}}"#, if kind == "array" { "items" } else { "values" })
    };
    assert_eq!(read(&of("array", "int"), json!([1, 2]), &of("array", "double")), Ok(json!([1.0, 2.0])));
    assert_eq!(read(&of("map", "int"), json!({"a": 1}), &of("map", "long")), Ok(json!({"a": 1})));
    assert!(read(&of("array", "int"), json!([1]), &of("array", "string")).is_err());
    assert!(read(&of("array", "int"), json!([1]), &of("map", "int")).is_err());
    // A block may have its size in bytes before its items.
    let writer = AvroSchema::parse("w", &of("array", "int"), &[]).expect("a schema");
    let reader = AvroReaderSchema::parse("r", &of("array", "long")).expect("a schema");
    let read = reader.resolve(&Avro::new(&b"\x03\x04\x02\x04\x00"[..], writer)).expect("a value");
    assert_eq!(read.deserialize::<Vec<i64>>().expect("numbers"), [1, 2]);
}

#[test]
fn unions_are_resolved_by_the_variant_that_was_written() {
    assert_eq!(read(r#"["null","int"]"#, json!(7), r#"["string","double","null"]"#), Ok(json!(7.0)));
    assert_eq!(read(r#"["null","int"]"#, json!(null), r#"["string","double","null"]"#), Ok(json!(null)));
    assert_eq!(read(r#""int""#, json!(7), r#"["null","long"]"#), Ok(json!(7)));
    assert_eq!(read(r#"["null","int"]"#, json!(7), r#""long""#), Ok(json!(7)));
    let error = read(r#"["null","int"]"#, json!(null), r#""long""#).unwrap_err();
    assert!(error.ends_with("the value: it was written as null, and is read as long"), "{error}");
    // A long next to a double stays one.
    let theirs = resolved(r#""long""#, &json!(7), r#"["double","long"]"#).expect("a value");
    assert_eq!(theirs, Value::Union(1, Box::new(Value::Long(7))));
}

#[test]
fn what_a_schema_has_no_place_for_is_told_before_it_is_met() {
    let reader = AvroReaderSchema::parse("r", &record(r#"{"name":"id","type":"string"}"#)).expect("a schema");
    let refusals = |field: &str| reader.refusals(&AvroSchema::parse(field, &record(field), &[]).expect("a schema"));
    assert_eq!(refusals(r#"{"name":"id","type":"bytes"}"#), Vec::<String>::new());
    assert_eq!(
        refusals(r#"{"name":"id","type":["null","string"]}"#),
        ["/id: it was written as null, and is read as string"]
    );
    let enums = AvroReaderSchema::parse("r", r#"{"type":"enum","name":"E","symbols":["A"]}"#).expect("a schema");
    let wider = AvroSchema::parse("w", r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[]).expect("a schema");
    assert_eq!(enums.refusals(&wider), ["the value: the reader's enum has no `B`"]);
    assert_eq!(refusals(r#"{"name":"no","type":"string"}"#), ["/id: it was not written, and has no default"]);
}

#[test]
fn a_decimal_or_a_time_of_another_unit_is_not_taken_for_one_of_this() {
    let decimal = |scale: u8| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":10,"scale":{scale}}}"#);
    let at = |unit: &str| format!(r#"{{"type":"long","logicalType":"timestamp-{unit}"}}"#);
    let writer = AvroSchema::parse("w", &decimal(2), &[]).expect("a schema");
    let one = Avro::new(&b"\x04\x04\xd2"[..], writer);
    let as_scale = |scale| AvroReaderSchema::parse("r", &decimal(scale)).expect("a schema").resolve(&one);
    assert_eq!(as_scale(2).expect("12.34").deserialize::<crate::Decimal>().expect("12.34").to_string(), "12.34");
    let error = as_scale(3).unwrap_err().to_string();
    assert!(error.ends_with("it was written as a decimal of scale 2, and is read as a decimal of scale 3"), "{error}");
    assert!(read(&at("millis"), json!(1), &at("micros")).is_err());
    assert_eq!(read(r#""long""#, json!(1), &at("micros")), Ok(json!(1)), "a plain number may be anything");
}

#[test]
fn a_type_may_hold_itself() {
    let list = |item: &str| {
        format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"item","type":"{item}"}},{{"name":"next","type":["null","L"]}}]}}"#
        )
    };
    let value = json!({"item": 1, "next": {"item": 2, "next": null}});
    assert_eq!(read(&list("int"), value, &list("long")), Ok(json!({"item": 1, "next": {"item": 2, "next": null}})));
    // A type is found by its name within the namespace of the type around it.
    let namespaced = |item: &str| list(item).replace(r#""name":"L""#, r#""name":"L","namespace":"com.bank""#);
    let value = json!({"item": 1, "next": {"item": 2, "next": null}});
    assert_eq!(read(&namespaced("int"), value.clone(), &namespaced("long")), Ok(value));
    // Endless, or only said to be.
    let resolve = |bytes: Vec<u8>| {
        let writer = AvroSchema::parse("w", &list("int"), &[]).expect("a schema");
        AvroReaderSchema::parse("r", &list("long")).expect("a schema").resolve(&Avro::new(bytes, writer)).map(drop)
    };
    assert!(resolve(vec![2; 1_000_000]).is_err_and(|error| error.to_string().contains("deep")));
}

#[test]
fn bytes_that_are_no_value_are_refused() {
    let nulls = r#"{"type":"array","items":"null"}"#;
    let reader = AvroReaderSchema::parse("r", nulls).expect("a schema");
    let resolve = |bytes: &[u8]| {
        reader.resolve(&Avro::new(bytes, AvroSchema::parse("w", nulls, &[]).expect("a schema"))).map(drop)
    };
    for bytes in [
        &b""[..],
        b"\x04",
        b"\x02\x00\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",
    ] {
        assert!(resolve(bytes).is_err(), "{bytes:?}");
    }
    assert!(resolve(b"\x02\x00").is_ok());
    // Sixty thousand nulls in each of a million blocks.
    let blocks = b"\xc0\xa9\x07".repeat(1_000_000);
    assert!(resolve(&blocks).is_err_and(|error| error.to_string().contains("items without any bytes")));
}

/// A schema with every kind of type, whose values the other one takes.
const WIDE: [&str; 2] = [
    r#"{"type":"record","name":"W","fields":[{"name":"a","type":["null","int","string"]},{"name":"b","type":{"type":"array",
       "items":{"type":"map","values":"float"}}},{"name":"c","type":"bytes"},{"name":"d","type":{"type":"enum","name":"E",
       "symbols":["X","Y"]}},{"name":"e","type":{"type":"fixed","name":"F","size":3}},{"name":"next","type":["null","W"]}]}"#,
    r#"{"type":"record","name":"W","fields":[{"name":"next","type":["W","null"]},{"name":"e","type":{"type":"fixed","name":"F",
       "size":3}},{"name":"d","type":{"type":"enum","name":"E","symbols":["Y","X"]}},{"name":"b","type":{"type":"array",
       "items":{"type":"map","values":"double"}}},{"name":"a","type":["null","long","bytes"]},
       {"name":"z","type":"long","default":7}]}"#,
];

proptest::proptest! {
    #[test]
    fn whatever_is_read_of_any_bytes_is_a_value_of_both_schemas(bytes in proptest::collection::vec(0..12_u8, 0..60)) {
        let (writer, reader) = (AvroSchema::parse("w", WIDE[0], &[]), AvroReaderSchema::parse("r", WIDE[1]));
        let (writer, reader) = (writer.expect("a schema"), reader.expect("a schema"));
        let is_value = Avro::new(&bytes, writer.clone()).deserialize::<IgnoredAny>().is_ok();
        let resolved = reader.resolve(&Avro::new(&bytes, writer));
        // A reader that skips a block by its size does not look at the items.
        proptest::prop_assert!(is_value || resolved.is_err());
        if let Ok(resolved) = resolved {
            proptest::prop_assert!(resolved.deserialize::<IgnoredAny>().is_ok());
        }
    }
}
