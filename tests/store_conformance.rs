//! What every store must do, tried on each of them: one set of tests, one module of instances a store.
//!
//! The tests speak to a store through its traits, and read what readers read: the stable names, with a client of their
//! own. The measure is core's in-memory model.

mod additions;
mod commits;
mod comparisons;
mod connections;
mod dead_letters;
mod definitions;
mod deployments;
mod lane;
mod ledger;
mod lifecycle;
mod loads;
mod names;
mod notices;
mod operations;
mod postgres;
mod references;
mod sequences;
mod sqlite;
mod subject;
mod values;
mod views;
mod wide;

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
    commits::a_number_out_of_range_rolls_the_whole_commit_back,
    commits::a_commit_from_a_stale_position_is_fenced_and_writes_nothing,
    commits::a_commit_of_an_earlier_owner_is_fenced_and_writes_nothing,
    commits::one_fenced_partition_keeps_the_others_where_they_are,
    commits::a_completed_commit_is_not_repeated,
    commits::a_commit_finds_checkpoints_that_somebody_else_has_rewritten_and_moves_each_once,
    commits::positions_are_those_of_one_generation,
    commits::a_claim_raises_the_epoch_and_keeps_the_position,
    commits::a_checkpoint_keeps_the_first_known_log_id,
    commits::two_writers_of_the_same_rows_in_opposite_order_both_succeed,
    commits::writers_of_the_same_rows_in_several_statements_never_deadlock,
    commits::a_row_that_exists_is_not_refused_for_what_a_new_one_would_hold,
    commits::two_owners_of_one_partition_never_both_write,
    deployments::a_database_belongs_to_the_first_deployment,
    deployments::a_cluster_is_learnt_and_another_one_refused,
    definitions::tables_are_created_once_and_found_again,
    views::a_view_joins_rows_by_key_and_swaps_with_its_generation,
    views::a_view_comes_and_goes_with_a_swap,
    views::a_view_that_somebody_replaced_is_reported,
    definitions::asking_for_taken_names_changes_nothing,
    definitions::a_changed_declaration_is_named_and_leaves_the_tables,
    definitions::a_raised_version_is_named,
    definitions::an_altered_table_is_named,
    definitions::a_lost_view_is_named,
    definitions::a_taken_name_is_refused_and_nothing_is_created,
    definitions::names_that_the_projection_has_itself_are_no_conflict,
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
    lifecycle::a_projection_has_one_leader_at_a_time,
    lifecycle::an_ended_generation_is_dropped_and_its_number_is_never_reused,
    lifecycle::a_standby_is_over_by_the_clock_of_the_database,
    lifecycle::a_generation_whose_life_has_ended_is_claimed_by_nobody,
    lifecycle::a_generation_that_does_not_exist_is_neither_ended_nor_dropped,
    lifecycle::an_operation_of_another_projection_begins_nothing,
    lifecycle::a_proof_ends_no_hold_on_the_live_generation,
    lifecycle::a_swap_that_is_refused_names_the_state_that_prevents_it,
    lifecycle::a_swap_and_the_end_of_its_operation_are_one,
    lifecycle::when_tables_were_dropped_is_recorded_once,
    loads::a_load_brings_rows_checkpoints_and_dead_letters_together,
    loads::a_load_takes_the_place_of_what_an_earlier_one_left,
    loads::a_load_that_does_not_succeed_leaves_nothing,
    loads::a_load_keeps_every_type_exactly,
    lifecycle::views_of_users_are_named_and_survive_a_swap,
    additions::what_readcast_made_is_no_addition,
    additions::indexes_of_users_survive_rebuilds_and_rollbacks,
    additions::a_carried_index_does_what_it_did,
    additions::an_index_that_is_declared_meanwhile_is_not_made_twice,
    additions::an_index_that_cannot_be_made_is_named_and_the_others_are_there,
    additions::triggers_are_named_on_tables_and_on_views,
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
    operations::progress_marks_an_operation_as_running,
    operations::what_operators_do_at_once_is_recorded_in_the_same_words,
    operations::an_instance_that_stops_has_none_of_its_definitions_any_more,
    operations::texts_are_stored_whatever_they_hold,
    operations::times_are_to_the_millisecond,
    dead_letters::dead_letters_rows_and_checkpoint_commit_together_or_not_at_all,
    dead_letters::a_parked_record_is_kept_byte_for_byte,
    dead_letters::what_is_parked_is_listed_in_order_with_what_it_takes,
    dead_letters::a_commit_planned_before_somebody_settled_is_outdated_and_writes_nothing,
    dead_letters::a_settlement_read_before_somebody_else_settled_is_refused_and_changes_nothing,
    dead_letters::a_settlement_that_the_rows_prevent_settles_nothing,
    dead_letters::two_operators_at_once_settle_each_record_once,
    dead_letters::settlements_that_race_commits_lose_nothing_and_repeat_nothing,
    dead_letters::waiting_records_come_in_the_order_of_the_log_also_after_the_first_failed_again,
    dead_letters::limits_hold_for_all_that_is_parked_and_for_each_key,
    dead_letters::amendments_are_recalled_in_every_generation_and_survive_a_rename,
    dead_letters::readers_see_which_keys_of_the_live_generation_wait,
    dead_letters::readers_see_which_rows_parked_records_would_have_changed,
    dead_letters::while_dead_letters_cannot_be_written_the_checkpoint_never_moves,
    dead_letters::rows_that_the_store_cannot_hold_are_unstorable,
    dead_letters::trouble_keeps_its_beginning_while_it_retries_and_is_another_when_it_halts,
    dead_letters::a_generation_that_failed_is_tried_no_more,
    dead_letters::a_poison_class_that_is_not_known_is_named_and_never_left_out,
    notices::a_notice_keeps_its_beginning_and_goes_when_it_is_withdrawn,
    notices::counts_of_events_add_up_and_others_are_replaced,
    notices::notices_of_a_kind_are_told_apart_by_their_subjects,
    notices::notices_go_with_their_projection_to_another_name,
    notices::what_an_instance_that_runs_has_recorded_is_for_that_one_to_take_back,
    notices::a_halt_outranks_what_another_instance_tries_again,
    ledger::the_ledger_recalls_the_ids_of_the_window_and_no_more,
    ledger::what_a_commit_that_was_fenced_saw_is_not_in_the_ledger,
    ledger::a_copy_has_what_was_parked_and_seen_before_its_checkpoints_and_not_what_comes_after,
    ledger::what_is_parked_and_seen_goes_with_its_generation,
    ledger::leader_epochs_are_kept_with_the_checkpoint_and_forgotten_when_unknown,
    ledger::checkpoints_resume_where_the_log_can_be_read_and_their_owners_are_fenced,
    ledger::no_checkpoint_goes_back_behind_what_is_parked,
    ledger::no_checkpoint_resumes_unless_the_operation_ends_with_it,
    ledger::what_was_seen_of_a_part_of_the_log_that_is_lost_is_forgotten,
    values::many_children_of_every_type_are_kept_exactly,
    values::of_two_writers_of_the_same_children_one_wins_completely,
    values::every_type_is_kept_exactly,
    values::doubles_are_kept_to_the_last_bit,
    values::rows_are_found_by_keys_of_every_type,
    values::defaults_of_every_type_are_what_new_rows_hold,
    values::rows_without_data_columns_come_and_go,
    values::a_peek_shows_the_first_rows_by_key,
    names::columns_of_every_name_take_every_operation,
    names::tables_of_every_name_take_every_operation,
    wide::a_row_of_the_greatest_width_takes_every_operation,
    wide::a_row_of_the_greatest_width_takes_items,
    wide::children_of_the_greatest_width_are_replaced,
    wide::rows_have_keys_of_the_greatest_width,
    wide::a_generation_of_the_greatest_width_is_loaded_and_shown,
    wide::a_copy_of_the_greatest_width_goes_on,
    wide::rows_of_the_greatest_width_that_differ_are_named,
    wide::columns_of_wide_tables_that_came_or_went_are_not_compared,
    wide::a_sample_names_keys_of_every_length,
    wide::the_largest_row_that_can_be_declared_is_stored,
    wide::a_row_of_as_many_doubles_as_fit_is_kept,
    references::copies_equal_the_model_after_every_batch,
    references::copies_equal_the_model_when_lanes_race,
    references::a_load_fills_the_copies_and_commits_keep_them,
    references::a_copy_of_the_live_rows_gets_the_copies_of_new_references,
    sequences::the_operations_do_what_they_say,
    sequences::random_batches_do_what_the_model_does,
    sequences::random_batches_of_extreme_numbers_equal_the_model,
}
