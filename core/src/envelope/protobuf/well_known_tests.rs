//! Protobuf's well-known types in JSON (<https://protobuf.dev/programming-guides/json/>), with prost-reflect's mapping as the
//! reference.

use prost_reflect::SerializeOptions;
use prost_reflect::prost::Message as _;
use serde_json::{Value, json};

use super::*;

const FILE: &str = r#"
syntax = "proto3";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message All {
  google.protobuf.Timestamp timestamp = 1;
  google.protobuf.Duration duration = 2;
  google.protobuf.DoubleValue double = 3;
  google.protobuf.FloatValue float = 4;
  google.protobuf.Int64Value int64 = 5;
  google.protobuf.UInt64Value uint64 = 6;
  google.protobuf.Int32Value int32 = 7;
  google.protobuf.UInt32Value uint32 = 8;
  google.protobuf.BoolValue bool = 9;
  google.protobuf.StringValue string = 10;
  google.protobuf.BytesValue bytes = 11;
  google.protobuf.Struct struct = 12;
  google.protobuf.Value value = 13;
  google.protobuf.ListValue list = 14;
  google.protobuf.Empty empty = 15;
  google.protobuf.FieldMask mask = 16;
  google.protobuf.Any any = 17;
}
"#;

/// A message with this one field as prost-reflect writes it in JSON, and as we read it.
fn in_both(field: &str, value: &Value) -> (Value, Value) {
    let schema = ProtobufSchema::parse(FILE, &[]).expect("a schema");
    let descriptor = schema.message(&[0]).expect("a message");
    let message = DynamicMessage::deserialize(descriptor, json!({ field: value })).expect("a message");
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    let theirs = message.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON");
    let ours = Protobuf::new(&message.encode_to_vec(), &schema, &[0]).expect("a message");
    (theirs, ours.deserialize().expect("JSON"))
}

#[test]
fn the_well_known_types_are_read_in_their_forms_in_json() {
    for (field, value) in [
        ("timestamp", json!("2024-05-20T14:30:00Z")),
        ("timestamp", json!("2024-05-20T14:30:00.5Z")),
        ("timestamp", json!("0001-01-01T00:00:00.000000001Z")),
        ("timestamp", json!("9999-12-31T23:59:59.999999999Z")),
        ("duration", json!("0s")),
        ("duration", json!("-1.5s")),
        ("duration", json!("315576000000s")),
        ("double", json!(0.0)),
        ("double", json!(-1.5e300)),
        ("float", json!(0.5)),
        ("int64", json!(i64::MIN)),
        ("uint64", json!(u64::MAX)),
        ("int32", json!(0)),
        ("uint32", json!(u32::MAX)),
        ("bool", json!(false)),
        ("string", json!("")),
        ("string", json!("é\u{10ffff}")),
        ("bytes", json!("")),
        ("bytes", json!("AP8=")),
        ("struct", json!({})),
        ("struct", json!({"a": null, "b": [1.5, true, "x", {"c": []}]})),
        ("value", json!(7.0)),
        ("value", json!({"a": 1.0})),
        ("value", json!([])),
        ("list", json!([])),
        ("list", json!([null, "a"])),
        ("empty", json!({})),
    ] {
        let (theirs, ours) = in_both(field, &value);
        assert_eq!(ours, theirs, "{field}: {value}");
    }
}

/// The differences, which `tests/README.md` lists.
#[test]
fn a_mask_and_an_any_are_read_as_messages() {
    let (_, mask) = in_both("mask", &json!("a,bC"));
    assert_eq!(mask, json!({"mask": {"paths": ["a", "b_c"]}}));
    let (_, any) = in_both("any", &json!({"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}));
    assert_eq!(any, json!({"any": {"type_url": "type.googleapis.com/google.protobuf.Empty", "value": ""}}));
}
