//! Every command of the command line against every way in which Postgres can fail it: each ends in time, says why, ends with
//! exit code 1, and leaves everything as it was. `run`, which does not end, says why it waits, and goes on by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use sqlx::postgres::PgSslMode;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::shop::{FileShop, PROJECTIONS, append, events};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::postgres::Database;
use crate::support::process::Readcast;
use crate::support::proxy::{Fault, Moment, Proxy, Statement, Way};

/// How long a command may take, on a machine that is busy with all of them at once.
const LIMIT: Duration = Duration::from_secs(60);

/// Processes at a time. They wait, mostly; what is bounded is their memory.
const AT_ONCE: usize = 64;

/// In seconds: short, and long enough for a server that answers on a machine that is busy with all of them at once.
const CONNECT_TIMEOUT: &str = "&connect_timeout=5";

/// A way to type a command.
struct Typed {
    /// Ends where its options begin; see [`Command::name`].
    line: &'static str,
    /// In the text of the statement on which it depends: the last one before it changes anything, or what it is to tell of.
    decisive: &'static str,
    /// Its exit code when nothing is in the way.
    code: i32,
}

/// With which an operation is asked for, before anything is locked: a trial must not stand in the way of another.
const ASKS: &str = "'readcast operations '";

const fn typed(line: &'static str, decisive: &'static str) -> Typed {
    Typed { line, decisive, code: 0 }
}

/// Every command that the help names, and how it is typed here, in an order in which each has something to do.
const COMMANDS: &[(&str, &[Typed])] = &[
    // Their store is a file of their own, or none.
    ("demo", &[]),
    ("generate", &[]),
    // It goes on like `run`, until Ctrl-C.
    ("dev", &[]),
    // They ask no store.
    ("lint", &[]),
    ("new", &[]),
    ("schema", &[]),
    ("test", &[]),
    ("try", &[]),
    ("completions", &[]),
    ("status", &[typed("status", "readcast.instances")]),
    ("check", &[typed("check", "attname")]),
    ("adopt", &[typed("adopt --dry-run", "readcast.deployment"), typed("adopt", "readcast.deployment")]),
    ("migrate", &[typed("migrate", "pg_advisory_xact_lock")]),
    ("dead-letters list", &[typed("dead-letters list", "readcast.dead_letters")]),
    ("dead-letters show", &[typed("dead-letters show order_summary orders/0@10", "readcast.dead_letters")]),
    ("dead-letters export", &[typed("dead-letters export order_summary", "readcast.dead_letters")]),
    (
        "dead-letters retry",
        &[
            typed("dead-letters retry order_summary --all --dry-run", "readcast.dead_letters"),
            // What was wrong with them still is.
            Typed { line: "dead-letters retry order_summary --all", decisive: ASKS, code: 1 },
        ],
    ),
    ("dead-letters discard", &[typed("dead-letters discard order_summary --all --whole", ASKS)]),
    ("dead-letters decisions", &[typed("dead-letters decisions", "readcast.amendments AS a")]),
    ("dead-letters revoke", &[typed("dead-letters revoke orders/0@10", "readcast.amendments AS a")]),
    ("pause", &[typed("pause product_sales", "SET paused_at")]),
    ("resume", &[typed("resume product_sales", "SET paused_at")]),
    ("activate", &[typed("activate customer_orders", ASKS)]),
    ("rollback", &[typed("rollback order_summary", ASKS)]),
    ("retire", &[typed("retire order_summary", ASKS)]),
    ("run", &[typed("run --until-end", "pg_advisory_xact_lock")]),
    ("verify", &[typed("verify product_sales", ASKS)]),
    (
        "rebuild",
        &[
            typed("rebuild product_sales --plan", "readcast.operations"),
            typed("rebuild product_sales --wait", ASKS),
            typed("rebuild order_summary --key ord_1 --wait", ASKS),
            typed("rebuild product_sales", ASKS),
        ],
    ),
    ("cancel", &[typed("cancel product_sales", "SET state = 'cancelled'")]),
    (
        "accept-loss",
        &[
            typed("accept-loss product_sales --dry-run", "readcast.generations"),
            // It has lost nothing.
            Typed { line: "accept-loss product_sales", decisive: ASKS, code: 1 },
        ],
    ),
    ("rename", &[typed("rename product_sales sales", "SET projection")]),
];

