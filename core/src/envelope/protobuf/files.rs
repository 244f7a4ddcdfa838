//! The files of a schema: those that a registry gives, and those that its clients take for known.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use protox::Error;
use protox::file::{File, FileResolver};

/// Files by the names under which others import them.
pub(super) struct Files(pub(super) BTreeMap<String, String>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let text = self.0.get(name).ok_or_else(|| Error::file_not_found(name))?;
        match descriptor(text) {
            Some(descriptor) => {
                Ok(File::from_file_descriptor_proto(FileDescriptorProto { name: Some(name.to_owned()), ..descriptor }))
            }
            None => File::from_source(name, text),
        }
    }
}

/// The descriptor that a text holds in base64: some clients register that in place of the text of a file.
fn descriptor(text: &str) -> Option<FileDescriptorProto> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    FileDescriptorProto::decode(&*bytes).ok()
}

/// Common types of Google and Confluent, which clients do not register
/// (<https://github.com/googleapis/googleapis/tree/master/google/type>).
pub(super) struct CommonTypes;

impl FileResolver for CommonTypes {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let known = COMMON_TYPES.iter().find(|(known, ..)| *known == name);
        let (_, package, definitions) = known.ok_or_else(|| Error::file_not_found(name))?;
        File::from_source(name, &format!("syntax = \"proto3\"; package {package}; {definitions}"))
    }
}

/// Names of files, their packages and what they define.
const COMMON_TYPES: [(&str, &str, &str); 10] = [
    (
        "google/type/money.proto",
        "google.type",
        "message Money { string currency_code = 1; int64 units = 2; int32 nanos = 3; }",
    ),
    ("google/type/decimal.proto", "google.type", "message Decimal { string value = 1; }"),
    ("google/type/date.proto", "google.type", "message Date { int32 year = 1; int32 month = 2; int32 day = 3; }"),
    (
        "google/type/timeofday.proto",
        "google.type",
        "message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }",
    ),
    (
        "google/type/dayofweek.proto",
        "google.type",
        "enum DayOfWeek { DAY_OF_WEEK_UNSPECIFIED = 0; MONDAY = 1; TUESDAY = 2; WEDNESDAY = 3; THURSDAY = 4; FRIDAY = 5;
         SATURDAY = 6; SUNDAY = 7; }",
    ),
    (
        "google/type/month.proto",
        "google.type",
        "enum Month { MONTH_UNSPECIFIED = 0; JANUARY = 1; FEBRUARY = 2; MARCH = 3; APRIL = 4; MAY = 5; JUNE = 6; JULY = 7;
         AUGUST = 8; SEPTEMBER = 9; OCTOBER = 10; NOVEMBER = 11; DECEMBER = 12; }",
    ),
    ("google/type/latlng.proto", "google.type", "message LatLng { double latitude = 1; double longitude = 2; }"),
    (
        "google/type/interval.proto",
        "google.type",
        "import \"google/protobuf/timestamp.proto\";
         message Interval { google.protobuf.Timestamp start_time = 1; google.protobuf.Timestamp end_time = 2; }",
    ),
    (
        "google/type/fraction.proto",
        "google.type",
        "message Fraction { int64 numerator = 1; int64 denominator = 2; }",
    ),
    (
        "confluent/type/decimal.proto",
        "confluent.type",
        "message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    ),
];
