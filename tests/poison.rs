//! Records that can't be projected: what becomes of them, of those behind them, and of everything else; on both stores.

mod decisions;
mod diary;
mod duplicates;
mod inputs;
mod parking;
mod racing;
mod topic;
mod unhandled;

/// Runs the tests of a module on both stores.
macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::poison::diary::Desk::on_postgres().await).await;
            })*
        }

        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::poison::diary::Desk::on_sqlite().await).await;
            })*
        }
    };
}

use on_both_stores;
