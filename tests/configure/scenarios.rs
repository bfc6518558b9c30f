//! What must hold, one function each.

mod bench;
mod containers;
mod engine;
mod files;
mod secrets;
mod services;
mod ssh;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::hosts::Hosts;
use bench::Bench;

/// Runs the scenarios one after another; answers the names of those that
/// failed. `HAFAIL_TEST_ONLY` limits them to names that contain it.
pub async fn all(hosts: &Hosts) -> Vec<&'static str> {
    let only = std::env::var("HAFAIL_TEST_ONLY").unwrap_or_default();
    let mut failed = Vec::new();
    macro_rules! scenarios {
        ($($module:ident::$name:ident),+ $(,)?) => {$(
            let name = stringify!($name);
            if name.contains(&only) {
                let bench = Bench::new(hosts).await;
                let started = std::time::Instant::now();
                let ended = AssertUnwindSafe($module::$name(&bench)).catch_unwind().await;
                let word = if ended.is_ok() { "ok" } else { failed.push(name); "FAILED" };
                println!("{name} … {word} ({:.2?})", started.elapsed());
            }
        )+};
    }
    scenarios![
        ssh::all_hosts_are_reached_quickly,
        ssh::a_private_host_is_reached_through_its_bastion,
        ssh::a_wrong_host_key_is_refused,
        ssh::a_refused_key_says_so,
        ssh::a_user_who_may_not_be_root_is_named,
        ssh::a_closed_port_says_so,
        ssh::a_command_that_takes_too_long_is_given_up,
        ssh::many_commands_share_one_connection,
        ssh::a_broken_connection_is_made_anew,
        ssh::streams_reach_ports_and_sockets_of_the_host,
        ssh::a_command_that_reads_nothing_and_one_that_reads_all_both_end,
        engine::a_second_run_changes_nothing,
        engine::a_dry_run_changes_nothing_and_shows_the_difference,
        engine::a_failing_step_stops_its_host_and_the_next_run_goes_on,
        engine::handlers_outlive_a_failure,
        engine::hosts_work_at_once_or_one_after_another,
        engine::loops_conditions_and_limits,
        files::a_full_disk_leaves_the_old_file,
        files::a_mount_point_is_written_in_place,
        files::a_refusing_check_keeps_the_old_file,
        files::an_upload_is_sent_only_when_it_differs,
        secrets::secrets_are_never_seen,
        services::waits_for_http_and_redis,
        services::statements_run_once,
        services::units_start_and_reload,
        containers::a_container_is_made_anew_only_when_it_changed,
    ];
    failed
}
