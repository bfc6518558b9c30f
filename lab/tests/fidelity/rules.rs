//! The rules, each a sentence.

use std::future::Future;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_route53::types as dns;

use super::lab::{BLOCK, NAME, Seen, dial, poll};
use super::world::{World, endpoint, from_cidr, from_group};

type Rule = fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! rules {
    ($($name:ident),* $(,)?) => {
        /// All rules, in the order in which they run.
        pub fn all() -> Vec<(&'static str, Rule)> {
            vec![$((stringify!($name), |world| Box::pin($name(world)))),*]
        }
    };
}

rules![
    up_again_changes_nothing,
    the_image_is_found_by_owner_and_name_in_every_region,
    the_host_key_of_the_user_data_is_the_one_that_sshd_presents,
    user_data_commands_ran,
    a_port_that_no_group_opens_is_closed,
    ports_that_containers_inside_publish_are_filtered_too,
    a_group_reference_admits_members_only,
    a_group_reference_across_regions_is_refused,
    a_private_host_is_reached_through_the_bastion_only,
    without_peering_or_a_route_nothing_crosses,
    an_elastic_ip_is_reached_from_another_region,
    without_a_way_to_the_internet_there_is_no_registry,
    a_released_address_is_gone,
    a_changed_record_is_what_a_query_answers,
    a_stopped_instance_is_gone_and_comes_back_with_its_disk,
    a_forced_stop_is_a_power_cut,
    a_machine_that_switches_itself_off_is_stopped,
    one_client_token_makes_one_instance,
    a_terminated_instance_leaves_nothing,
    faults_strike_as_ordered_and_calls_are_counted,
    a_lab_whose_daemon_died_comes_back,
];

async fn up_again_changes_nothing(world: World) {
    let pids = ["daemon", "registry", "moto"].map(|s| world.lab.pid(s));
    world.lab.up();
    assert_eq!(
        ["daemon", "registry", "moto"].map(|s| world.lab.pid(s)),
        pids
    );
    assert_eq!(dial(&world.one.address, 22), Seen::Open);
}

async fn the_image_is_found_by_owner_and_name_in_every_region(world: World) {
    assert!(world.one.image().await.starts_with("ami-"));
    assert!(world.other.image().await.starts_with("ami-"));
}

