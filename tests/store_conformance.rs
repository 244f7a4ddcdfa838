//! What every store must do, tried on each of them: one set of tests, one module of instances a store.
//!
//! The tests speak to a store through its traits, and read what readers read: the stable names, with a client of their
//! own. The measure is core's in-memory model.

mod commits;
mod comparisons;
mod definitions;
mod lane;
mod lifecycle;
mod operations;
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
    definitions::asking_for_taken_names_changes_nothing,
    definitions::a_changed_declaration_is_named_and_leaves_the_tables,
    definitions::a_raised_version_is_named,
    definitions::an_altered_table_is_named,
    definitions::a_lost_view_is_named,
    definitions::a_taken_name_is_refused_and_nothing_is_created,
    definitions::why_a_projection_stopped_is_kept_with_its_first_time,
    lifecycle::a_generation_is_built_beside_the_live_one_and_shown_in_its_place,
    lifecycle::what_is_building_never_runs_ahead_of_the_live_generation,
    lifecycle::a_hold_stops_the_live_generation_until_it_is_released,
    lifecycle::a_hold_that_nobody_takes_back_ends_by_itself,
    lifecycle::two_generations_are_held_where_the_one_stands_that_is_further,
    lifecycle::a_swap_never_takes_readers_back,
    lifecycle::a_swap_brings_and_takes_tables_and_columns,
    lifecycle::a_copy_begins_where_the_live_generation_stands,
    lifecycle::a_copy_takes_what_both_declarations_have,
    lifecycle::one_leads_a_projection_at_a_time,
    lifecycle::a_generation_that_ended_is_dropped_and_its_number_never_used_again,
    lifecycle::a_standby_is_over_by_the_clock_of_the_database,
    lifecycle::views_of_users_are_named_and_survive_a_swap,
    comparisons::generations_compare_at_equal_checkpoints_alone,
    comparisons::a_comparison_sees_one_state_while_rows_go_on,
    comparisons::every_kind_of_difference_is_named,
    comparisons::tables_and_columns_that_came_or_went_are_not_compared,
    comparisons::only_the_first_rows_that_differ_are_named,
    comparisons::values_of_every_type_compare,
    comparisons::a_scratch_generation_is_retired_once_it_is_compared,
    operations::the_same_operation_is_open_once,
    operations::an_operation_ends_once_and_the_last_are_kept,
    operations::a_pause_is_recorded_and_counts_what_it_changed,
    operations::a_cancellation_gives_up_what_is_built_and_nothing_else,
    operations::a_renamed_projection_keeps_all_that_it_has,
    operations::who_runs_which_definition_is_known_while_it_does,
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
