//! What expressions are worth, and what is no expression.

use readcast_core::{Envelope, Payload, Timestamp, TopicPartition};

use super::*;

use crate::datum::{Shape, to_json};

const ORDER: &str = r#"{"id":"o1","customer":{"id":"c1","email":null},"total":49.90,"big":12345678901234567.89,"text":"12.50",
    "items":[{"sku":"a","price":0.10,"quantity":3},{"sku":"b","price":20,"quantity":1}],"tags":["x","y"],"none":[],"at":"2024-05-20T14:30:00Z",
    "odd name":1,"escaped":"a\"b","float":1e300}"#;

/// The value of an expression for an order, as JSON, or the error.
fn value(text: &str) -> String {
    let mut names = Names::default();
    let expression = match Expression::compile(text, &mut names) {
        Ok(expression) => expression,
        Err(errors) => return format!("{:?}", errors[0].message),
    };
    let headers = [("source".to_owned(), Some("web".into())), ("raw".to_owned(), Some(vec![0xff].into()))];
    let time: Timestamp = "2024-05-20T23:30:15.5Z".parse().expect("a time");
    let payload = Payload::json(ORDER).expect("JSON");
    let position = TopicPartition::new("orders", 3).at(7);
    let event = Envelope::new(position, Some(b"k1"), "e1", "ORDER_PLACED", time, payload).with_headers(&headers);
    let evaluate = || {
        let mut scope = Scope::new(&event, &names.shape).map_err(|error| error.to_string())?;
        to_json(&expression.evaluate(&mut scope).map_err(|error| error.to_string())?)
    };
    evaluate().unwrap_or_else(|error| format!("error: {error}"))
}

