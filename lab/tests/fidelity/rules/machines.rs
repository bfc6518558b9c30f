//! Instances as machines.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{NAME, Seen, dial, poll};
use crate::world::{Site, World};

pub async fn the_host_key_of_the_user_data_is_the_one_that_sshd_presents(world: World) {
    let output = Command::new("ssh-keyscan")
        .args(["-T", "5", &world.one.address])
        .output();
    let text = String::from_utf8(output.expect("ssh-keyscan of openssh-client").stdout).unwrap();
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(_, k)| k)
        .collect();
    let wanted: Vec<&str> = world.keys.host_public.splitn(3, ' ').take(2).collect();
    assert_eq!(keys, [wanted.join(" ")], "the key given is the only one");
}

pub async fn user_data_commands_ran(world: World) {
    world
        .lab
        .must(&world.one.db, &["test", "-e", "/root/user-data-was-here"]);
}

pub async fn a_stopped_instance_is_gone_and_comes_back_with_its_disk(world: World) {
    let (lab, site) = (&world.lab, &world.other);
    lab.must(
        &site.bastion,
        &[
            "sh",
            "-c",
            "echo kept > /root/file; echo 10.0.0.1 peer >> /etc/hosts",
        ],
    );
    let before = site.describe(&site.bastion).await.private_ip_address;
    let stop = site
        .client
        .stop_instances()
        .instance_ids(&site.bastion)
        .send();
    let watch = async {
        // Never does the API say `stopped` of a machine that runs.
        let deadline = Instant::now() + Duration::from_secs(120);
        while site.state(&site.bastion).await != "stopped" {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(lab.container(&site.bastion), "exited");
    };
    let (stopped, ()) = futures::join!(stop, watch);
    stopped.unwrap();
    assert_eq!(dial(&site.address, 22), Seen::Silence);
    site.client
        .start_instances()
        .instance_ids(&site.bastion)
        .send()
        .await
        .unwrap();
    assert_eq!(
        poll(|| (dial(&site.address, 22) == Seen::Open).then_some(())),
        Some(())
    );
    assert_eq!(lab.must(&site.bastion, &["cat", "/root/file"]), "kept");
    assert!(
        lab.must(&site.bastion, &["cat", "/etc/hosts"])
            .contains("10.0.0.1 peer")
    );
    assert_eq!(
        site.describe(&site.bastion).await.private_ip_address,
        before
    );
}

/// A service that leaves a trace when it is stopped in order.
const TRACE: &str = "systemctl is-active -q trace || systemd-run --quiet --unit trace \
    -p ExecStop='/bin/touch /root/stopped-in-order' sleep infinity; rm -f /root/stopped-in-order";

pub async fn a_frozen_machine_goes_on_by_itself(world: World) {
    let (lab, host) = (&world.lab, &world.other.bastion);
    let tick = "(while :; do date +%s%N > /run/tick; sleep 0.05; done) > /dev/null 2>&1 &";
    lab.must(host, &["sh", "-c", tick]);
    let begun = Instant::now();
    let frozen = lab.command(&["fault", "freeze", host, "--for", "2s"]);
    assert!(frozen.status.success(), "{frozen:?}");
    assert_eq!(lab.container(host), "paused");
    poll(|| (lab.container(host) == "running").then_some(())).expect("it goes on");
    assert!(begun.elapsed() > Duration::from_millis(1_900));
    // What ran on it runs on, and its clock has not stood still.
    let last = lab.must(host, &["cat", "/run/tick"]);
    poll(|| (lab.must(host, &["cat", "/run/tick"]) != last).then_some(())).expect("it ticks");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let theirs: f64 = lab.must(host, &["date", "+%s.%N"]).parse().unwrap();
    assert!((theirs - now.as_secs_f64()).abs() < 1.0);
    lab.must(host, &["sh", "-c", "pkill -f /run/[t]ick"]);
}

pub async fn a_disk_of_its_own_has_what_was_there_and_can_be_full(world: World) {
    let (lab, host) = (&world.lab, &world.other.bastion);
    lab.must(
        host,
        &["sh", "-c", "mkdir /srv/data && echo kept > /srv/data/file"],
    );
    let given = lab.command(&["fault", "give-disk", host, "/srv/data", "--size", "16"]);
    assert!(given.status.success(), "{given:?}");
    assert_eq!(lab.must(host, &["cat", "/srv/data/file"]), "kept");
    let full = "dd if=/dev/zero of=/srv/data/fill bs=1M count=64 2>&1; true";
    let said = lab.must(host, &["sh", "-c", full]);
    assert!(said.contains("No space left on device"), "{said}");
    lab.must(host, &["sh", "-c", "rm /srv/data/fill && umount /srv/data"]);
    assert_eq!(lab.must(host, &["cat", "/srv/data/file"]), "kept");
}

pub async fn a_forced_stop_is_a_power_cut(world: World) {
    let (lab, site) = (&world.lab, &world.other);
    // Of a connection to it, which it ends in order, or of which nothing is heard any more.
    let open = format!("ss -Htn state established dst {}:22 | grep .", site.db_ip);
    // A dial that fails leaves nothing to wait for: then it dials again.
    let connect = format!(
        "setsid bash -c 'until exec 3<>/dev/tcp/{}/22; do sleep 0.1; done; sleep 60' > /dev/null 2>&1 &",
        site.db_ip
    );
    for (force, trace) in [(false, 0), (true, 1)] {
        lab.must(&site.db, &["sh", "-c", TRACE]);
        lab.must(&site.bastion, &["bash", "-c", &connect]);
        let opened = poll(|| (lab.exec(&site.bastion, &["sh", "-c", &open]).0 == 0).then_some(()));
        let sockets = || lab.must(&site.bastion, &["ss", "-tan"]);
        assert!(opened.is_some(), "forced: {force}: {}", sockets());
        let stop = site
            .client
            .stop_instances()
            .instance_ids(&site.db)
            .force(force);
        stop.send().await.unwrap();
        assert_eq!(lab.container(&site.db), "exited");
        let still_open = lab.exec(&site.bastion, &["sh", "-c", &open]).0 == 0;
        assert_eq!(still_open, force, "nobody hears a power cut");
        site.client
            .start_instances()
            .instance_ids(&site.db)
            .send()
            .await
            .unwrap();
        lab.await_boot(&site.db);
        let seen = lab
            .exec(&site.db, &["test", "-e", "/root/stopped-in-order"])
            .0;
        assert_eq!(seen, trace, "forced: {force}");
    }
}

pub async fn a_machine_that_reboots_comes_back_and_one_that_switches_itself_off_is_stopped(
    world: World,
) {
    let (lab, site) = (&world.lab, &world.other);
    let boot = || {
        lab.exec(&site.stranger, &["stat", "-c", "%y", "/run/systemd"])
            .1
    };
    for by_the_api in [false, true] {
        let before = boot();
        if by_the_api {
            let reboot = site.client.reboot_instances();
            reboot.instance_ids(&site.stranger).send().await.unwrap();
        } else {
            lab.exec(&site.stranger, &["systemctl", "reboot"]);
        }
        let again = poll(|| Some(boot()).filter(|now| !now.is_empty() && *now != before));
        assert!(again.is_some(), "it comes back; by the API: {by_the_api}");
    }
    assert_eq!(site.state(&site.stranger).await, "running");
    lab.await_boot(&site.stranger);
    lab.exec(&site.stranger, &["systemctl", "poweroff"]);
    let deadline = Instant::now() + Duration::from_secs(120);
    while site.state(&site.stranger).await != "stopped" {
        assert!(
            Instant::now() < deadline,
            "the API says what the machine did"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lab.container(&site.stranger), "exited");
}

pub async fn an_end_that_is_heard_late_ends_no_later_start(world: World) {
    let (lab, site) = (&world.lab, &world.other);
    let daemon = lab.pid("daemon");
    let events = |signal: &str| {
        let args = ["-P", &daemon, "--signal", signal, "-f", "docker events"];
        let sent = Command::new("pkill").args(args).status();
        assert!(sent.expect("pkill runs").success());
    };
    let (stop, start) = (site.client.stop_instances(), site.client.start_instances());
    let heard = || {
        let log = std::fs::read_to_string(lab.state().join("daemon.log")).expect("a log");
        let of_it = |line: &&str| line.contains(&site.db) && line.contains(" ended ");
        log.lines().filter(of_it).count()
    };
    let before = heard();
    events("STOP");
    stop.instance_ids(&site.db).send().await.unwrap();
    start.instance_ids(&site.db).send().await.unwrap();
    lab.await_boot(&site.db);
    events("CONT");
    assert_eq!(poll(|| (heard() > before).then_some(())), Some(()));
    // The lab has done what it had to: it answers in turn.
    lab.command(&["status"]);
    assert_eq!(site.state(&site.db).await, "running");
    assert_eq!(lab.container(&site.db), "running");
}

pub async fn a_terminated_instance_leaves_nothing(world: World) {
    let (lab, site) = (&world.lab, &world.one);
    let name = format!("hafail-lab-{NAME}-{}", site.stranger);
    let format = "{{range .Mounts}}{{.Name}}{{end}}";
    let output = Command::new("docker")
        .args(["inspect", "--format", format, &name])
        .output();
    let volume = String::from_utf8(output.unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned();
    assert!(!volume.is_empty());
    let before = site.describe(&site.stranger).await;
    terminate(site, &site.stranger).await;
    assert_eq!(site.state(&site.stranger).await, "terminated");
    assert_ne!(lab.container(&site.stranger), "running");
    assert_eq!(
        poll(|| lab.container(&site.stranger).is_empty().then_some(())),
        Some(())
    );
    let gone = || {
        let output = Command::new("docker")
            .args(["volume", "inspect", &volume])
            .output()
            .unwrap();
        (!output.status.success()).then_some(())
    };
    assert_eq!(poll(gone), Some(()));

    // Its private address is free for another one.
    let again = (site.client.run_instances())
        .image_id(site.image().await)
        .instance_type(aws_sdk_ec2::types::InstanceType::T3Small)
        .set_subnet_id(before.subnet_id)
        .set_private_ip_address(before.private_ip_address.clone())
        .min_count(1)
        .max_count(1);
    let again = again.send().await.unwrap().instances.unwrap().remove(0);
    assert_eq!(again.private_ip_address, before.private_ip_address);
    terminate(site, &again.instance_id.unwrap()).await;
}

async fn terminate(site: &Site, instance: &str) {
    let call = site.client.terminate_instances().instance_ids(instance);
    call.send().await.unwrap();
}