fn lines() -> impl Iterator<Item = &'static Typed> {
    COMMANDS.iter().flat_map(|(_, lines)| *lines)
}

/// Every way to fail a client before its first statement is carried out.
fn at_the_start() -> Vec<(Moment, Fault)> {
    use Fault::{Cut, Delay, Error, Ignore, Refuse, Silence, Vanish};
    use Moment::{Authenticated, Before, Connect, Startup, TlsHandshake, TlsRequest};
    let first = Before(Statement::Nth(1));
    vec![
        (Connect, Refuse),
        (Connect, Ignore),
        (Connect, Silence(Way::Both)),
        (Connect, Cut),
        (Connect, Error("53300")),
        (TlsRequest, Silence(Way::Both)),
        (TlsRequest, Cut),
        (TlsRequest, Error("XX000")),
        (TlsHandshake, Silence(Way::Both)),
        (TlsHandshake, Cut),
        (Startup, Silence(Way::Both)),
        (Startup, Vanish),
        (Startup, Cut),
        (Startup, Delay(LIMIT)),
        (Startup, Error("53300")),
        (Startup, Error("57P03")),
        (Startup, Error("28P01")),
        (Startup, Error("08P01")),
        (Startup, Error("XX000")),
        (Authenticated, Silence(Way::Both)),
        (Authenticated, Cut),
        (Authenticated, Error("57P03")),
        (first, Silence(Way::Both)),
        (first, Silence(Way::Replies)),
        (first, Vanish),
        (first, Cut),
        (first, Delay(LIMIT)),
        (first, Error("53300")),
        (first, Error("57P03")),
        (first, Error("42P05")),
        (first, Error("08P01")),
        (first, Error("XX000")),
    ]
}

/// What may happen to the statement on which a command depends.
const AT_THE_DECISIVE_STATEMENT: [Fault; 4] =
    [Fault::Silence(Way::Both), Fault::Vanish, Fault::Cut, Fault::Error("XX000")];

/// What the answer of a fault lets its client know.
fn sqlstate((moment, fault): (Moment, Fault)) -> Option<&'static str> {
    match fault {
        // No client expects more than a letter there.
        Fault::Error(_) if moment == Moment::TlsRequest => None,
        Fault::Error(sqlstate) => Some(sqlstate),
        _ => None,
    }
}

/// A proxy that fails like this from now on, and the URL by which its clients come.
fn failing(database: &Database, (moment, fault): (Moment, Fault)) -> (Proxy, String) {
    let proxy = Proxy::start(database.url());
    proxy.impose(moment, fault);
    let tls = match moment {
        // It goes on without, once it is told that there is none.
        Moment::TlsRequest | Moment::TlsHandshake => PgSslMode::Prefer,
        _ => PgSslMode::Disable,
    };
    let url = proxy.url_with(tls, CONNECT_TIMEOUT);
    (proxy, url)
}

/// A store in which every command has something to do, and its log.
struct Scene {
    log: FileShop,
    database: Database,
}

impl Scene {
    async fn new() -> Self {
        let scene = Self { log: FileShop::new(), database: Database::create().await };
        scene.log.write(1, events(10));
        append(&scene.log.partition(0), "ord_a\tnonsense\nord_a\tbehind it\n");
        let lines = [
            "run --until-end",
            "rebuild order_summary --wait",
            "rebuild customer_orders --wait --no-activate",
            // Something to take back.
            "rebuild product_sales",
        ];
        for line in lines {
            let mut finished = scene.start(line, scene.database.url());
            assert!(finished.wait().await.success(), "{line}: {}", finished.stderr());
        }
        // Something to project.
        append(
            &scene.log.partition(0),
            &events(20).skip(10).map(|(key, value)| format!("{key}\t{value}\n")).collect::<String>(),
        );
        scene
    }

    fn start(&self, line: &str, store: &str) -> Readcast {
        let source = format!("file:{}", self.log.events_dir().display());
        let urls = ["--source", &source, "--store", store, "--admin-listen", "127.0.0.1:0"];
        Readcast::start(line.split(' ').chain(urls), &[])
    }

