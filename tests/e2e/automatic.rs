//! `automatic.yaml`: two sites and a witness; the store in three places.

use super::{
    account,
    lab::{Hafail, chapter, on_host, until},
};

pub const TOPOLOGY: &str = "topologies/automatic.yaml";
const DEPLOYMENT: &str = "automatic";
const MEMBERS: [&str; 3] = ["site1-lb", "site2-lb", "witness"];

pub fn story() {
    let hafail = Hafail::topology(TOPOLOGY);
    {
        let _chapter = chapter("deploy in three regions, and again");
        assert!(hafail.deploys() > 0);
        hafail.deploys_nothing();
        healthy(&MEMBERS);
        hafail.healthy();
        every_place_gets_every_page(&hafail);
    }
    one_member_is_away(&hafail);
    a_member_that_lost_its_data_is_replaced(&hafail);
    machines_are_replaced_when_asked_for(&hafail);
    let _chapter = chapter("destroy");
    hafail.run(&["destroy", "--yes"]).with(0);
    account::is_empty();
}

/// etcdctl on the first of these members, over all of them.
fn etcdctl(members: &[&str], command: &str) -> String {
    let endpoints: Vec<_> = members
        .iter()
        .map(|it| format!("https://{it}:2379"))
        .collect();
    let script = format!(
        "sudo env ETCDCTL_API=3 ETCDCTL_CACERT=/etc/hafail/etcd/ca.pem \
         ETCDCTL_CERT=/etc/hafail/etcd/cert.pem ETCDCTL_KEY=/etc/hafail/etcd/key.pem \
         ETCDCTL_ENDPOINTS={} etcdctl {command} 2>&1 || true",
        endpoints.join(",")
    );
    on_host(DEPLOYMENT, members[0], &script)
}

/// Each commits with a majority behind it, before long.
#[track_caller]
fn healthy(members: &[&str]) {
    until(|| {
        let said = etcdctl(members, "endpoint health");
        let healthy = said.matches(" is healthy: successfully committed").count();
        match healthy == members.len() {
            true => Ok(()),
            false => Err(format!("not healthy: {said}")),
        }
    });
}

/// Each watcher asks the services at the front doors of both sites.
fn every_place_gets_every_page(hafail: &Hafail) {
    let open = serde_json::json!({"result": true, "vote": true});
    hafail.until_status("not every page", |status| {
        let watchers = &status.json()["seen"]["automatic"]["known"]["watchers"];
        let gets_all = |place: &str| {
            let doors = &watchers[place]["doors"];
            doors["site1"] == open && doors["site2"] == open
        };
        MEMBERS.into_iter().all(gets_all).then_some(())
    });
}

fn one_member_is_away(hafail: &Hafail) {
    let _chapter = chapter("a member is away");
    account::power_off(DEPLOYMENT, "site2-lb");
    healthy(&["witness", "site1-lb"]);
    let refused = hafail
        .run(&["deploy", "--yes", "--replace", "witness"])
        .with(4);
    refused.says("without witness the store would have no majority");
    account::power_on(DEPLOYMENT, "site2-lb");
    healthy(&MEMBERS);
    hafail.healthy();
}

/// It does not start without data by itself, is not replaced without a
/// majority, and else by one command.
fn a_member_that_lost_its_data_is_replaced(hafail: &Hafail) {
    let _chapter = chapter("a member lost its data");
    let before = etcdctl(&MEMBERS, "member list");
    let lose = "sudo systemctl stop hafail-etcd && sudo rm -rf /var/lib/etcd/hafail && \
                sudo systemctl start hafail-etcd; systemctl is-active hafail-etcd || true";
    let state = on_host(DEPLOYMENT, "witness", lose);
    assert_eq!(state.trim(), "inactive", "it forgot what it had voted for");

    let replace = ["run", "deploy-etcd", "--host", "witness"];
    on_host(DEPLOYMENT, "site1-lb", "sudo systemctl stop hafail-etcd");
    let refused = hafail.run(&replace).with(1);
    refused.says("the others have no majority that could admit it anew");
    on_host(DEPLOYMENT, "site1-lb", "sudo systemctl start hafail-etcd");
    healthy(&["site1-lb", "site2-lb"]);

    hafail.run(&replace).with(0);
    healthy(&MEMBERS);
    let after = etcdctl(&MEMBERS, "member list");
    let id = |list: &str| {
        let line = list.lines().find(|line| line.contains("witness:2380"));
        let line = line.unwrap_or_else(|| panic!("no witness: {list}"));
        line.split(',').next().map(str::to_owned)
    };
    assert_ne!(
        id(&before),
        id(&after),
        "it has a new place:\n{before}{after}"
    );
    assert_eq!(after.lines().count(), 3, "{after}");
    hafail.deploys_nothing();
}

/// Although nothing differs; but never the last good database.
fn machines_are_replaced_when_asked_for(hafail: &Hafail) {
    let _chapter = chapter("machines are replaced when asked for");
    let replace = |host| hafail.run(&["deploy", "--yes", "--replace", host]);
    let refused = replace("site1-db").with(4);
    refused.says("site1-db may have the only good data");
    refused.says("hafail failover --region us-east-1");
    for host in ["witness", "site2-db"] {
        let mark = "/var/lib/hafail-was-here";
        on_host(DEPLOYMENT, host, &format!("touch {mark}"));
        replace(host).with(0);
        on_host(DEPLOYMENT, host, &format!("! test -e {mark}"));
        hafail.healthy();
    }
    healthy(&MEMBERS);
    hafail.deploys_nothing();
}