async fn the_host_key_of_the_user_data_is_the_one_that_sshd_presents(world: World) {
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

async fn user_data_commands_ran(world: World) {
    world
        .lab
        .must(&world.one.db, &["test", "-e", "/root/user-data-was-here"]);
}

async fn a_port_that_no_group_opens_is_closed(world: World) {
    let site = &world.one;
    world.lab.serve(&site.bastion, 80);
    world.lab.serve(&site.bastion, 8080);
    assert_eq!(dial(&site.address, 80), Seen::Open);
    assert_eq!(dial(&site.address, 8080), Seen::Silence);
    site.allow(&site.bastion_group, from_cidr(8080, "198.51.100.0/24"))
        .await;
    assert_eq!(
        dial(&site.address, 8080),
        Seen::Silence,
        "open to others, not to us"
    );
    site.allow(&site.bastion_group, from_cidr(8080, "127.0.0.1/32"))
        .await;
    assert_eq!(
        dial(&site.address, 8080),
        Seen::Open,
        "open to the operator's address"
    );
    site.revoke(&site.bastion_group, from_cidr(8080, "127.0.0.1/32"))
        .await;
    assert_eq!(dial(&site.address, 8080), Seen::Silence);
    assert_eq!(
        world.lab.dial(&site.bastion, &site.stranger_ip, 22),
        Seen::Silence
    );
}

async fn ports_that_containers_inside_publish_are_filtered_too(world: World) {
    let (lab, site) = (&world.lab, &world.one);
    lab.must(&site.bastion, &["systemctl", "start", "docker"]);
    // The smallest image: one program of the machine itself and what it links to.
    let import = "cd /; tar -ch bin/nc.openbsd $(ldd /bin/nc.openbsd | grep -o '/[^ ]*' | cut -c2-) \
                  | docker import - self";
    lab.must(&site.bastion, &["sh", "-c", import]);
    let run = [
        "docker", "run", "-d", "-p", "81:81", "-p", "8081:81", "self",
    ];
    lab.must(
        &site.bastion,
        &[&run[..], &["/bin/nc.openbsd", "-lk", "81"]].concat(),
    );
    site.allow(&site.bastion_group, from_cidr(81, "0.0.0.0/0"))
        .await;
    assert_eq!(
        poll(|| (dial(&site.address, 81) == Seen::Open).then_some(())),
        Some(())
    );
    lab.await_dial(&site.bastion, "127.0.0.1", 8081, Seen::Open);
    assert_eq!(dial(&site.address, 8081), Seen::Silence);
}

async fn a_group_reference_admits_members_only(world: World) {
    let (lab, site) = (&world.lab, &world.one);
    assert_eq!(
        lab.dial(&site.bastion, &site.db_ip, 22),
        Seen::Open,
        "a member"
    );
    assert_eq!(
        lab.dial(&site.stranger, &site.db_ip, 22),
        Seen::Silence,
        "not a member"
    );
    let change = site
        .client
        .modify_instance_attribute()
        .instance_id(&site.stranger);
    let groups = site.describe(&site.stranger).await.security_groups.unwrap();
    let own = groups[0].group_id.clone().unwrap();
    change
        .clone()
        .groups(&own)
        .groups(&site.bastion_group)
        .send()
        .await
        .unwrap();
    assert_eq!(
        lab.dial(&site.stranger, &site.db_ip, 22),
        Seen::Open,
        "a new member"
    );
    change.groups(&own).send().await.unwrap();
    assert_eq!(
        lab.dial(&site.stranger, &site.db_ip, 22),
        Seen::Silence,
        "a former member"
    );
}

async fn a_group_reference_across_regions_is_refused(world: World) {
    let call = world
        .one
        .client
        .authorize_security_group_ingress()
        .group_id(&world.one.db_group);
    let rule = from_group(6379, &world.other.db_group);
    let error = call.ip_permissions(rule).send().await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidGroup.NotFound"));
}

async fn a_private_host_is_reached_through_the_bastion_only(world: World) {
    let site = &world.one;
    assert_eq!(site.describe(&site.db).await.public_ip_address, None);
    let known = world.lab.state().join("known_hosts");
    let lines: String = [&site.address, &site.db_ip]
        .map(|host| format!("{host} {}\n", world.keys.host_public))
        .concat();
    std::fs::write(&known, lines).unwrap();
    let common = format!(
        "ssh -i {} -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes \
         -o BatchMode=yes -o ConnectTimeout=5",
        world.keys.operator.display(),
        known.display()
    );
    let command = format!(
        "{common} -o ProxyCommand='{common} -W %h:%p admin@{}' admin@{} sudo hostname",
        site.address, site.db_ip
    );
    let output = Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(
        said,
        "ip-10-71-2-10",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        world.lab.dial(&world.other.bastion, &site.db_ip, 22),
        Seen::Silence
    );
}

async fn without_peering_or_a_route_nothing_crosses(world: World) {
    let (lab, one, other) = (&world.lab, &world.one, &world.other);
    lab.serve(&one.db, 5432);
    let crosses = || lab.dial(&other.bastion, &one.db_ip, 5432);
    assert_eq!(crosses(), Seen::Silence, "no peering");
    let asked = one
        .client
        .create_vpc_peering_connection()
        .vpc_id(&one.vpc)
        .peer_vpc_id(&other.vpc);
    let asked = asked.peer_region(other.region).send().await.unwrap();
    let id = asked
        .vpc_peering_connection
        .unwrap()
        .vpc_peering_connection_id
        .unwrap();
    let accept = other
        .client
        .accept_vpc_peering_connection()
        .vpc_peering_connection_id(&id);
    accept.send().await.unwrap();
    assert_eq!(crosses(), Seen::Silence, "no route");
    let route = |client: &aws_sdk_ec2::Client, table: &str, cidr: &str| {
        let route = client
            .create_route()
            .route_table_id(table)
            .destination_cidr_block(cidr);
        route.vpc_peering_connection_id(&id)
    };
    route(&other.client, &other.public_table, "10.71.0.0/16")
        .send()
        .await
        .unwrap();
    assert_eq!(crosses(), Seen::Silence, "no route back");
    route(&one.client, &one.private_table, "10.72.0.0/16")
        .send()
        .await
        .unwrap();
    assert_eq!(crosses(), Seen::Open, "both routes");
    assert_eq!(
        lab.dial(&other.db, &one.db_ip, 5432),
        Seen::Silence,
        "a subnet without the route"
    );
    assert_eq!(
        lab.dial(&other.bastion, &one.db_ip, 22),
        Seen::Silence,
        "groups end at the region"
    );
    let delete = one
        .client
        .delete_vpc_peering_connection()
        .vpc_peering_connection_id(&id);
    delete.send().await.unwrap();
    assert_eq!(crosses(), Seen::Silence, "no peering any more");
}

async fn an_elastic_ip_is_reached_from_another_region(world: World) {
    let (lab, one, other) = (&world.lab, &world.one, &world.other);
    lab.serve(&other.bastion, 80);
    for host in [&one.bastion, &one.db] {
        assert_eq!(lab.dial(host, &other.address, 80), Seen::Open);
        assert_eq!(lab.dial(host, &other.address, 8080), Seen::Silence);
    }
    assert_eq!(
        lab.dial(&one.stranger, &other.address, 80),
        Seen::Silence,
        "no public address"
    );
    assert_eq!(
        lab.dial(&one.bastion, &one.address, 80),
        Seen::Open,
        "its own address"
    );
    let url = format!("http://{}/", other.address);
    lab.must(&one.bastion, &["curl", "-sf", "-o", "/dev/null", &url]);
    let seen = poll(|| {
        let log = lab.must(
            &other.bastion,
            &["journalctl", "-q", "--no-pager", "-n", "50"],
        );
        log.contains(&format!("{} - -", one.address)).then_some(())
    });
    assert_eq!(seen, Some(()), "it comes from the Elastic IP of its caller");
}

async fn without_a_way_to_the_internet_there_is_no_registry(world: World) {
    let (lab, site) = (&world.lab, &world.one);
    let registry = format!("{BLOCK}.50");
    let image = format!("{registry}:5000/empty:1");
    let push = format!(
        "tar -c --files-from /dev/null | docker import - {image} && docker push -q {image} && docker rmi {image}"
    );
    let pushed = Command::new("sh").args(["-c", &push]).output().unwrap();
    assert!(
        pushed.status.success(),
        "{}",
        String::from_utf8_lossy(&pushed.stderr)
    );
    lab.must(&site.db, &["systemctl", "start", "docker"]);
    lab.must(&site.db, &["docker", "pull", "-q", &image]);
    lab.must(
        &site.db,
        &["docker", "pull", "-q", "registry.lab.internal:5000/empty:1"],
    );
    let route = site
        .client
        .delete_route()
        .route_table_id(&site.private_table);
    route
        .destination_cidr_block("0.0.0.0/0")
        .send()
        .await
        .unwrap();
    assert_eq!(lab.dial(&site.db, &registry, 5000), Seen::Silence);
    let route = site
        .client
        .create_route()
        .route_table_id(&site.private_table);
    let route = route
        .destination_cidr_block("0.0.0.0/0")
        .nat_gateway_id(&site.nat);
    route.send().await.unwrap();
    assert_eq!(lab.dial(&site.db, &registry, 5000), Seen::Open);
}

async fn a_released_address_is_gone(world: World) {
    let site = &world.other;
    let (allocation, address) = super::world::allocate(&site.client).await;
    let routed = || {
        let args = ["route", "show", "table", "local", &address];
        let output = Command::new("ip").args(args).output().unwrap();
        !output.stdout.is_empty()
    };
    assert!(routed());
    assert_eq!(dial(&address, 80), Seen::Silence, "nobody answers");
    site.client
        .release_address()
        .allocation_id(allocation)
        .send()
        .await
        .unwrap();
    assert!(!routed());
}

async fn a_changed_record_is_what_a_query_answers(world: World) {
    let config = aws_sdk_route53::Config::builder()
        .behavior_version(aws_sdk_route53::config::BehaviorVersion::latest())
        .endpoint_url(endpoint())
        .region(aws_sdk_route53::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_route53::config::Credentials::new(
            "lab", "lab", None, None, "test",
        ))
        .build();
    let client = aws_sdk_route53::Client::from_conf(config);
    let zone = client
        .create_hosted_zone()
        .name("votes.test")
        .caller_reference("1")
        .send();
    let zone = zone.await.unwrap().hosted_zone.unwrap().id;
    for value in [&world.one.address, &world.other.address] {
        let record = dns::ResourceRecord::builder()
            .value(value.as_str())
            .build()
            .unwrap();
        let set = dns::ResourceRecordSet::builder()
            .name("vote.votes.test")
            .r#type(dns::RrType::A)
            .ttl(5)
            .resource_records(record)
            .build()
            .unwrap();
        let change = dns::Change::builder().action(dns::ChangeAction::Upsert);
        let change = change.resource_record_set(set).build().unwrap();
        let batch = dns::ChangeBatch::builder().changes(change).build().unwrap();
        let call = client
            .change_resource_record_sets()
            .hosted_zone_id(&zone)
            .change_batch(batch);
        call.send().await.unwrap();
        assert_eq!(
            query("vote.votes.test").map(|ip| ip.to_string()).as_ref(),
            Some(value)
        );
        let inside = world
            .lab
            .must(&world.one.db, &["getent", "ahostsv4", "vote.votes.test"]);
        assert!(inside.starts_with(value.as_str()), "{inside}");
    }
}

/// Asks the lab's DNS server for the first address of a name.
fn query(name: &str) -> Option<std::net::Ipv4Addr> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send_to(&question, format!("{BLOCK}.53:53")).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).ok()?;
    // One answer of type A and nothing after it: the address is at the end.
    assert_eq!(answer[6..8], [0, 1], "one answer");
    assert_eq!(answer[8..12], [0; 4], "nothing but the answer");
    let address: [u8; 4] = answer[length - 4..length].try_into().unwrap();
    Some(address.into())
}