    /// All that there is in the database: every row of every table, every column and every view.
    async fn dump(&self) -> Vec<String> {
        const TABLES: &str = "
            SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
        const SHAPES: &str = "
            SELECT table_schema, table_name, column_name, data_type, column_default, is_nullable
            FROM information_schema.columns
            WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, ordinal_position";
        const VIEWS: &str = "
            SELECT schemaname, viewname, definition FROM pg_views
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2";
        let mut dump = self.database.rows(SHAPES).await;
        dump.extend(self.database.rows(VIEWS).await);
        for table in self.database.rows(TABLES).await {
            let rows = self.database.rows(&format!("SELECT held::text FROM {table} AS held ORDER BY 1")).await;
            dump.extend(rows.into_iter().map(|row| format!("{table} {row}")));
        }
        dump
    }
}

/// What is wrong with how the command took the fault, if anything is; and how long it took.
async fn ends_as_it_must(scene: &Scene, line: &str, fault: (Moment, Fault)) -> Result<Duration, String> {
    let (mut proxy, url) = failing(&scene.database, fault);
    let begun = Instant::now();
    let mut command = scene.start(line, &url);
    let Ok(status) = timeout(LIMIT, command.wait()).await else {
        return Err(format!("no end within {LIMIT:?}; {}", command.stderr().trim()));
    };
    let took = begun.elapsed();
    // What `check` finds is what it prints.
    let told = if line == "check" { command.stdout() } else { command.stderr() };
    let seen = || format!("{status} after {took:.1?}, {}", told.trim());
    if !matches!(fault.1, Fault::Refuse | Fault::Ignore) && timeout(Duration::ZERO, proxy.acted()).await.is_err() {
        return Err(format!("it never came to that; {}", seen()));
    }
    if status.code() != Some(1) || told.trim().is_empty() || !told.contains(sqlstate(fault).unwrap_or_default()) {
        return Err(seen());
    }
    Ok(took)
}

#[tokio::test]
async fn every_command_is_tried_against_the_faults_of_postgres() {
    let known: BTreeSet<String> = COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(commands_of_the_help().await, known);
    for (name, lines) in COMMANDS {
        assert!(lines.iter().all(|typed| typed.line.starts_with(name)), "{name}");
    }
}

/// Every command that can be typed, from the help that names it.
async fn commands_of_the_help() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut groups = vec![String::new()];
    while let Some(group) = groups.pop() {
        let help = Readcast::run(group.split_whitespace().chain(["--help"]), &[]).await.stdout;
        let mut named =
            help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let mut is_group = false;
        // What a command is goes on in the next line, further to the right.
        for line in named.by_ref().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            is_group = true;
            let name = line.split_whitespace().next().expect("it is not empty");
            if name != "help" {
                groups.push(format!("{group} {name}").trim().to_owned());
            }
        }
        if !is_group {
            found.insert(group);
        }
    }
    found
}

#[tokio::test]
async fn under_every_fault_of_postgres_a_command_fails_in_time_with_a_reason_and_changes_nothing() {
    let scene = Scene::new().await;
    let before = scene.dump().await;
    let mut trials: Vec<(&str, (Moment, Fault))> = Vec::new();
    for typed in lines() {
        let decisive = Moment::Before(Statement::With(typed.decisive));
        trials.extend(at_the_start().into_iter().map(|fault| (typed.line, fault)));
        trials.extend(AT_THE_DECISIVE_STATEMENT.map(|fault| (typed.line, (decisive, fault))));
    }
    // It tries for half a minute before it gives up.
    trials.sort_by_key(|(line, _)| !line.starts_with("run"));
    let trials = trials.into_iter().map(|(line, fault)| {
        let scene = &scene;
        async move { (line, fault, ends_as_it_must(scene, line, fault).await) }
    });
    let outcomes: Vec<_> = stream::iter(trials).buffer_unordered(AT_ONCE).collect().await;
    let after = scene.dump().await;
    let mut wrong = Vec::new();
    let mut longest = (Duration::ZERO, "", None);
    for (line, fault, outcome) in &outcomes {
        match outcome {
            Ok(took) if *took > longest.0 => longest = (*took, *line, Some(*fault)),
            Ok(_) => {}
            Err(seen) => wrong.push(format!("`{line}`, {:?} {:?}: {seen}", fault.0, fault.1)),
        }
    }
    println!("{} trials, the longest: {longest:?}", outcomes.len());
    wrong.sort();
    wrong.extend(after.iter().filter(|row| !before.contains(row)).map(|row| format!("new: {row}")));
    wrong.extend(before.iter().filter(|row| !after.contains(row)).map(|row| format!("gone: {row}")));
    assert!(wrong.is_empty(), "{} faults, of {} trials:\n{}", wrong.len(), outcomes.len(), wrong.join("\n"));
}

