//! Stories on a lab that is up, and what goes wrong around them. Run by
//! `scripts/test`, which brings the lab up: needs `hafail` and `hafail-lab` on
//! PATH. Every test begins and ends with an empty account.
//!
//! While tests are written: `HAFAIL_E2E_KEEP=1` takes the system that an
//! earlier run left instead of telling the story again, and leaves it.

#[path = "e2e/account.rs"]
mod account;
#[path = "e2e/automatic.rs"]
mod automatic;
#[path = "e2e/checked_names.rs"]
mod checked_names;
#[path = "e2e/cloud.rs"]
mod cloud;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/healing.rs"]
mod healing;
#[path = "e2e/hosts.rs"]
mod hosts;
#[path = "e2e/lab.rs"]
mod lab;
#[path = "e2e/operating.rs"]
mod operating;
#[path = "e2e/program.rs"]
mod program;
#[path = "e2e/secrets.rs"]
mod secrets;
#[path = "e2e/static_hosts.rs"]
mod static_hosts;
#[path = "e2e/story.rs"]
mod story;
#[path = "e2e/three_tier.rs"]
mod three_tier;

use std::{panic::UnwindSafe, path::Path};

use lab::{Hafail, cleared, explained, keeps};

#[test]
#[ignore = "needs a lab: scripts/test"]
fn the_story() {
    cleared(&Hafail::new(), || {
        if !keeps() {
            explained(None, story::is_told);
        }
        explained(None, || {
            story::refusals_name_reason_and_next_command();
            story::nothing_is_left_to_change();
            story::playbooks_run_alone();
        });
        explained(None, || {
            cloud::refuses();
            hosts::cannot_be_used();
            hosts::fail_in_the_middle();
            hosts::no_commit_waits_for_a_standby_that_is_away();
        });
        explained(None, || {
            operating::interrupted_before_and_after_the_promotion();
            operating::one_at_a_time();
            operating::no_promotion_without_a_proof();
            operating::no_switchover_to_a_standby_that_lags();
            secrets::stay_secret();
        });
        if !keeps() {
            story::destroy_leaves_nothing();
        }
    });
}

#[test]
#[ignore = "needs a lab: scripts/test"]
fn one_site_in_three_tiers() {
    tell(three_tier::TOPOLOGY.as_ref(), three_tier::story);
}

#[test]
#[ignore = "needs a lab: scripts/test"]
fn the_store_in_three_places() {
    tell(automatic::TOPOLOGY.as_ref(), automatic::story);
}

#[test]
#[ignore = "needs a lab: scripts/test"]
fn faults_under_automatic_mode() {
    tell_of_faults(faults::SOME);
}

#[test]
#[ignore = "takes half an hour: scripts/faults"]
fn all_faults_under_automatic_mode() {
    tell_of_faults(&[faults::SOME, faults::OTHERS].concat());
}

fn tell_of_faults(stories: &[faults::Story]) {
    let directory = tempfile::tempdir().unwrap();
    let topology = faults::topology(directory.path());
    tell(&topology, || faults::story(&topology, stories));
}

#[test]
#[ignore = "needs a lab: scripts/test"]
fn names_follow_health_checks() {
    let directory = tempfile::tempdir().unwrap();
    let topology = checked_names::topology(directory.path());
    tell(&topology, || checked_names::story(&topology));
}

#[test]
#[ignore = "needs a lab: scripts/test"]
fn machines_and_containers_heal() {
    let directory = tempfile::tempdir().unwrap();
    let topology = healing::topology(directory.path());
    tell(&topology, || healing::story(&topology));
}

#[test]
#[ignore = "needs a lab: scripts/test"]
fn machines_that_exist() {
    static_hosts::story();
}

/// A story of what is deployed from that topology.
fn tell(topology: &Path, story: impl FnOnce() + UnwindSafe) {
    cleared(&Hafail::topology(topology), || {
        explained(Some(topology), story);
    });
}
