//! What goes wrong with the database.

use super::{SMALL, cut_connections};
use crate::oracle::assert_same;
use crate::shop::{KafkaShop, events, expected};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::kafka::Kafka;
use crate::support::postgres::Database;
use crate::support::process::Readcast;
use crate::support::proxy::{Fault, Moment, Proxy, Statement};
use crate::support::servers;

#[tokio::test]
async fn a_connection_cut_around_commit_neither_loses_nor_duplicates_an_event() {
    for moment in [Moment::After(Statement::Commit), Moment::Before(Statement::Commit)] {
        let shop = KafkaShop::journalled(2).await;
        shop.produce(events(100));
        shop.run_to_the_end().await;
        let mut proxy = Proxy::start(shop.database.url());
        let mut instance = shop.start_with(&["run"], &proxy.url(), &[SMALL]);
        for _ in 0..3 {
            instance.wait_for_line(|line| line.contains("partition claimed")).await;
        }
        let mut count = 100;
        for nth in [1, 2, 5] {
            proxy.arm(moment, Fault::Cut, nth);
            shop.produce(events(count + 3_000).skip(count));
            count += 3_000;
            proxy.acted().await;
        }
        shop.catches_up().await;
        instance.ends_well().await;
        shop.assert_invariants(count).await;
    }
}

#[tokio::test]
async fn a_killed_backend_is_replaced_and_its_transaction_repeated() {
    const COUNT: usize = 30_000;
    let shop = KafkaShop::journalled(2).await;
    shop.produce(events(COUNT));
    let mut instance = shop.start(&["run"], &[SMALL]);
    let goal = shop.goal().await;
    let mut next = goal / 10;
    eventually("everything is projected, however often its connections are killed", 2 * PATIENCE, async || {
        let progress = shop.progress().await;
        if progress >= next {
            next += goal / 10;
            cut_connections(&shop).await;
        }
        if progress == goal { Ok(()) } else { Err(progress) }
    })
    .await;
    instance.ends_well().await;
    shop.assert_invariants(COUNT).await;
}

#[tokio::test]
async fn work_continues_after_the_server_crashes_and_recovers() {
    const COUNT: usize = 20_000;
    let mut server = servers::own_postgres().await;
    let shop = KafkaShop::on(Kafka::shared().await, Database::create_on(&server.url()).await, 3).await;
    shop.keep_journal().await;
    shop.produce(events(COUNT));
    let mut instance = shop.start(&["run"], &[SMALL]);
    for part in 1..4 {
        shop.reaches(shop.goal().await * part / 4).await;
        server.crash();
        server.restart().await;
    }
    shop.catches_up().await;
    instance.ends_well().await;
    shop.assert_invariants(COUNT).await;
}

/// Whether an instance runs, or is stopped by SIGSTOP, while the older state is put in place: it has positions and epochs
/// in its memory that the database no longer knows.
#[tokio::test]
async fn a_restored_backup_is_projected_again_from_its_own_checkpoints() {
    let mut server = servers::own_postgres().await;
    let shop = KafkaShop::on(Kafka::shared().await, Database::create_on(&server.url()).await, 3).await;
    shop.keep_journal().await;
    shop.produce(events(2_000));
    let mut instance = shop.start(&["run"], &[SMALL]);
    shop.catches_up().await;
    server.copy().await;
    let older = shop.progress().await;
    let mut count = 2_000;
    for stopped in [false, true] {
        shop.produce(events(count + 2_000).skip(count));
        count += 2_000;
        shop.catches_up().await;
        if stopped {
            instance.stop();
        }
        server.put_back().await;
        if stopped {
            assert_eq!(shop.progress().await, older, "the snapshot is older");
            instance.cont();
        }
        shop.catches_up().await;
        shop.assert_invariants(count).await;
    }
    instance.ends_well().await;
    shop.assert_invariants(count).await;
}