/// What the others prove means nothing if a command that fails would do nothing anyway.
#[tokio::test]
async fn every_command_waits_for_a_server_that_accepts_connections_slowly() {
    const SLOW: Duration = Duration::from_millis(300);
    let scene = Scene::new().await;
    for typed in lines() {
        let (_proxy, url) = failing(&scene.database, (Moment::Startup, Fault::Delay(SLOW)));
        let begun = Instant::now();
        let mut command = scene.start(typed.line, &url);
        let status = command.wait().await;
        assert_eq!(status.code(), Some(typed.code), "{}: {}{}", typed.line, command.stdout(), command.stderr());
        assert!(begun.elapsed() > SLOW, "{} should have connected", typed.line);
    }
}

/// A fault of the server that people have to mend: it is told, and need not end by itself.
fn is_for_people(fault: Fault) -> bool {
    matches!(fault, Fault::Error("42P05" | "XX000"))
}

/// What is wrong with how an instance that runs took the fault and its end, if anything is.
async fn waits_and_goes_on(fault: (Moment, Fault)) {
    let log = FileShop::new();
    log.write(1, events(10));
    let scene = Scene { log, database: Database::create().await };
    let (proxy, url) = failing(&scene.database, fault);
    let mut instance = scene.start("run", &url);
    let told = |line: &str| {
        let waits =
            line.contains(": retrying since 20") || (is_for_people(fault.1) && line.contains(": halted since 20"));
        waits && line.contains(sqlstate(fault).unwrap_or_default())
    };
    eventually(&format!("/readyz tells of {fault:?}"), PATIENCE, async || {
        let answer = instance.get("/readyz?verbose").await;
        let all = answer.lines().filter(|line| told(line)).count() == PROJECTIONS.len();
        if all && answer.starts_with("HTTP/1.1 503") { Ok(()) } else { Err(answer) }
    })
    .await;
    let alive = instance.get("/livez").await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{fault:?}: {alive}");
    if is_for_people(fault.1) {
        return;
    }
    proxy.lift();
    eventually(&format!("it goes on after {fault:?}"), PATIENCE, async || {
        let progress = "SELECT coalesce(sum(next_offset), 0)::bigint FROM readcast.checkpoints";
        let progress = scene.database.try_rows(progress).await.map_err(|error| error.to_string())?;
        if progress == ["30"] { Ok(()) } else { Err(format!("{progress:?}; {}", instance.stderr())) }
    })
    .await;
    let ready = instance.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{fault:?}: {ready}");
    instance.ends_well().await;
}

#[tokio::test]
async fn an_instance_reports_what_it_waits_for_and_recovers_with_postgres() {
    let places = Arc::new(Semaphore::new(AT_ONCE / 8));
    // Tasks, so that the end of one with a panic leaves the others to theirs.
    let mut running = JoinSet::new();
    let tasks = LocalSet::new();
    for fault in at_the_start() {
        let places = Arc::clone(&places);
        let trial = async move {
            let _place = places.acquire().await.expect("it is never closed");
            waits_and_goes_on(fault).await;
        };
        running.spawn_local_on(trial, &tasks);
    }
    let mut wrong = Vec::new();
    let ends = async {
        while let Some(ended) = running.join_next().await {
            let Err(error) = ended else { continue };
            let panic = error.into_panic();
            wrong.push(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panicked".into()));
        }
    };
    tasks.run_until(ends).await;
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n\n"));
}