async fn a_stopped_instance_is_gone_and_comes_back_with_its_disk(world: World) {
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
        let deadline = Instant::now() + Duration::from_secs(60);
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

async fn a_forced_stop_is_a_power_cut(world: World) {
    let (lab, site) = (&world.lab, &world.other);
    for (force, trace) in [(false, 0), (true, 1)] {
        lab.must(&site.db, &["sh", "-c", TRACE]);
        let stop = site
            .client
            .stop_instances()
            .instance_ids(&site.db)
            .force(force);
        stop.send().await.unwrap();
        assert_eq!(lab.container(&site.db), "exited");
        site.client
            .start_instances()
            .instance_ids(&site.db)
            .send()
            .await
            .unwrap();
        let up = || (lab.exec(&site.db, &["systemctl", "is-active", "ssh"]).0 == 0).then_some(());
        assert_eq!(poll(up), Some(()));
        let seen = lab
            .exec(&site.db, &["test", "-e", "/root/stopped-in-order"])
            .0;
        assert_eq!(seen, trace, "forced: {force}");
    }
}

async fn a_machine_that_switches_itself_off_is_stopped(world: World) {
    let (lab, site) = (&world.lab, &world.other);
    let boot = || {
        lab.exec(&site.stranger, &["stat", "-c", "%y", "/run/systemd"])
            .1
    };
    let before = boot();
    lab.exec(&site.stranger, &["systemctl", "reboot"]);
    let again = poll(|| Some(boot()).filter(|now| !now.is_empty() && *now != before));
    assert!(again.is_some(), "a reboot inside comes back");
    assert_eq!(site.state(&site.stranger).await, "running");
    let up = || {
        (lab.exec(&site.stranger, &["systemctl", "is-active", "ssh"])
            .0
            == 0)
            .then_some(())
    };
    assert_eq!(poll(up), Some(()));
    lab.exec(&site.stranger, &["systemctl", "poweroff"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while site.state(&site.stranger).await != "stopped" {
        assert!(
            Instant::now() < deadline,
            "the API says what the machine did"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lab.container(&site.stranger), "exited");
}

async fn one_client_token_makes_one_instance(world: World) {
    let site = &world.one;
    let image = site.image().await;
    let call = |token: &str, count| {
        let call = site
            .client
            .run_instances()
            .image_id(&image)
            .client_token(token);
        call.min_count(1)
            .max_count(count)
            .subnet_id(&site.public_subnet)
            .send()
    };
    let ids = |answer: aws_sdk_ec2::operation::run_instances::RunInstancesOutput| {
        answer.instances.unwrap()[0].instance_id.clone().unwrap()
    };
    let (first, second) = futures::join!(call("token", 1), call("token", 1));
    let (first, second) = (ids(first.unwrap()), ids(second.unwrap()));
    assert_eq!(first, second);
    let error = call("token", 2).await.unwrap_err();
    assert_eq!(error.code(), Some("IdempotentParameterMismatch"));
    site.client
        .terminate_instances()
        .instance_ids(first)
        .send()
        .await
        .unwrap();
}

async fn a_terminated_instance_leaves_nothing(world: World) {
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
    let call = site
        .client
        .terminate_instances()
        .instance_ids(&site.stranger);
    call.send().await.unwrap();
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
}

async fn faults_strike_as_ordered_and_calls_are_counted(world: World) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let lab = |path: &str| format!("{}/_lab/{path}", endpoint());
    client.delete(lab("calls")).send().await.unwrap();
    let fault = serde_json::json!({"action": "DescribeVpcs", "code": "RequestLimitExceeded"});
    let armed = client
        .post(lab("faults"))
        .json(&fault)
        .send()
        .await
        .unwrap();
    assert!(armed.status().is_success());
    let error = world.one.client.describe_vpcs().send().await.unwrap_err();
    assert_eq!(error.code(), Some("RequestLimitExceeded"));
    world.one.client.describe_vpcs().send().await.unwrap();
    let calls: Vec<serde_json::Value> = client
        .get(lab("calls"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let statuses: Vec<u64> = calls
        .iter()
        .filter(|c| c["action"] == "DescribeVpcs" && c["region"] == "eu-west-1")
        .filter_map(|c| c["status"].as_u64())
        .collect();
    assert_eq!(statuses, [503, 200]);
}

async fn a_lab_whose_daemon_died_comes_back(world: World) {
    let pid = world.lab.pid("daemon");
    Command::new("kill").args(["-9", &pid]).status().unwrap();
    let gone = || (!std::path::Path::new("/proc").join(&pid).exists()).then_some(());
    assert_eq!(poll(gone), Some(()));
    world.lab.up();
    assert_ne!(world.lab.pid("daemon"), pid);
    assert_eq!(
        poll(|| (dial(&world.one.address, 22) == Seen::Open).then_some(())),
        Some(())
    );
    assert_eq!(
        world.lab.dial(&world.one.bastion, &world.one.db_ip, 22),
        Seen::Open
    );
    assert_eq!(dial(&world.one.address, 8080), Seen::Silence);
}