/// Orders of one customer and of one product are in all partitions, so that lanes and instances write the same rows.
#[tokio::test]
async fn lanes_and_instances_that_write_the_same_rows_do_not_block_each_other() {
    const COUNT: usize = 200_000;
    let shop = KafkaShop::journalled(8).await;
    shop.produce(events(COUNT));
    let settings = [("READCAST_LANES", "4"), ("READCAST_BATCH_RECORDS", "200")];
    let mut instances = [shop.start(&["run"], &settings), shop.start(&["run"], &settings)];
    shop.catches_up().await;
    for instance in &mut instances {
        let ready = instance.get("/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        instance.ends_well().await;
        assert!(instance.stderr().contains("partition claimed") && !instance.stderr().contains("halted"));
    }
    shop.assert_invariants(COUNT).await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    println!("{} deadlocks", shop.database.value(deadlocks).await);
}

/// From now on `count` statements that write to the table fail, with the SQLSTATEs in turn. A sequence counts them: what
/// it has given it does not take back with the transaction.
async fn fail_statements(shop: &KafkaShop, table: &str, sqlstates: &[&str], count: usize) {
    let sql = format!(
        "CREATE SEQUENCE public.failures MINVALUE 0 START 0;
         CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE nth bigint := nextval('public.failures');
         BEGIN
             IF nth < {count} THEN
                 RAISE EXCEPTION 'forced' USING ERRCODE = ('{{{states}}}'::text[])[nth % {kinds} + 1];
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON readcast_tables.{table}_g1
             FOR EACH STATEMENT EXECUTE FUNCTION public.fail()",
        states = sqlstates.join(","),
        kinds = sqlstates.len()
    );
    shop.database.execute(&sql).await;
}

#[tokio::test]
async fn transient_errors_are_retried_until_they_pass() {
    const PASSING: [&str; 4] = ["40001", "55P03", "57014", "53300"];
    let shop = KafkaShop::journalled(2).await;
    shop.produce(events(1_000));
    shop.run_to_the_end().await;
    fail_statements(&shop, "product_sales", &PASSING, 12).await;
    shop.produce(events(5_000).skip(1_000));
    let mut instance = shop.start(&["run"], &[SMALL]);
    shop.catches_up().await;
    let ready = instance.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    instance.ends_well().await;
    for sqlstate in PASSING {
        let is_retry = |line: &str| {
            line.contains("transaction failed; retrying in") && line.contains(&format!("{sqlstate} forced"))
        };
        assert!(instance.stderr().lines().any(is_retry), "{}", instance.stderr());
    }
    assert!(!instance.stderr().contains("halted"), "{}", instance.stderr());
    shop.assert_invariants(5_000).await;
}

/// A role that is no superuser, since those have connections to spare.
#[tokio::test]
async fn an_instance_waits_for_a_server_without_free_connections() {
    let server = servers::own_postgres().await;
    let shop = KafkaShop::on(Kafka::shared().await, Database::create_on(&server.url()).await, 2).await;
    let role = "CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE {name} TO app; ALTER DATABASE {name} OWNER TO app";
    shop.database.execute_outside(role).await;
    let url = shop.database.url().replace("postgres://postgres@", "postgres://app@");
    let mut first = shop.start_with(&["run", "--until-end"], &url, &[]);
    assert!(first.wait().await.success(), "{}", first.stderr());
    shop.produce(events(10_000));
    let mut instance = shop.start_with(&["run"], &url, &[SMALL]);
    shop.reaches(1_000).await;
    shop.database.execute_outside("ALTER DATABASE {name} CONNECTION LIMIT 1").await;
    cut_connections(&shop).await;
    instance.wait_for_line(|line| line.contains("53300")).await;
    shop.database.execute_outside("ALTER DATABASE {name} CONNECTION LIMIT -1").await;
    shop.catches_up().await;
    instance.ends_well().await;
    assert!(!instance.stderr().contains("halted"), "{}", instance.stderr());
    shop.assert_at_the_end().await;
    assert_same(&shop.tables().await, &expected(10_000));
}

/// Waits until the instance says that it is not ready, and why.
async fn is_stalled(instance: &mut Readcast, sqlstate: &str) {
    eventually(&format!("/readyz tells of {sqlstate}"), PATIENCE, async || {
        let answer = instance.get("/readyz?verbose").await;
        let told = answer.lines().any(|line| line.contains(": retrying since 20") && line.contains(sqlstate));
        if told && answer.starts_with("HTTP/1.1 503") { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[tokio::test]
async fn a_read_only_database_is_reported_as_stalled_and_recovers_by_itself() {
    const COUNT: usize = 20_000;
    let shop = KafkaShop::journalled(2).await;
    shop.produce(events(COUNT));
    let mut instance = shop.start(&["run"], &[SMALL]);
    shop.reaches(1_000).await;
    shop.database.execute_outside("ALTER DATABASE {name} SET default_transaction_read_only = on").await;
    cut_connections(&shop).await;
    is_stalled(&mut instance, "25006").await;
    let stands = shop.progress().await;
    is_stalled(&mut instance, "25006").await;
    assert_eq!(shop.progress().await, stands);
    shop.database.execute_outside("ALTER DATABASE {name} RESET default_transaction_read_only").await;
    cut_connections(&shop).await;
    shop.catches_up().await;
    instance.ends_well().await;
    assert!(!instance.stderr().contains("halted"), "{}", instance.stderr());
    shop.assert_invariants(COUNT).await;
}

#[tokio::test]
async fn a_full_disk_is_reported_as_stalled_and_recovers_when_there_is_space() {
    const COUNT: usize = 5_000;
    let shop = KafkaShop::journalled(2).await;
    shop.run_to_the_end().await;
    fail_statements(&shop, "product_sales", &["53100"], i64::MAX as usize).await;
    shop.produce(events(COUNT));
    let mut instance = shop.start(&["run"], &[SMALL]);
    is_stalled(&mut instance, "53100").await;
    // The others have nothing to write where there is no room.
    shop.reaches(shop.goal().await * 2 / 3).await;
    is_stalled(&mut instance, "53100").await;
    assert_eq!(shop.database.value("SELECT count(*) FROM product_sales").await, "0");
    shop.database.execute("DROP TRIGGER fail ON readcast_tables.product_sales_g1").await;
    shop.catches_up().await;
    instance.ends_well().await;
    assert!(!instance.stderr().contains("halted"), "{}", instance.stderr());
    shop.assert_invariants(COUNT).await;
}
