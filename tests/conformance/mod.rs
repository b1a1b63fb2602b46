//! What every storage must do, as named checks; each gets an empty storage of its own.

mod desired;
mod installation;
mod model;
mod observed;
mod pages;
pub(crate) mod values;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lastmile::storage::Storage;

type Run = fn(Arc<dyn Storage>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! checks {
    ($($module:ident::$name:ident,)+) => {
        /// Every check by name.
        pub(crate) const CHECKS: &[(&str, Run)] = &[
            $((stringify!($name), |storage| Box::pin($module::$name(storage))),)+
        ];
    };
}

checks! {
    desired::an_object_reads_back_as_written_by_every_lookup,
    desired::an_external_id_is_unique_per_tenant_source_and_kind_among_the_living,
    desired::a_writer_that_saw_another_generation_gets_a_conflict,
    desired::a_unique_key_has_one_living_holder_and_can_change_hands_within_a_change,
    desired::a_reference_needs_a_living_object_and_holds_off_its_deletion,
    desired::a_refused_change_leaves_nothing_behind,
    desired::catching_up_never_splits_a_commit,
    desired::a_reader_catching_up_beside_many_writers_misses_nothing,
    desired::ten_thousand_objects_commit_as_one_change,
    desired::hostile_text_is_stored_rather_than_refused,
    pages::lists_page_through_exactly_what_the_filter_admits,
    pages::the_bulk_read_yields_every_living_object_of_all_tenants_once,
    pages::observed_pages_show_exactly_what_the_filter_admits,
    pages::a_page_key_that_was_never_given_out_is_refused,
    observed::a_batch_is_applied_once_and_never_across_a_gap,
    observed::only_a_newer_session_row_replaces_an_older_one,
    observed::only_a_newer_grant_row_replaces_or_removes_an_older_one,
    observed::a_node_reads_what_others_wrote_last_in_the_order_of_each_journal,
    observed::a_batch_mixes_sessions_that_begin_report_end_and_move,
    observed::ten_thousand_rows_apply_as_one_batch,
    observed::purging_takes_bounded_pieces_and_keeps_live_sessions,
    installation::tokens_are_stored_and_revoked_once,
    installation::what_changes_no_object_takes_a_seq_and_readers_pass_over_it,
    installation::every_node_gets_the_same_key,
    installation::a_pool_block_has_one_owner_and_an_epoch_only_rises,
    installation::a_commit_wakes_those_who_wait_for_changes,
    model::random_changes_agree_with_a_map_in_memory,
}
