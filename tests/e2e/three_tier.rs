//! `three-tier.yaml`: one site, deployed from nothing with interruptions.

use super::{
    account,
    lab::{Hafail, chapter},
};

pub const TOPOLOGY: &str = "topologies/three-tier.yaml";

pub fn story() {
    let hafail = Hafail::topology(TOPOLOGY);
    interrupted_deploys_complete(&hafail);
    votes_count(&hafail);
    let refused = hafail.fails(
        &["failover", "--region", "eu-west-1", "--yes"],
        4,
        "nothing-to-fail-over-to",
    );
    let error = refused.error("nothing-to-fail-over-to");
    assert!(
        !error["details"]["evidence"].as_array().unwrap().is_empty(),
        "{refused}"
    );
    let _chapter = chapter("destroy");
    hafail.run(&["destroy", "--yes"]).with(0);
    account::is_empty();
}

/// Ctrl-C while resources are made, while hosts come up and while they are
/// configured: the state is named, and nothing is made twice.
fn interrupted_deploys_complete(hafail: &Hafail) {
    {
        let _chapter = chapter("Ctrl-C while resources are made");
        let mut deploy = hafail.start(&["deploy", "--yes"]);
        deploy.until(|line| line.starts_with("[8/"));
        deploy.interrupt();
        let ended = deploy.end().with(130);
        ended.error("interrupted");
        ended.says("actions done; now undecided:");
    }
    {
        let _chapter = chapter("Ctrl-C while hosts are configured");
        let mut deploy = hafail.start(&["deploy", "--yes"]);
        deploy.until(|line| line.contains(": changed "));
        deploy.interrupt();
        let ended = deploy.end().with(130);
        ended.error("interrupted");
        ended.says("interrupted in `every host`, after ");
    }
    {
        let _chapter = chapter("Ctrl-C further on");
        let mut deploy = hafail.start(&["deploy", "--yes"]);
        deploy.until(|line| line.starts_with("  db: changed "));
        deploy.interrupt();
        let ended = deploy.end().with(130);
        ended.error("interrupted");
        ended.says(", after ");
    }
    let _chapter = chapter("deploy to its end, and again");
    assert!(hafail.deploys() > 0);
    hafail.deploys_nothing();
    let expected = [
        ("eu-west-1 addresses", 2), // entrance and NAT gateway
        ("eu-west-1 gateways", 1),
        ("eu-west-1 groups", 5), // one for each role
        ("eu-west-1 instances", 4),
        ("eu-west-1 keys", 1),
        ("eu-west-1 subnets", 3),
        ("eu-west-1 vpcs", 1),
        ("zones", 1),
    ];
    let expected = expected.map(|(name, number)| (name.to_owned(), number));
    assert_eq!(
        account::count("three-tier"),
        expected.into(),
        "nothing was made twice"
    );
}

fn votes_count(hafail: &Hafail) {
    let _chapter = chapter("votes");
    hafail.run(&["run", "smoke-test"]).with(0);
    hafail.counts_every_vote();
    hafail.healthy();
}
