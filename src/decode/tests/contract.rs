use super::*;

/// What becomes of an event with this data when its topic has the schema, which stands in a file beside these.
fn checked(schema: &str, beside: &[(&str, &str)], data: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("account.json", schema);
    beside.iter().for_each(|(name, text)| write(name, text));
    let settings =
        format!("format = 'json'\ntype = 'const:Opened'\nschema = '{}/account.json'", folder.path().display());
    let read = read(&settings, &record(data, &[])).map(|events| events.concat());
    read.map_err(|error| error.replace(&folder.path().display().to_string(), "FOLDER"))
}

const ACCOUNT: &str = r##"{
    "type": "object",
    "required": ["owner", "balance"],
    "properties": {
        "owner": {"type": "string", "minLength": 1},
        "balance": {"$ref": "money.json#/definitions/amount"}
    }
}"##;
const MONEY: (&str, &str) =
    ("money.json", r#"{"definitions": {"amount": {"type": "string", "pattern": "^-?\\d+\\.\\d\\d$"}}}"#);

#[test]
fn data_that_meets_the_schema_passes_and_other_data_is_refused_with_the_place_and_the_rule() {
    let check = |data| checked(ACCOUNT, &[MONEY], data);
    assert!(check(r#"{"owner": "ann", "balance": "7.00"}"#).is_ok());
    // What the rules ask for is named, and what stands in the data is not.
    assert_eq!(
        check(r#"{"owner": 7, "balance": "secret"}"#).unwrap_err(),
        r#"the data breaks the schema of its topic: `/balance`: value does not match "^-?\d+\.\d\d$" (rule `/definitions/amount/pattern`); `/owner`: value is not of type "string" (rule `/properties/owner/type`)"#
    );
    assert_eq!(
        check(r#"{"owner": "ann"}"#).unwrap_err(),
        "the data breaks the schema of its topic: `the whole data`: \"balance\" is a required property (rule `/required`)"
    );
}

#[test]
fn of_many_failures_some_are_named_and_the_others_counted() {
    let error = checked(r#"{"items": {"type": "string"}}"#, &[], "[1, 2, 3, 4, 5]").unwrap_err();
    assert!(error.contains("`/0`: ") && error.contains("`/2`: ") && error.ends_with("; 2 more"), "{error}");
}

#[test]
fn a_schema_that_cannot_be_used_is_refused_when_the_settings_are_read() {
    let refused = |schema: &str| checked(schema, &[], "{}").unwrap_err();
    let start = "`topics.accounts.schema`, FOLDER/account.json: ";
    for (schema, reason) in [
        ("{", "EOF while parsing"),
        (r#"{"type": "strin"}"#, "\"strin\" is not valid"),
        (r#"{"$ref": "missing.json"}"#, "missing.json"),
        (r##"{"$ref": "#/missing"}"##, "missing"),
        (r#"{"$ref": "https://example.com/account.json"}"#, "https://example.com/account.json"),
        (r#"{"pattern": "("}"#, "not a \"regex\""),
    ] {
        let error = refused(schema);
        assert!(error.starts_with(start) && error.contains(reason), "{schema}: {error}");
    }
    let error = read("format = 'json'\ntype = 'key'\nschema = '/nowhere/x.json'", &record("{}", &[])).unwrap_err();
    assert!(error.starts_with("`topics.accounts.schema`, /nowhere/x.json: No such file"), "{error}");
}

#[test]
fn the_data_is_what_the_other_settings_make_it() {
    let schema = r#"{"type": "object"}"#;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("object.json");
    std::fs::write(&file, schema).expect("a file");
    let with = |settings: &str| format!("{settings}\nschema = '{}'", file.display());
    // The envelope's data, not the envelope; the text that holds JSON, not the text; of an array, each item.
    let envelope = |data: &str| {
        let head = r#""event_id":"1","type":"Opened","timestamp":"2024-05-20T14:30:00Z""#;
        read(&with(""), &record(&format!(r#"{{{head},"data":{data}}}"#), &[]))
    };
    assert!(envelope("{}").is_ok() && envelope("[]").is_err());
    let text = with("format = 'json'\ntype = 'key'\ndata = 'body:/payload'");
    assert!(read(&text, &record(r#"{"payload": "{\"a\": 1}"}"#, &[])).is_ok());
    let array = with("format = 'json'\ntype = 'key'\nevents = 'body:'");
    assert!(read(&array, &record("[{}, {}]", &[])).is_ok_and(|events| events.len() == 2));
    assert!(read(&array, &record("[{}, 7]", &[])).is_err());
    // A tombstone has no data.
    assert!(read(&with("format = 'json'\ntype = 'key'\ntombstone = 'Erased'"), &tombstone(&[])).is_ok());
}

#[test]
fn a_pattern_that_takes_for_ever_is_a_refusal() {
    let error = checked(r#"{"pattern": "^(?=(a|aa)+$)(a|aa)+b$"}"#, &[], &format!("\"{}\"", "a".repeat(5_000)));
    assert!(error.is_err_and(|error| error.contains("pattern")));
}
