//! What reaches what.

use std::process::{Command, Stdio};

use aws_sdk_ec2::error::ProvideErrorMetadata;

use crate::lab::{BLOCK, NAME, Seen, dial, poll};
use crate::world::{World, allocate, from_cidr, from_group};

pub async fn a_port_that_no_group_opens_is_closed(world: World) {
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

pub async fn ports_that_containers_inside_publish_are_filtered_too(world: World) {
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

pub async fn a_group_reference_admits_members_only(world: World) {
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

pub async fn a_group_reference_across_regions_is_refused(world: World) {
    let call = world
        .one
        .client
        .authorize_security_group_ingress()
        .group_id(&world.one.db_group);
    let rule = from_group(6379, &world.other.db_group);
    let error = call.ip_permissions(rule).send().await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidGroup.NotFound"));
}

pub async fn a_private_host_is_reached_through_the_bastion_only(world: World) {
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

pub async fn without_peering_or_a_route_nothing_crosses(world: World) {
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

pub async fn an_elastic_ip_is_reached_from_another_region(world: World) {
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

pub async fn without_a_way_to_the_internet_there_is_no_registry(world: World) {
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

pub async fn a_released_address_is_gone(world: World) {
    let site = &world.other;
    let (allocation, address) = allocate(&site.client).await;
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

pub async fn a_cut_region_is_silent_and_heals_by_itself(world: World) {
    let (lab, site) = (&world.lab, &world.one);
    let args = ["fault", "cut-region", site.region, "--for", "8s"];
    assert!(lab.command(&args).status.success());
    assert_eq!(dial(&site.address, 22), Seen::Silence);
    assert_eq!(
        dial(&world.other.address, 22),
        Seen::Open,
        "the other region goes on"
    );
    assert_eq!(
        lab.dial(&site.bastion, &site.db_ip, 22),
        Seen::Open,
        "inside all goes on"
    );
    assert_eq!(
        poll(|| (dial(&site.address, 22) == Seen::Open).then_some(())),
        Some(())
    );
}

pub async fn a_link_that_vanishes_is_made_anew(world: World) {
    let (lab, site) = (&world.lab, &world.one);
    let router = format!("hafail-lab-{NAME}.{}", site.vpc);
    let ip = |args: &[&str]| {
        let ip = Command::new("ip").args(["-n", &router]).args(args).output();
        ip.expect("`ip` is there")
    };
    let shown = ip(&["-brief", "link"]).stdout;
    let shown = String::from_utf8_lossy(&shown);
    let links = shown
        .lines()
        .filter_map(|line| line.split(['@', ' ']).next());
    let links: Vec<_> = links.filter(|link| *link != "lo").collect();
    assert!(
        links.contains(&"igw") && links.contains(&"own"),
        "{links:?}"
    );
    assert!(links.len() >= 5, "three instances: {links:?}");
    for link in links {
        assert!(ip(&["link", "del", link]).status.success(), "{link}");
        let there = || ip(&["link", "show", link]).status.success().then_some(());
        assert_eq!(poll(there), Some(()), "{link} is there again");
        lab.await_dial(&site.bastion, &site.db_ip, 22, Seen::Open);
        let open = || (dial(&site.address, 22) == Seen::Open).then_some(());
        assert_eq!(poll(open), Some(()), "{link}: reached from outside");
    }
}
