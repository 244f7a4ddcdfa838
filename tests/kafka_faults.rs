//! What goes wrong between Kafka and Postgres, and must leave no trace in the tables.

use crate::oracle::assert_same;
use crate::shop::{KafkaShop, events, expected};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::proxy::{Cut, Proxy};

/// Records who wrote what to a table, in the same transaction.
async fn journal(shop: &KafkaShop) {
    let physical = "readcast_tables.product_sales_g1";
    let sql = format!(
        "CREATE TABLE journal (at bigint GENERATED ALWAYS AS IDENTITY, backend int, projection text, epoch bigint,
                               topic text, part int, from_offset bigint, to_offset bigint);
         CREATE FUNCTION journal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF new.next_offset <> old.next_offset THEN
                 INSERT INTO journal (backend, projection, epoch, topic, part, from_offset, to_offset)
                 VALUES (pg_backend_pid(), new.projection, new.owner_epoch, new.topic, new.partition,
                         old.next_offset, new.next_offset);
             END IF;
             RETURN new;
         END $$;
         CREATE TRIGGER journal AFTER UPDATE ON readcast.checkpoints FOR EACH ROW EXECUTE FUNCTION journal();
         SELECT count(*) FROM {physical}"
    );
    shop.database.execute(&sql).await;
}

/// The steps of every partition form one chain, without a gap and without an overlap, and epochs only rise.
async fn assert_one_chain(shop: &KafkaShop) {
    const BROKEN: &str = "
        SELECT * FROM (
            SELECT *, lag(to_offset) OVER w AS before, lag(epoch) OVER w AS epoch_before FROM journal
            WINDOW w AS (PARTITION BY projection, topic, part ORDER BY at)) AS steps
        WHERE to_offset <= from_offset OR before <> from_offset OR epoch_before > epoch";
    assert_eq!(shop.database.rows(BROKEN).await, Vec::<String>::new());
    assert_ne!(shop.database.value("SELECT count(*) FROM journal").await, "0");
}

#[tokio::test]
async fn a_zombie_that_wakes_after_its_partitions_moved_writes_nothing() {
    let shop = KafkaShop::new(2).await;
    shop.produce(events(200));
    shop.run_to_the_end().await;
    journal(&shop).await;
    // Stopped in the middle of what it does, with records in its hands.
    let mut zombie = shop.start(&["run"], &[("READCAST_BATCH_RECORDS", "50")]);
    zombie.wait_for_line(|line| line.contains("took over")).await;
    shop.produce(events(20_000).skip(200));
    eventually("the zombie is in the middle of its work", PATIENCE, async || {
        let progress = shop.progress().await;
        if progress > 1_000 { Ok(()) } else { Err(progress) }
    })
    .await;
    zombie.stop();
    let mark = zombie.mark();

    let goal = shop.goal().await;
    let mut heir = shop.start(&["run"], &[]);
    eventually("the heir has projected everything", 2 * PATIENCE, async || {
        let progress = shop.progress().await;
        if progress == goal { Ok(()) } else { Err(progress) }
    })
    .await;
    let before = shop.database.value("SELECT max(at) FROM journal").await;
    zombie.cont();
    // It finds out in either of two ways: its commit is fenced, or the group tells it first.
    zombie.wait_for_line_after(mark, |line| line.contains("fenced") || line.contains("took partitions from us")).await;
    let written = format!("SELECT count(*) FROM journal WHERE at > {before}");
    assert_eq!(shop.database.value(&written).await, "0", "the zombie wrote");
    heir.terminate();
    zombie.terminate();
    assert!(heir.wait().await.success(), "{}", heir.stderr());
    zombie.wait().await;
    assert_same(&shop.tables().await, &expected(20_000));
    assert_one_chain(&shop).await;
}

#[tokio::test]
async fn a_connection_cut_around_commit_neither_loses_nor_doubles_an_event() {
    for cut in [Cut::AfterCommit, Cut::BeforeCommit] {
        let shop = KafkaShop::new(2).await;
        shop.produce(events(100));
        shop.run_to_the_end().await;
        journal(&shop).await;
        let mut proxy = Proxy::start(shop.database.url());
        let small = [("READCAST_BATCH_RECORDS", "200")];
        let mut instance = shop.start_with(&["run"], &proxy.url(), &small);
        for _ in 0..3 {
            instance.wait_for_line(|line| line.contains("took over")).await;
        }
        let mut count = 100;
        for nth in [1, 2, 5] {
            proxy.arm(cut, nth);
            shop.produce(events(count + 3_000).skip(count));
            count += 3_000;
            proxy.acted().await;
        }
        let goal = shop.goal().await;
        eventually("everything is projected all the same", PATIENCE, async || {
            let progress = shop.progress().await;
            if progress == goal { Ok(()) } else { Err(progress) }
        })
        .await;
        instance.terminate();
        assert!(instance.wait().await.success(), "{}", instance.stderr());
        assert_same(&shop.tables().await, &expected(count));
        assert_one_chain(&shop).await;
    }
}

#[tokio::test]
async fn a_killed_backend_is_replaced_and_its_transaction_repeated() {
    let shop = KafkaShop::new(2).await;
    shop.produce(events(30_000));
    let mut instance = shop.start(&["run"], &[("READCAST_BATCH_RECORDS", "100")]);
    let goal = shop.goal().await;
    let mut next = goal / 10;
    eventually("everything is projected, however often its connections are killed", 2 * PATIENCE, async || {
        let progress = shop.progress().await;
        if progress >= next {
            next += goal / 10;
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name = 'readcast' AND datname = current_database()";
            shop.database.rows(kill).await;
        }
        if progress == goal { Ok(()) } else { Err(progress) }
    })
    .await;
    instance.terminate();
    assert!(instance.wait().await.success(), "{}", instance.stderr());
    assert_same(&shop.tables().await, &expected(30_000));
}

#[tokio::test]
async fn records_that_retention_removed_before_we_read_them_halt_with_the_gap() {
    let shop = KafkaShop::new(1).await;
    shop.produce(events(100));
    shop.run_to_the_end().await;
    shop.produce(events(300).skip(100));
    shop.kafka.delete_records(&shop.topic(), 0, 250).await;
    let mut instance = shop.start(&["run", "--until-end"], &[]);
    let status = instance.wait().await;
    assert_eq!(status.code(), Some(1));
    assert!(instance.stderr().contains("gap [100, 250)"), "{}", instance.stderr());
    assert_same(&shop.tables().await, &expected(100));
}
