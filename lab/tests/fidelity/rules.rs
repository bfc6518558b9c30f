//! The rules, each a sentence.

#[path = "rules/api.rs"]
mod api;
#[path = "rules/machines.rs"]
mod machines;
#[path = "rules/network.rs"]
mod network;

use std::future::Future;
use std::pin::Pin;

use super::world::World;

type Rule = fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! rules {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// All rules, in the order in which they run.
        pub fn all() -> Vec<(&'static str, Rule)> {
            vec![$((stringify!($name), |world| Box::pin($module::$name(world)))),*]
        }
    };
}

rules![
    api::up_again_changes_nothing,
    api::the_image_is_found_by_owner_and_name_in_every_region,
    machines::the_host_key_of_the_user_data_is_the_one_that_sshd_presents,
    machines::user_data_commands_ran,
    network::a_port_that_no_group_opens_is_closed,
    network::ports_that_containers_inside_publish_are_filtered_too,
    network::a_group_reference_admits_members_only,
    network::a_group_reference_across_regions_is_refused,
    network::a_private_host_is_reached_through_the_bastion_only,
    network::without_peering_or_a_route_nothing_crosses,
    network::an_elastic_ip_is_reached_from_another_region,
    network::without_a_way_to_the_internet_there_is_no_registry,
    network::a_released_address_is_gone,
    network::a_cut_region_is_silent_and_heals_by_itself,
    network::a_link_that_vanishes_is_made_anew,
    api::a_changed_record_is_what_a_query_answers,
    machines::a_stopped_instance_is_gone_and_comes_back_with_its_disk,
    machines::a_frozen_machine_goes_on_by_itself,
    machines::a_disk_of_its_own_has_what_was_there_and_can_be_full,
    machines::a_forced_stop_is_a_power_cut,
    machines::a_machine_that_reboots_comes_back_and_one_that_switches_itself_off_is_stopped,
    machines::an_end_that_is_heard_late_ends_no_later_start,
    api::one_client_token_makes_one_instance,
    machines::a_terminated_instance_leaves_nothing,
    api::faults_strike_as_ordered_and_calls_are_counted,
    api::a_lab_whose_daemon_died_comes_back,
];
