use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::{Decimal, Timestamp};

const BANK: &str = r#"
syntax = "proto3";
package bank;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/duration.proto";
import "google/type/money.proto";
import "confluent/type/decimal.proto";
import "shop/seal.proto";
message Unrelated {}
message Account {
  message Owner { string name = 1; }
  string id = 1;
  google.type.Money balance = 2;
  string limit = 3;
  google.protobuf.Timestamp opened_at = 4;
  Kind kind = 5;
  repeated Owner owners = 6;
  map<string, sint64> tags = 7;
  oneof contact { string mail = 8; int64 phone = 9; }
  google.protobuf.Int64Value points = 10;
  optional int32 rank = 11;
  google.protobuf.Struct more = 12;
  google.protobuf.Duration age = 13;
  bytes seal = 14;
  confluent.type.Decimal rate = 15;
  shop.Seal other_seal = 16;
  enum Kind { NORMAL = 0; JOINT = 1; }
}
"#;
const SEAL: &str = r#"syntax = "proto3"; package shop; message Seal { string owner = 1; }"#;

fn schema() -> ProtobufSchema {
    ProtobufSchema::parse(BANK, &[("shop/seal.proto".to_owned(), SEAL.to_owned())]).expect("a schema")
}

fn account(bytes: &[u8]) -> Protobuf {
    Protobuf::new(bytes, &schema(), &[1]).expect("an account")
}

/// id "a1", 12.50 EUR, limit "0.10", 2024-05-20T14:30:00.5Z, JOINT, two owners, tags b: -1 and a: 1, phone 7, 9 points, rank 0.
const BYTES: &[u8] = b"\x0a\x02a1\x12\x0d\x0a\x03EUR\x10\x0c\x18\x80\xca\xb5\xee\x01\x1a\x040.10\x22\x0c\x08\xe8\xbc\xad\xb2\x06\
    \x10\x80\xca\xb5\xee\x01\x28\x01\x32\x05\x0a\x03Ann\x32\x04\x0a\x02Bo\x3a\x05\x0a\x01b\x10\x01\x3a\x05\x0a\x01a\x10\x02\
    \x48\x07\x52\x02\x08\x09\x58\x00";

#[derive(Debug, Deserialize, PartialEq)]
struct Account<'a> {
    id: &'a str,
    balance: Decimal,
    limit: Decimal,
    opened_at: Timestamp,
    kind: Kind,
    owners: Vec<Owner>,
    tags: std::collections::BTreeMap<String, i64>,
    mail: Option<String>,
    phone: Option<i64>,
    points: Option<i64>,
    rank: Option<i32>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Kind {
    Normal,
    Joint,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Owner {
    name: String,
}

#[test]
fn a_message_becomes_a_type_with_exact_decimals() {
    let message = account(BYTES);
    let read: Account<'_> = message.deserialize().expect("an account");
    let expected = Account {
        id: "a1",
        balance: "12.5".parse().expect("a decimal"),
        limit: "0.10".parse().expect("a decimal"),
        opened_at: "2024-05-20T14:30:00.5Z".parse().expect("a time"),
        kind: Kind::Joint,
        owners: vec![Owner { name: "Ann".into() }, Owner { name: "Bo".into() }],
        tags: [("a".to_owned(), 1), ("b".to_owned(), -1)].into(),
        mail: None,
        phone: Some(7),
        points: Some(9),
        rank: Some(0),
    };
    assert_eq!(read, expected);
    assert_eq!(schema().name_of(&[1]).as_deref(), Some("bank.Account"));
    assert_eq!(schema().name_of(&[1, 0]).as_deref(), Some("bank.Account.Owner"));
    assert_eq!((schema().name_of(&[2]), schema().name_of(&[1, 2]), schema().name_of(&[])), (None, None, None));
}

#[test]
fn fields_that_are_not_set_have_their_defaults_or_none() {
    let read: Value = account(b"").deserialize().expect("an object");
    let expected = serde_json::json!({ "id": "", "limit": "", "kind": "NORMAL", "owners": [], "tags": {}, "seal": "" });
    assert_eq!(read, expected);
}

/// A field of bytes, which are a text or a message: its tag, its length, its content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).expect("a short one")], content].concat()
}

