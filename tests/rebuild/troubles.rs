//! What is told of a generation that does not go on, here and in the store, until it does.

use readcast::store::{self, Generation, GenerationError, RecordedError};

use super::scene::{Instance, NAME, Scene, Seen};
use crate::support::eventually::{PATIENCE, eventually};

macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Scene::on_postgres().await).await;
            })*
        }

        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Scene::on_sqlite().await).await;
            })*
        }
    };
}

on_both_stores!(
    what_an_instance_left_that_does_not_run_any_more_is_taken_back_by_one_that_is_well,
    what_an_instance_that_runs_has_recorded_stays_while_another_is_well,
    a_log_that_was_away_is_told_no_longer_when_it_is_back,
    a_generation_that_is_paused_while_it_is_tried_again_is_not_retried_any_more,
);

async fn recorded(scene: &Scene) -> Option<RecordedError> {
    scene.live().await.last_error
}

async fn all_is_well(scene: &Scene, instance: &Instance) {
    eventually("nothing is told any more", PATIENCE, async || {
        let (recorded, said) = (recorded(scene).await, instance.verbose());
        if recorded.is_none() && said.starts_with("ready\n") { Ok(()) } else { Err(format!("{recorded:?}; {said}")) }
    })
    .await;
}

/// Waits until the store says that something is tried again, and why.
async fn is_retried(scene: &Scene, why: &str) {
    eventually(&format!("{why} is told"), PATIENCE, async || {
        let recorded = recorded(scene).await;
        match &recorded {
            Some(error) if error.text.contains(why) && error.attempt.is_some() => Ok(()),
            _ => Err(format!("{recorded:?}")),
        }
    })
    .await;
}

fn storm(attempt: Option<u32>) -> GenerationError {
    GenerationError { text: "53300 sorry, too many clients already".into(), attempt }
}

async fn what_an_instance_left_that_does_not_run_any_more_is_taken_back_by_one_that_is_well(mut scene: Scene) {
    scene.write(50);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    for attempt in [Some(3), None] {
        scene.store.record_error(NAME, Generation(1), "dead", &storm(attempt)).await.unwrap();
        assert!(recorded(&scene).await.is_some());
        // There is nothing new in the log.
        all_is_well(&scene, &instance).await;
    }
    instance.stop().await;
}

async fn what_an_instance_that_runs_has_recorded_stays_while_another_is_well(mut scene: Scene) {
    scene.write(50);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    let other = store::Instance { id: "other".into(), ..Default::default() };
    let heartbeat = async |running| scene.store.heartbeat(&other, NAME, &["hash"], running).await.unwrap();
    heartbeat(true).await;
    scene.store.record_error(NAME, Generation(1), "other", &storm(Some(1))).await.unwrap();
    // It looks around once a second, and shows less often that it runs.
    let seen = async || {
        heartbeat(true).await;
        let attendance = scene.store.heartbeats().await.unwrap();
        attendance.into_iter().find(|seen| seen.definition_hash != "hash").unwrap().last_seen
    };
    for _ in 0..3 {
        let before = seen().await;
        eventually("it shows that it runs", PATIENCE, async || {
            let now = seen().await;
            if now > before { Ok(()) } else { Err(now) }
        })
        .await;
    }
    assert_eq!(recorded(&scene).await.map(|error| error.text), Some(storm(None).text));
    heartbeat(false).await;
    all_is_well(&scene, &instance).await;
    instance.stop().await;
}

async fn a_log_that_was_away_is_told_no_longer_when_it_is_back(mut scene: Scene) {
    scene.write(50);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    scene.log.fail_next(3);
    all_is_well(&scene, &instance).await;
    scene.write(50);
    scene.projects_all(1).await;
    all_is_well(&scene, &instance).await;
    instance.stop().await;
}

async fn a_generation_that_is_paused_while_it_is_tried_again_is_not_retried_any_more(mut scene: Scene) {
    scene.write(50);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    scene.log.fail_next(1_000);
    is_retried(&scene, "scripted").await;
    scene.store.pause(NAME, true, false, "me").await.unwrap();
    eventually("nothing is tried again", PATIENCE, async || {
        let recorded = recorded(&scene).await;
        if recorded.is_none() { Ok(()) } else { Err(format!("{recorded:?}")) }
    })
    .await;
    assert!(instance.verbose().contains("paused"), "{}", instance.verbose());
    instance.stop().await;
}

