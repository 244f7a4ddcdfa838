//! What every store must do, tried on each of them: one set of tests, one module of instances a store.
//!
//! The tests speak to a store through its traits, and read what readers read: the stable names, with a client of their
//! own. The measure is core's in-memory model.

mod commits;
mod definitions;
mod lane;
mod sequences;
mod sqlite;
mod subject;
mod values;

use subject::Subject;

/// Instantiates each test for each store.
macro_rules! on_every_store {
    ($($module:ident::$test:ident,)+) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$module::$test(&super::Subject::sqlite().await).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$module::$test(&super::Subject::postgres().await).await;
                }
            )+
        }
    };
}

on_every_store! {
    commits::rows_and_checkpoints_commit_together,
    commits::a_number_out_of_range_takes_the_whole_commit_back,
    commits::a_commit_from_a_stale_position_is_fenced_and_writes_nothing,
    commits::a_commit_of_an_earlier_owner_is_fenced_and_writes_nothing,
    commits::one_fenced_partition_keeps_the_others_where_they_are,
    commits::a_commit_that_happened_is_not_repeated,
    commits::a_claim_raises_the_epoch_and_keeps_the_position,
    commits::a_checkpoint_keeps_the_first_log_that_is_known,
    commits::two_writers_of_the_same_rows_in_opposite_order_both_succeed,
    commits::two_owners_of_one_partition_never_both_write,
    definitions::tables_are_created_once_and_found_again,
    definitions::a_check_changes_nothing,
    definitions::a_changed_declaration_is_refused_and_named,
    definitions::a_raised_version_is_refused_and_named,
    definitions::an_altered_table_is_refused_and_named,
    definitions::a_lost_view_is_refused_and_named,
    definitions::a_taken_name_is_refused_and_nothing_is_created,
    definitions::why_a_projection_stopped_is_kept_with_its_first_time,
    values::every_type_is_kept_exactly,
    values::doubles_are_kept_to_the_last_bit,
    values::rows_are_found_by_keys_of_every_type,
    values::defaults_of_every_type_are_what_new_rows_hold,
    values::rows_without_data_columns_come_and_go,
    values::a_peek_shows_the_first_rows_by_key,
    sequences::the_operations_do_what_they_say,
    sequences::random_batches_do_what_the_model_does,
    sequences::random_batches_of_extreme_numbers_do_what_the_model_does,
}
