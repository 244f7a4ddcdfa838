//! Tests with files of either form.

use super::*;

const EVENT: &str = "{\"event_id\":\"e\"}";

/// The offsets, keys and values of the next batch.
async fn parts(subscription: &mut Box<dyn Subscription>) -> Vec<(i64, Option<String>, String)> {
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let parts = |record: &crate::source::Record| {
        (record.offset, record.key.as_ref().map(text), text(record.value.as_ref().unwrap()))
    };
    batch(subscription).await.records.iter().map(parts).collect()
}

fn part(offset: i64, key: Option<&str>, value: &str) -> (i64, Option<String>, String) {
    (offset, key.map(str::to_owned), value.to_owned())
}

#[tokio::test]
async fn json_keys_are_distinguished_from_values_wherever_reading_starts() {
    let lines: String = (0..4).map(|number| format!("{{\"k\":\t{number}}}\t{EVENT}\r\n")).collect();
    let log = Log::new(&[("0.ndjson", &format!("\n{lines}"))]);
    let all: Vec<_> = (0..4).map(|number| part(number + 1, Some(&format!("{{\"k\":\t{number}}}")), EVENT)).collect();
    for start in 1..=4 {
        let offset = i64::try_from(start).unwrap();
        assert_eq!(parts(&mut log.started(offset).await).await, all[start - 1..], "from {start}");
    }
    let mut subscription = log.started(0).await;
    assert_eq!(parts(&mut subscription).await[1..], all);
    at_end(&mut subscription, 0).await;
    // The form stays decided as the file grows, for a line that does not decide it by itself.
    log.append("0.ndjson", &format!("{{k}}\t{EVENT}\n"));
    assert_eq!(parts(&mut subscription).await, [part(5, Some("{k}"), EVENT)]);
    assert_eq!(parts(&mut log.started(5).await).await, [part(5, Some("{k}"), EVENT)]);
}

#[tokio::test]
async fn each_file_has_its_own_form() {
    let bare = format!("{EVENT}\n");
    let keyed = format!("{{\"k\":1}}\t{EVENT}\n");
    let log = Log::new(&[("0.ndjson", &keyed), ("1.ndjson", &keyed)]);
    let folder = log.dir.path().join("orders").display().to_string();
    let forms = async || log.source.forms(&["orders"]).await.unwrap();
    assert_eq!(forms().await, [format!("{folder}: key, tab, value")]);
    log.append("2.ndjson", &bare);
    log.append("3.ndjson", EVENT);
    log.append("2.ndjson", &keyed);
    let mixed = "undecided by the lines so far in 3; key, tab, value in 0, 1; value without key in 2";
    assert_eq!(forms().await, [format!("{folder}: {mixed}")]);
    fs::create_dir(log.dir.path().join("empty")).unwrap();
    assert_eq!(log.source.forms(&["empty"]).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_byte_order_mark_at_the_beginning_of_a_file_is_skipped() {
    let log = Log::new(&[("0.ndjson", &format!("\u{feff}{EVENT}\r\n{EVENT}\n"))]);
    let expected = [part(0, None, EVENT), part(1, None, EVENT)];
    assert_eq!(parts(&mut log.started(0).await).await, expected);
    assert_eq!(parts(&mut log.started(1).await).await, expected[1..]);
}

#[tokio::test]
async fn a_file_in_utf_16_is_refused_by_its_name_and_encoding() {
    for (mark, encoding) in [(b"\xff\xfe{\0", "UTF-16"), (b"\xfe\xff\0{", "UTF-16"), (b"\xff\xfe\0\0", "UTF-32")] {
        let log = Log::new(&[]);
        fs::write(log.path("0.ndjson"), mark).unwrap();
        let expected = format!("0.ndjson: the file begins with the byte order mark of {encoding}: convert it to UTF-8");
        let counted = log.source.extents(&["orders"]).await.unwrap_err();
        assert!(
            matches!(&counted, SourceError::Refused { .. }) && counted.to_string().ends_with(&expected),
            "{counted}"
        );
        let read = next(&mut log.started(0).await).await.unwrap_err();
        assert_eq!(read, counted);
    }
}