#[test]
fn a_key_with_a_format_has_fields() {
    let time = Timestamp::from_micros(0).expect("a time");
    let event = Envelope::new(TopicPartition::new("t", 0).at(0), Some(b"{}"), "e1", "T", time, Payload::Empty);
    let event = Envelope { key_payload: Payload::json(r#"{"id":7.10}"#).expect("JSON"), ..event };
    let mut names = Names::default();
    let expression = Expression::compile("key.id + 1", &mut names).expect("an expression");
    let mut scope = Scope::new(&event, &names.shape).expect("no data");
    assert_eq!(expression.evaluate(&mut scope).map(|value| to_json(&value)), Ok(Ok("8.10".into())));
}

#[track_caller]
fn all(values: &[(&str, &str)]) {
    for (text, expected) in values {
        assert_eq!(value(text), *expected, "{text}");
    }
}

#[test]
fn paths_lead_into_the_event() {
    all(&[
        ("data.id", r#""o1""#),
        ("data.customer", r#"{"id":"c1","email":null}"#),
        ("data.customer.id", r#""c1""#),
        ("data['odd name']", "1"),
        ("data.items[1].sku", r#""b""#),
        ("data.escaped", r#""a\"b""#),
        ("data.customer.map(name, name)", r#"["id","email"]"#),
        ("data.customer.exists(name, name == 'email')", "true"),
        ("key + '/' + type", r#""k1/ORDER_PLACED""#),
        (
            "[string(version), event_id, position.topic, string(position.partition), string(position.offset)]",
            r#"["1","e1","orders","3","7"]"#,
        ),
        ("headers.source", r#""web""#),
        ("headers.raw", r#""/w==""#),
        ("correlation_id", "null"),
        ("time", r#""2024-05-20T23:30:15.500000Z""#),
        ("data.name", "error: the event has no `data.name`"),
        ("data.customer.email.domain", "error: `data.customer.email`: null has no field `domain`"),
        ("data.items[2].sku", "error: a list of 2 has no item 2"),
        ("data.items[1.0].sku + data.items[double('0')].sku", r#""ba""#),
        ("data.items[0.5].sku", "error: 0.5 is not an integer of 64 bits: round it with round(…)"),
        ("data.?name", "null"),
        ("data.?name.first", "null"),
        ("data.?name.first.orValue('x')", r#""x""#),
        ("data.?customer.id", r#""c1""#),
        ("data.items[?7].?sku.orValue('none')", r#""none""#),
        ("has(data.name) || has(data.customer.id)", "true"),
        ("coalesce(data.name, data.customer.email, data.id)", r#""o1""#),
        ("coalesce(data.name)", "null"),
    ]);
}

#[test]
fn numbers_keep_every_digit() {
    all(&[
        ("data.total", "49.90"),
        ("data.big + 0.01", "12345678901234567.90"),
        ("0.1 + 0.2 == 0.3", "true"),
        ("0.1234567890123456789012345678", "0.1234567890123456789012345678"),
        ("-0.10", "-0.10"),
        ("sum(data.items.map(i, i.price * i.quantity))", "20.30"),
        ("decimal(data.text) * 2", "25.00"),
        (
            "data.text * 2",
            "error: `*` does not take a text and an integer: write decimal(…) or int(…) for a text that holds a number, string(…) for a text",
        ),
        ("7 / 2", "3"),
        ("7.0 / 2", "3.5"),
        ("1.0 / 3", r#"error: 1.0 / 3 has no exact result: write divide(1.0, 3, DECIMALS, "half_even")"#),
        ("divide(1, 3, 4)", "0.3333"),
        ("divide(1, 3, 27)", "error: divide(): 1 / 3 has too many digits to be rounded to 27 after the point"),
        ("decimal(double('0.3'))", "0.3"),
        (
            "decimal(double('0.1') + double('0.2'))",
            "error: decimal(): the float 0.30000000000000004 has more digits than a float keeps exactly: round it with round(…)",
        ),
        ("round(double('0.1') + double('0.2'), 2)", "0.30"),
        ("round(2.345, 2, 'half_up')", "2.35"),
        ("round(2.345, 2)", "2.34"),
        ("round(-2.5, 0, 'ceiling')", "-2"),
        ("9223372036854775807 + 1", "error: the result is out of the range of a 64-bit integer"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("7 % 0", "error: division by zero"),
        ("data.float > 1", "true"),
        ("double('NaN') < 1 || double('NaN') >= 1 || double('NaN') == double('NaN')", "false"),
        ("1 == 1.0 && 2u > 1.5", "true"),
        ("18446744073709551615u - 18446744073709551614u == 1", "true"),
        ("int(data.total * 100)", "4990"),
        ("int(data.total)", "error: int(): 49.90 is not an integer of 64 bits: round it with round(…)"),
        ("abs(-5)", "5"),
        ("scale(1.50)", "1"),
    ]);
}

#[test]
fn functions_of_texts() {
    all(&[
        ("data.id.upper()", r#""O1""#),
        ("upper('straße')", r#""STRASSE""#),
        ("' a '.trim()", r#""a""#),
        ("'a,b'.split(',')", r#"["a","b"]"#),
        ("'a,b,c'.split(',', 2)", r#"["a","b,c"]"#),
        ("'größe'.split('')", r#"["g","r","ö","ß","e"]"#),
        ("'größe'.split('', 2)", r#"["g","röße"]"#),
        ("'öaöaöa'.replace('ö', 'o', 2)", r#""oaoaöa""#),
        ("'öaöaöa'.indexOf('a', 2)", "3"),
        ("'öaöaöa'.lastIndexOf('öa', 3)", "2"),
        ("'öaöaöa'.lastIndexOf('a', 7)", "error: lastIndexOf(): 7 is not between 0 and 6"),
        ("'größe'.charAt(3) + 'größe'.charAt(5)", r#""ß""#),
        ("data.tags.join('-')", r#""x-y""#),
        ("'größe'.substring(1, 3)", r#""rö""#),
        ("'größe'.substring(2)", r#""öße""#),
        ("substring('a', 2)", "error: substring(): 2 is not between 0 and 1"),
        ("'abc'.matches('^a.c$')", "true"),
        ("extract('order-17', 'order-([0-9]+)')", r#""17""#),
        ("extract('x', '[0-9]+')", "null"),
        ("size('größe')", "5"),
        ("sha256('a')", r#""ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb""#),
    ]);
}

#[test]
fn functions_of_times() {
    all(&[
        ("time.truncate('day')", r#""2024-05-20T00:00:00.000000Z""#),
        ("time.truncate('day', 'Europe/Zurich')", r#""2024-05-20T22:00:00.000000Z""#),
        ("time.truncate('week')", r#""2024-05-20T00:00:00.000000Z""#),
        ("time.truncate('hour')", r#""2024-05-20T23:00:00.000000Z""#),
        ("timestamp('2024-09-08T12:00:00Z').truncate('day', 'America/Santiago')", r#""2024-09-08T04:00:00.000000Z""#),
        ("date(time, 'Europe/Zurich')", r#""2024-05-21""#),
        ("timestamp(data.at) + duration('1h30m') < time", "true"),
        ("time - timestamp(data.at)", r#""32415.5s""#),
        ("epoch(1700000000123, 'millis')", r#""2023-11-14T22:13:20.123000Z""#),
        ("time.getDayOfWeek()", "1"),
        ("[time.getHours('-09:30'), time.getHours('02:00')]", "[14,1]"),
        ("time.truncate('day', '+02:00')", r#""2024-05-20T22:00:00.000000Z""#),
        ("format_time(time, '%H:%M %Z', '+02:00')", r#""01:30 +02:00""#),
        ("format_time(time, '%Z', 'Europe/Zurich')", r#""CEST""#),
        ("duration(duration('1h30m5.25s')).getMinutes()", "90"),
        ("duration('1h30m5.25s').getMilliseconds()", "250"),
        ("format_time(time, '%Y-%m', 'Europe/Zurich')", r#""2024-05""#),
        ("format_time(time, '%Q')", r#"error: format_time(): "%Q" is not a format"#),
    ]);
}

#[test]
fn functions_of_lists_and_values_of_any_type() {
    all(&[
        ("data.items.filter(i, i.quantity > 1).map(i, i.sku)", r#"["a"]"#),
        ("data.items.map(i, i.quantity > 1, i.sku)", r#"["a"]"#),
        ("data.items.all(i, i.quantity > 0) && data.items.exists(i, i.sku == 'b')", "true"),
        ("data.items.exists_one(i, i.price > 1)", "true"),
        ("[1, 0, 2].exists(x, 4 / x == 2)", "true"),
        ("[1, 0].exists(x, 4 / x == 2)", "error: division by zero"),
        ("first(data.none)", "null"),
        ("last(data.tags) in ['y']", "true"),
        ("greatest(3, 2.5, null)", "3"),
        ("least(data.items.map(i, i.price))", "0.10"),
        ("{'a': 1, 'b': [data.id]}", r#"{"a":1,"b":["o1"]}"#),
        ("parse_json('{\"a\":1.10}').a", "1.10"),
        ("'a' in {'a': 1}", "true"),
        ("1 in {'a': 1}", "false"),
        ("has(data.?name.first) || has(data.?customer.id)", "true"),
        ("dyn(1) + dyn(2)", "3"),
        (
            "dyn(1) + 'a' == 'a'",
            "error: `+` does not take an integer and a text: write decimal(…) or int(…) for a text that holds a number, string(…) for a text",
        ),
        ("[bool('1'), bool('TRUE'), bool('f')]", "[true,true,false]"),
        ("bool('yes')", r#"error: bool(): "yes" is neither true nor false"#),
        ("[uint('7'), uint(2.0)]", "[7,2]"),
        ("uint(-1)", "error: uint(): -1 is negative"),
        ("false && 1 / 0 == 1", "false"),
        ("1 / 0 == 1 || true", "true"),
        ("data.id == 'o1' ? 'first' : data.missing", r#""first""#),
        ("true ? b'a' : b'b'", r#""YQ==""#),
    ]);
}

/// The message, the part of the text that it is about, and the help.
fn wrong(text: &str) -> (String, String, String) {
    let errors = Expression::compile(text, &mut Names::default()).expect_err(text);
    let ExpressionError { span, message, help } = errors.into_iter().next().expect("an error");
    (message, text[span].to_owned(), help.unwrap_or_default())
}

#[test]
fn mistakes_are_found_before_an_event_is() {
    for (text, message, part, help) in [
        ("dat.id", "`dat` is not known", "dat", "did you mean `data`?"),
        ("placed", "`placed` is not known", "placed", "known are data, key"),
        ("uper(data.id)", "there is no function `uper`", "uper(data.id)", "did you mean `upper`?"),
        ("round()", "`round` does not take 0 arguments", "round()", "`round(x, decimals, mode)`"),
        ("round(1, 2, 'half')", "round(): takes one of half_even, half_up", "'half'", "`round("),
        ("truncate(time, 'day', 'Zurich')", "\"Zurich\" is not a time zone", "'Zurich'", ""),
        ("1 + 'a'", "`+` does not take an integer and a text", "", ""),
        ("type && true", "`&&` takes a boolean, not a text", "type", ""),
        ("'a'.b", "a text has no field `b`", "", ""),
        ("size(1) + upper(1)", "upper(): takes a text, not an integer", "1", ""),
        ("data.id +", "unexpected end", "", "expected a value"),
        ("data.a b", "unexpected 'b'", "b", "expected the end"),
        ("[1, 2", "unexpected", "", "expected ']' or ','"),
        ("", "the expression is empty", "", "write null"),
        ("matches(data.id, data.pattern)", "the regular expression must be a text in quotes", "data.pattern", ""),
        ("matches(data.id, '(')", "\"(\" is not a regular expression", "'('", ""),
        ("99999999999999999999", "invalid int literal", "9", ""),
        ("Money{a: 1}", "messages of Protobuf can't be made", "", ""),
        ("'a\\q'", "", "", ""),
    ] {
        let (found, at, advice) = wrong(text);
        assert!(
            found.contains(message) && at.contains(part) && advice.contains(help),
            "{text}: {found} | {at} | {advice}"
        );
    }
    assert!(wrong(&"x".repeat(9_000)).0.starts_with("the expression has 9000 bytes"));
    assert!(Expression::compile(&"(".repeat(2_000), &mut Names::default()).is_err());
    assert!(Expression::compile(&format!("{}1{}", "(".repeat(500), ")".repeat(500)), &mut Names::default()).is_err());
}

#[test]
fn only_what_is_read_is_kept() {
    let read = |text| {
        let mut names = Names::default();
        Expression::compile(text, &mut names).expect(text);
        let named = |path: Vec<Step>| {
            let step = |step: &Step| match step {
                Step::Field(name) => name.clone(),
                Step::Items => "*".into(),
            };
            path.iter().map(step).collect::<Vec<_>>().join(".")
        };
        names.shape.paths().into_iter().map(named).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(read("data.a.b + data.c"), "a.b c");
    assert_eq!(read("sum(data.items.map(i, i.price * i.quantity))"), "items.*.price items.*.quantity");
    assert_eq!(read("size(data.items)"), "items");
    assert_eq!(read("data.items[0].sku"), "items.*.sku");
    assert_eq!(read("data.?a.b.orValue(1)"), "a.b");
    assert_eq!(read("key"), "");
}

#[test]
fn an_event_that_costs_too_much_is_refused() {
    let list = format!("[{}]", vec!["1"; 400].join(","));
    let text = "data.map(a, data.map(b, data.map(c, data.map(d, a + b + c + d))))";
    let mut names = Names::default();
    let expression = Expression::compile(text, &mut names).expect(text);
    let time = Timestamp::from_micros(0).expect("a time");
    let payload = Payload::json(list).expect("JSON");
    let event = Envelope::new(TopicPartition::new("t", 0).at(0), None, "e1", "T", time, payload);
    let mut scope = Scope::new(&event, &names.shape).expect("a list");
    let error = expression.evaluate(&mut scope).expect_err("too many steps").to_string();
    assert!(error.starts_with("the expressions take more than"), "{error}");
}

#[test]
fn data_that_is_nested_too_deeply_is_refused() {
    let nested = |depth: usize| {
        let payload = Payload::json("[".repeat(depth) + &"]".repeat(depth)).expect("JSON");
        let time = Timestamp::from_micros(0).expect("a time");
        let event = Envelope::new(TopicPartition::new("t", 0).at(0), None, "e1", "T", time, payload);
        Scope::new(&event, Shape::WHOLE).map(drop)
    };
    assert!(nested(127).is_ok());
    for depth in [128, 100_000] {
        let error = nested(depth).expect_err("too deep").to_string();
        assert!(error.contains("nested more than 127 levels"), "{error}");
    }
}

#[test]
fn a_tombstone_has_null_as_its_data() {
    let time = Timestamp::from_micros(0).expect("a time");
    let event = Envelope::new(TopicPartition::new("t", 0).at(0), Some(b"k"), "e1", "T", time, Payload::Empty);
    for (text, expected) in [("data == null", "true"), ("data.?a.orValue(key)", "\"k\""), ("key", "\"k\"")] {
        let mut names = Names::default();
        let expression = Expression::compile(text, &mut names).expect(text);
        let mut scope = Scope::new(&event, &names.shape).expect("no data");
        assert_eq!(expression.evaluate(&mut scope).map(|value| to_json(&value)), Ok(Ok(expected.into())), "{text}");
    }
}

#[test]
fn values_of_avro_are_exact() {
    let schema = r#"{"type":"record","name":"Opened","fields":[{"name":"id","type":"string"},
        {"name":"balance","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}},
        {"name":"rate","type":"double"},{"name":"tags","type":{"type":"array","items":"string"}},
        {"name":"note","type":["null","string"]}]}"#;
    let schema = readcast_core::AvroSchema::parse("7", schema, &[]).expect("a schema");
    let mut bytes = b"\x04a1\x04\x04\xd2".to_vec();
    bytes.extend_from_slice(&0.125_f64.to_le_bytes());
    bytes.extend_from_slice(b"\x04\x02x\x02y\x00\x00");
    let payload = Payload::Avro(readcast_core::Avro::new(bytes, schema));
    let time = Timestamp::from_micros(0).expect("a time");
    let event = Envelope::new(TopicPartition::new("t", 0).at(0), None, "e1", "T", time, payload);
    for (text, expected) in [
        ("data.id", "\"a1\""),
        ("decimal(data.balance) * 3", "37.02"),
        ("decimal(data.rate)", "0.125"),
        ("data.tags.map(tag, tag + '!')", r#"["x!","y!"]"#),
        ("data.note", "null"),
        ("data", r#"{"id":"a1","balance":"12.34","rate":0.125,"tags":["x","y"],"note":null}"#),
    ] {
        let mut names = Names::default();
        let expression = Expression::compile(text, &mut names).expect(text);
        let mut scope = Scope::new(&event, &names.shape).expect("a record");
        assert_eq!(expression.evaluate(&mut scope).map(|value| to_json(&value)), Ok(Ok(expected.into())), "{text}");
    }
}
