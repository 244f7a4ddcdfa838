//! Tests with files that were truncated, replaced or rewritten.

use super::*;

async fn verdict(subscription: &mut Box<dyn Subscription>) -> Verdict {
    match next(subscription).await {
        Err(SourceError::Verdict { partition, verdict }) if partition == orders(0) => verdict,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_shrank_is_truncated() {
    let log = Log::new(&[("0.ndjson", "a\nb\nc\n")]);
    let mut subscription = log.started(0).await;
    rows(&mut subscription).await;
    fs::write(log.path("0.ndjson"), "a\nb\n").unwrap();
    let truncated = Verdict::Truncated { next_offset: 3, end: 2 };
    assert_eq!(verdict(&mut subscription).await, truncated);
    assert_eq!(verdict(&mut subscription).await, truncated, "a second call gives the same");
}

#[tokio::test]
async fn an_unfinished_line_may_be_replaced() {
    let log = Log::new(&[("0.ndjson", "a\nunfinished")]);
    let mut subscription = log.started(0).await;
    rows(&mut subscription).await;
    at_end(&mut subscription, 0).await;
    fs::write(log.path("0.ndjson"), "a\nother line, longer\n").unwrap();
    assert_eq!(rows(&mut subscription).await, [row(1, "other line, longer")]);
}

#[tokio::test]
async fn another_file_under_the_name_is_another_log() {
    for text in ["a\nb\nc\n", "x\n", "", "a\n"] {
        let log = Log::new(&[("0.ndjson", "a\nb\n")]);
        let mut subscription = log.started(0).await;
        rows(&mut subscription).await;
        log.replace("0.ndjson", text);
        let found = verdict(&mut subscription).await;
        let Verdict::Recreated { was, is } = &found else { panic!("{found:?}") };
        assert!(was.starts_with("87428fc522803d31065e7bce3cf03fe4, inode ") && is.contains(", inode "), "{found}");
        assert_ne!(was, is);
    }
}

#[tokio::test]
async fn another_file_between_assignment_and_start_is_another_log() {
    let log = Log::new(&[("0.ndjson", "a\nb\n")]);
    let mut subscription = log.subscribe().await;
    assigned(&mut subscription).await;
    log.replace("0.ndjson", "a\nb\n");
    let error = subscription.start(&[Start::at(orders(0), 1)]).await.unwrap_err();
    assert!(matches!(error, SourceError::Verdict { verdict: Verdict::Recreated { .. }, .. }), "{error:?}");
}

#[tokio::test]
async fn a_removed_file_is_another_log_whether_or_not_it_is_replaced() {
    let log = Log::new(&[("0.ndjson", "a\n")]);
    let mut subscription = log.started(0).await;
    rows(&mut subscription).await;
    fs::remove_file(log.path("0.ndjson")).unwrap();
    let found = verdict(&mut subscription).await;
    assert!(matches!(&found, Verdict::Recreated { is, .. } if is == "removed"), "{found:?}");
    log.append("0.ndjson", "a\n");
    assert!(matches!(verdict(&mut subscription).await, Verdict::Recreated { .. }));

    fs::remove_dir_all(log.dir.path().join("orders")).unwrap();
    assert_eq!(next(&mut subscription).await.unwrap_err(), SourceError::NoTopic("orders".into()));
}

#[tokio::test]
async fn a_file_rewritten_in_place_is_detected_if_no_line_begins_at_the_position() {
    let log = Log::new(&[("0.ndjson", "aaaa\nbbbb\n")]);
    let mut subscription = log.started(0).await;
    rows(&mut subscription).await;
    fs::write(log.path("0.ndjson"), "aaaa\ncccccccc\n").unwrap();
    let found = verdict(&mut subscription).await;
    assert!(matches!(&found, Verdict::Recreated { is, .. } if is == "rewritten in place"), "{found:?}");
}