/// Statements on this table of readcast's fail with 53300 while `when` holds, at most `count` times. A sequence counts
/// them: what it has given it does not take back with the transaction.
async fn refuse(scene: &Scene, table: &str, when: &str, count: u32) {
    let sql = format!(
        "CREATE SEQUENCE public.{table}_refusals MINVALUE 0 START 0;
         CREATE FUNCTION public.refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('public.{table}_refusals') < {count} THEN
                 RAISE EXCEPTION 'sorry, too many clients already' USING ERRCODE = '53300';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON readcast.{table} FOR EACH ROW WHEN ({when})
             EXECUTE FUNCTION public.refuse_{table}()"
    );
    scene.execute(&sql).await;
}

#[tokio::test]
async fn a_storm_that_has_passed_is_told_no_longer_even_if_it_could_not_be_taken_back_at_once() {
    let mut scene = Scene::on_postgres().await;
    scene.write(50);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    // That all is well can't be noted, a few times.
    refuse(&scene, "generations", "NEW.last_error IS NULL AND OLD.last_error IS NOT NULL", 5).await;
    refuse(&scene, "checkpoints", "NEW.next_offset > OLD.next_offset", 12).await;
    scene.write(50);
    is_retried(&scene, "53300").await;
    scene.projects_all(1).await;
    all_is_well(&scene, &instance).await;
    let refused = "SELECT last_value FROM public.generations_refusals";
    let super::scene::ComparedPlace::Postgres(database) = &scene.place else { unreachable!("it is on Postgres") };
    assert!(database.value(refused).await.parse::<i64>().unwrap() >= 5, "it was tried again until it was noted");
    instance.stop().await;
}

#[tokio::test]
async fn a_halt_that_could_not_be_noted_is_noted_later() {
    let mut scene = Scene::on_postgres().await;
    scene.write(50);
    refuse(&scene, "generations", "NEW.last_error IS NOT NULL", 3).await;
    let first = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    first.stop().await;
    scene.execute("ALTER TABLE readcast_tables.seen_g1 ADD COLUMN mine int").await;
    let instance = scene.start([Seen::first()]);
    eventually("the halt is told in the store", PATIENCE, async || {
        let recorded = recorded(&scene).await;
        let told = recorded.as_ref().is_some_and(|error| error.attempt.is_none() && error.text.contains("mine"));
        if told { Ok(()) } else { Err(format!("{recorded:?}; {}", instance.verbose())) }
    })
    .await;
    // Corrected, and asked for another try.
    scene.execute("ALTER TABLE readcast_tables.seen_g1 DROP COLUMN mine").await;
    for paused in [true, false] {
        scene.store.pause(NAME, paused, false, "me").await.unwrap();
        eventually("the instance knows", PATIENCE, async || {
            let said = instance.verbose();
            if said.contains("paused") == paused { Ok(()) } else { Err(said) }
        })
        .await;
    }
    all_is_well(&scene, &instance).await;
    instance.stop().await;
}

#[tokio::test]
async fn a_store_that_could_not_be_asked_is_told_no_longer_when_it_answers() {
    let mut scene = Scene::on_postgres().await;
    scene.write(50);
    let super::scene::ComparedPlace::Postgres(database) = &scene.place else { unreachable!("it is on Postgres") };
    // Whatever is asked of the instances' table fails, so that the supervisor can't look; nothing is fed yet.
    database.execute("ALTER TABLE readcast.instances RENAME TO hidden").await;
    let instance = scene.start([Seen::first()]);
    eventually("it says that it can't", PATIENCE, async || {
        let said = instance.verbose();
        if said.contains("instances") { Ok(()) } else { Err(said) }
    })
    .await;
    database.execute("ALTER TABLE readcast.hidden RENAME TO instances").await;
    scene.projects_all(1).await;
    all_is_well(&scene, &instance).await;
    instance.stop().await;
}