#[test]
fn well_known_types_have_their_forms_in_json() {
    let number = [&b"\x11"[..], &1.5_f64.to_le_bytes()].concat();
    let list = field(6, &[field(1, b"\x08\x00"), field(1, b"\x20\x01")].concat());
    let entry = |name: &[u8], value: &[u8]| field(1, &[field(1, name), field(2, value)].concat());
    let more = [entry(b"n", &number), entry(b"l", &list)].concat();
    let age = b"\x08\x5a\x10\x80\xe5\x9a\x77";
    let read: Value = account(&[field(12, &more), field(13, age)].concat()).deserialize().expect("an object");
    assert_eq!(read["more"], serde_json::json!({ "n": 1.5, "l": [null, true] }));
    assert_eq!(read["age"], "90.250s");
}

#[test]
fn amounts_of_money_keep_their_sign() {
    let amounts =
        [(12, 500_000_000, "12.5"), (-1, -750_000_000, "-1.75"), (0, -10_000_000, "-0.01"), (7, 0, "7"), (0, 0, "0")];
    for (units, nanos, text) in amounts {
        assert_eq!(deserialize::fraction(units, nanos), text);
    }
}

#[test]
fn a_decimal_of_confluent_keeps_its_digits() {
    #[derive(Deserialize)]
    struct Rated {
        rate: Decimal,
    }
    for (value, scale, text) in [
        (&b"\x04\xd2"[..], 2, "12.34"),
        (b"\xff", 2, "-0.01"),
        (b"", 0, "0"),
        (b"\x00\xab\x54\xa9\x8c\xeb\x1f\x0a\xd2", 2, "123456789012345678.90"),
    ] {
        let bytes = field(15, &[field(1, value), vec![0x10, 20, 0x18, scale]].concat());
        assert_eq!(account(&bytes).deserialize::<Rated>().expect("a decimal").rate.to_string(), text);
    }
    let long = field(15, &[field(1, &[1; 17]), vec![0x18, 2]].concat());
    assert!(account(&long).deserialize::<Rated>().is_err());
}

#[test]
fn a_schema_may_be_a_descriptor_in_base64() {
    use base64::Engine;
    let descriptor = schema().0.encode_to_vec();
    let text = base64::engine::general_purpose::STANDARD.encode(descriptor);
    let parsed = ProtobufSchema::parse(&text, &[("shop/seal.proto".to_owned(), SEAL.to_owned())]).expect("a schema");
    let message = Protobuf::new(BYTES, &parsed, &[1]).expect("an account");
    assert_eq!(message.deserialize::<Account<'_>>().expect("an account").id, "a1");
}

#[test]
fn what_is_no_message_of_the_schema_is_refused() {
    for length in [1, 3, 5, 20, BYTES.len() - 1] {
        assert!(Protobuf::new(&BYTES[..length], &schema(), &[1]).is_err(), "{length} bytes");
    }
    let missing = Protobuf::new(b"", &schema(), &[7]).expect_err("no message").to_string();
    assert_eq!(missing, "the schema has no message at [7]");
    assert!(ProtobufSchema::parse(BANK, &[]).is_err(), "an import is missing");
    assert!(ProtobufSchema::parse("message {", &[]).is_err());
}

#[test]
fn data_may_be_a_part_of_the_message() {
    let at = |path: &[&str]| account(BYTES).at(path.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(at(&["owners", "1", "name"]).deserialize::<String>().expect("a name"), "Bo");
    assert_eq!(at(&["tags", "a"]).deserialize::<i64>().expect("a number"), 1);
}
