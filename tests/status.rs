//! The status page of fixed views, as people read it. The files in
//! `tests/snapshots` are the pages: read them when they change.

use std::{collections::BTreeMap, net::Ipv4Addr};

use hafail::{
    ids::{Epoch, HostName, Lsn, SiteName, Timeline},
    observation::{
        AddressRecord, DoorAnswer, Knowledge, Machine, MachineState, ProxyServer, ProxyStatus,
        QueueRole, QueueStatus, ServerAdmin, Snapshot, WriteAnswer,
    },
    order::{Downstream, GuardStatus, Postgres, PostgresState, Slot, WantedRole},
    status::{HostFacts, Look, Names, RunLine, Seen, Severity, View, document, findings, render},
    topology::{Role, Topology},
};

const PLAIN: Look = Look {
    width: None,
    colour: false,
};

fn topology() -> Topology {
    let text = include_str!("../topologies/two-regions.yaml");
    Topology::parse(text, "two-regions.yaml").unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

fn postgres(state: PostgresState) -> Postgres {
    Postgres {
        state,
        system_identifier: Some("7300000000000000001".into()),
        timeline: Some(Timeline(1)),
        written: None,
        received: None,
        replayed: None,
        shutdown_checkpoint: None,
        streaming_from: None,
        last_message_ms: None,
        standbys: BTreeMap::new(),
        slots: BTreeMap::new(),
        synchronous_standby_names: None,
        problem: None,
    }
}

fn guard(name: &str, wanted: WantedRole, postgres: Postgres) -> Knowledge<GuardStatus> {
    Knowledge::Known(GuardStatus {
        host: host(name),
        version: "0.1.0".into(),
        epoch: Epoch(3),
        run: None,
        lease: None,
        wanted,
        postgres,
    })
}

fn primary(name: &str, standby: &str) -> Knowledge<GuardStatus> {
    let row = Downstream {
        replied_at: None,
        state: "streaming".into(),
        sync_state: "sync".into(),
        address: "10.20.1.4".into(),
        sent: Some(Lsn(0x500_0148)),
        flushed: Some(Lsn(0x500_0148)),
        replayed: Some(Lsn(0x500_0148)),
    };
    let slot = Slot {
        active: true,
        restart: Some(Lsn(0x500_0148)),
    };
    guard(
        name,
        WantedRole::Primary,
        Postgres {
            written: Some(Lsn(0x500_0148)),
            standbys: [(standby.to_owned(), row)].into(),
            slots: [(standby.replace('-', "_"), slot)].into(),
            synchronous_standby_names: Some(format!("ANY 1 (\"{standby}\")")),
            ..postgres(PostgresState::Primary)
        },
    )
}

fn standby(name: &str, upstream: &str) -> Knowledge<GuardStatus> {
    let wanted = WantedRole::Standby {
        upstream: Some(host(upstream)),
    };
    guard(
        name,
        wanted,
        Postgres {
            received: Some(Lsn(0x500_0148)),
            replayed: Some(Lsn(0x500_0148)),
            streaming_from: Some(upstream.into()),
            last_message_ms: Some(85),
            ..postgres(PostgresState::Standby)
        },
    )
}

fn server(up: bool) -> ProxyServer {
    ProxyServer {
        admin: ServerAdmin::Ready,
        up,
        sessions: 2,
    }
}

fn balancer(active: &str) -> Knowledge<ProxyStatus> {
    let pair = |kind: &str, up: fn(bool) -> bool| -> BTreeMap<String, ProxyServer> {
        let names = ["site1", "site2"];
        names
            .into_iter()
            .map(|site| (format!("{site}-{kind}"), server(up(site == active))))
            .collect()
    };
    let service = |name: &str| -> BTreeMap<String, ProxyServer> {
        let apps = ["site1-app", "site2-app"];
        let names = apps
            .into_iter()
            .flat_map(|app| (0..3).map(move |replica| format!("{name}-{replica}@{app}")));
        names.map(|name| (name, server(true))).collect()
    };
    let backends = [
        ("pg_primary", pair("db", |active| active)),
        ("pg_replica", pair("db", |active| !active)),
        ("queue_active", pair("queue", |active| active)),
        ("svc_vote", service("vote")),
        ("svc_result", service("result")),
    ];
    Knowledge::Known(
        backends
            .map(|(name, servers)| (name.to_owned(), servers))
            .into(),
    )
}

fn queue(role: QueueRole, votes: u64) -> Knowledge<QueueStatus> {
    Knowledge::Known(QueueStatus {
        role,
        offset: 48_213,
        votes,
    })
}

fn door(service: &str, status: u16, milliseconds: u64) -> (String, Knowledge<DoorAnswer>) {
    let answer = DoorAnswer {
        status,
        milliseconds,
    };
    (service.to_owned(), Knowledge::Known(answer))
}

fn address(site: &str) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, if site == "site1" { 11 } else { 22 })
}

fn record(name: &str, ttl: u64, site: &str) -> AddressRecord {
    AddressRecord {
        name: name.into(),
        ttl,
        addresses: [address(site)].into(),
    }
}

/// Everything as it should be, `active` with the primary.
fn healthy(topology: &Topology, active: &str) -> View {
    let other = if active == "site1" { "site2" } else { "site1" };
    let name = |site: &str, kind: &str| format!("{site}-{kind}");
    let role = QueueRole::Replica {
        of: name(active, "queue"),
        linked: true,
    };
    let snapshot = Snapshot {
        store: Knowledge::Absent,
        taken: "2026-01-02T03:04:05Z".into(),
        guards: [
            (
                host(&name(active, "db")),
                primary(&name(active, "db"), &name(other, "db")),
            ),
            (
                host(&name(other, "db")),
                standby(&name(other, "db"), &name(active, "db")),
            ),
        ]
        .into(),
        machines: topology
            .hosts()
            .map(|host| (host.name.clone(), machine(MachineState::Running)))
            .collect(),
        proxies: topology
            .hosts_with(Role::Lb)
            .map(|host| (host.name.clone(), balancer(active)))
            .collect(),
        queues: [
            (
                host(&name(active, "queue")),
                queue(QueueRole::Master { replicas: 1 }, 3),
            ),
            (host(&name(other, "queue")), queue(role, 3)),
        ]
        .into(),
        records: BTreeMap::new(),
        writes: ["site1", "site2"]
            .map(|name| {
                let milliseconds = if name == active { 8 } else { 14 };
                (
                    site(name),
                    Knowledge::Known(WriteAnswer::Acknowledged { milliseconds }),
                )
            })
            .into(),
        doors: ["site1", "site2"]
            .map(|name| {
                (
                    site(name),
                    [door("vote", 200, 4), door("result", 200, 3)].into(),
                )
            })
            .into(),
    };
    let mut view = View {
        snapshot,
        hosts: topology
            .hosts()
            .map(|host| (host.name.clone(), facts(&host.name)))
            .collect(),
        addresses: [
            (host("site1-lb"), address("site1")),
            (host("site2-lb"), address("site2")),
        ]
        .into(),
        names: BTreeMap::new(),
        members: BTreeMap::new(),
        automatic: Knowledge::Absent,
        runs: Knowledge::Known(vec![RunLine {
            id: "20260102T020000-a1b2".into(),
            started: "2026-01-02T02:00:00Z".into(),
            what: "switchover to site1".into(),
            outcome: "succeeded in 0.4 s".into(),
            unfinished: false,
        }]),
    };
    for record in &topology.dns.as_ref().unwrap().records {
        let site = match &record.target {
            hafail::topology::RecordTarget::Active => active.to_owned(),
            hafail::topology::RecordTarget::Site(site) => site.to_string(),
        };
        answer(&mut view, &record.name, record.ttl.as_secs(), &site);
    }
    view
}

/// Zone, authoritative servers and resolver all answer that site.
fn answer(view: &mut View, name: &str, ttl: u64, site: &str) {
    let known = |ttl| Knowledge::Known(record(name, ttl, site));
    view.snapshot.records.insert(name.into(), known(ttl));
    let names = Names {
        authoritative: (1..=4)
            .map(|n| (format!("ns-{n}.example.net"), known(ttl)))
            .collect(),
        resolved: [("127.0.0.53:53".to_owned(), known(ttl / 2))].into(),
    };
    view.names.insert(name.into(), names);
}

fn facts(name: &HostName) -> Knowledge<HostFacts> {
    let mut containers = BTreeMap::new();
    if name.as_str().ends_with("-app") {
        for (service, count) in [("vote", 3), ("result", 3), ("worker", 1)] {
            for replica in 0..count {
                containers.insert(
                    format!("{service}-{replica}"),
                    "Up 2 hours (healthy)".into(),
                );
            }
        }
    }
    Knowledge::Known(HostFacts {
        answered_ms: 31,
        uptime_s: 7_300,
        disk_percent: 17,
        containers,
    })
}

fn ids(topology: &Topology, view: &View) -> Vec<(&'static str, Severity)> {
    let found = findings(topology, view);
    found
        .into_iter()
        .map(|finding| (finding.id, finding.severity))
        .collect()
}

fn page(topology: &Topology, view: &View, look: Look) -> String {
    let page = render(topology, view, &findings(topology, view), look);
    if let Some(width) = look.width {
        for line in page.lines() {
            assert!(
                line.chars().count() <= usize::from(width),
                "too long: {line}"
            );
        }
    }
    page
}

/// All of a site unreachable from where the operator sits.
fn machine(state: MachineState) -> Knowledge<Machine> {
    Knowledge::Known(Machine {
        state,
        deposed: None,
        impaired: false,
    })
}

fn darken(topology: &Topology, view: &mut View, name: &str, machines: MachineState) {
    let address = address(name);
    let why = format!("cannot connect to {name}-lb at {address}:22: no answer within 1s");
    fn lose<K: Ord, T>(known: &mut BTreeMap<K, Knowledge<T>>, key: &K, why: &str) {
        if let Some(known) = known.get_mut(key) {
            *known = Knowledge::Unknown {
                since: Some("2026-01-02T03:01:40Z".into()),
                why: why.into(),
            };
        }
    }
    for host in topology.sites[&site(name)].hosts.keys() {
        lose(&mut view.hosts, host, &why);
        lose(&mut view.snapshot.guards, host, &why);
        lose(&mut view.snapshot.proxies, host, &why);
        lose(&mut view.snapshot.queues, host, &why);
        view.snapshot
            .machines
            .insert(host.clone(), machine(machines));
    }
    lose(&mut view.snapshot.writes, &site(name), &why);
    let doors = view.snapshot.doors.get_mut(&site(name)).unwrap();
    for service in ["result", "vote"] {
        lose(doors, &service.to_owned(), &why);
    }
}

/// Changes what is known of a database.
fn database(view: &mut View, name: &str, change: impl FnOnce(&mut GuardStatus)) {
    match view.snapshot.guards.get_mut(&host(name)) {
        Some(Knowledge::Known(status)) => change(status),
        other => panic!("{name} is not known: {other:?}"),
    }
}

#[test]
fn healthy_page() {
    let topology = topology();
    let view = healthy(&topology, "site1");
    assert_eq!(ids(&topology, &view), [("healthy", Severity::Good)]);
    insta::assert_snapshot!(page(&topology, &view, PLAIN));
    let document = document(&topology, &view, &findings(&topology, &view));
    assert_eq!(document["healthy"], true);
    assert_eq!(document["active_site"], "site1");
    assert_eq!(document["active_region"], "eu-west-1");
    assert_eq!(document["primary"], "site1-db");
}

/// HAProxy finds the service well, and its users do not.
#[test]
fn a_front_door_that_is_shut() {
    let topology = topology();
    let mut view = healthy(&topology, "site1");
    let doors = view.snapshot.doors.get_mut(&site("site2")).unwrap();
    doors.extend([door("vote", 503, 2)]);
    let shut = [("front-door-shut", Severity::Critical)];
    assert_eq!(ids(&topology, &view), shut);
    let shown = page(&topology, &view, PLAIN);
    let line = "pages through the load balancers: site1 result 3 ms, vote 4 ms; \
                site2 result 3 ms, vote 503";
    assert!(shown.contains(line), "{shown}");
    let text = "critical: vote through the load balancer of site2 answers 503 [front-door-shut]";
    assert!(shown.contains(text), "{shown}");

    // Said once, where HAProxy has nothing up behind it.
    let Some(Knowledge::Known(balancer)) = view.snapshot.proxies.get_mut(&host("site2-lb")) else {
        panic!("it is known");
    };
    for server in balancer.get_mut("svc_vote").unwrap().values_mut() {
        server.up = false;
    }
    let down = [("service-down", Severity::Critical)];
    assert_eq!(ids(&topology, &view), down);
}

/// HAProxy is seen, and who asks as a browser gets no answer.
#[test]
fn a_front_door_that_is_not_seen() {
    let topology = topology();
    let mut view = healthy(&topology, "site1");
    let doors = view.snapshot.doors.get_mut(&site("site2")).unwrap();
    doors.insert("vote".into(), Knowledge::unknown("no answer within 1s"));
    let unseen = [("front-door-unseen", Severity::Unseen)];
    assert_eq!(ids(&topology, &view), unseen);
}

#[test]
fn healthy_page_after_a_switchover() {
    let topology = topology();
    let view = healthy(&topology, "site2");
    assert_eq!(ids(&topology, &view), [("healthy", Severity::Good)]);
}

#[test]
fn narrow_page() {
    let topology = topology();
    let view = healthy(&topology, "site1");
    for width in [80, 100, 132] {
        let look = Look {
            width: Some(width),
            colour: false,
        };
        page(&topology, &view, look);
    }
    insta::assert_snapshot!(page(
        &topology,
        &view,
        Look {
            width: Some(100),
            colour: false
        }
    ));
}

#[test]
fn region_dark_page() {
    let topology = topology();
    let mut view = healthy(&topology, "site1");
    darken(&topology, &mut view, "site1", MachineState::Running);
    // The other side: the primary is gone, nothing is up behind it.
    database(&mut view, "site2-db", |status| {
        status.postgres.streaming_from = None;
    });
    let Some(Knowledge::Known(balancer)) = view.snapshot.proxies.get_mut(&host("site2-lb")) else {
        panic!("it is known");
    };
    for backend in ["pg_primary", "queue_active"] {
        for server in balancer.get_mut(backend).unwrap().values_mut() {
            server.up = false;
        }
    }
    view.snapshot.writes.insert(
        site("site2"),
        Knowledge::Known(WriteAnswer::NotAcknowledged {
            why: "PostgreSQL through site2-lb did not answer within 3s".into(),
        }),
    );
    let found = findings(&topology, &view);
    assert_eq!(
        (found[0].id, found[0].severity),
        ("primary-isolated", Severity::Critical)
    );
    assert_eq!(
        found[0].next.as_deref(),
        Some("hafail failover --region us-east-1")
    );
    insta::assert_snapshot!(page(&topology, &view, PLAIN));

    // With the cloud's word the diagnosis is stronger, and the way the same.
    darken(&topology, &mut view, "site1", MachineState::Stopped);
    let found = findings(&topology, &view);
    assert_eq!(found[0].id, "site-dark");
    assert_eq!(
        found[0].next.as_deref(),
        Some("hafail failover --region us-east-1")
    );
}

#[test]
fn standby_region_dark_page() {
    let topology = topology();
    let mut view = healthy(&topology, "site2");
    darken(&topology, &mut view, "site1", MachineState::Stopped);
    database(&mut view, "site2-db", |status| {
        status.postgres.standbys.clear();
    });
    let found = ids(&topology, &view);
    assert!(
        found.contains(&("standby-lost", Severity::Degraded)),
        "{found:?}"
    );
    assert!(
        found.contains(&("site-dark", Severity::Degraded)),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .all(|(_, severity)| *severity != Severity::Critical),
        "{found:?}"
    );
    insta::assert_snapshot!(page(&topology, &view, PLAIN));
}

#[test]
fn lagging_page() {
    let topology = topology();
    let mut view = healthy(&topology, "site1");
    database(&mut view, "site1-db", |status| {
        status.postgres.written = Some(Lsn(0x1B00_0000));
        status
            .postgres
            .standbys
            .get_mut("site2-db")
            .unwrap()
            .sync_state = "async".into();
    });
    insta::assert_snapshot!(page(&topology, &view, PLAIN));
    assert_eq!(
        ids(&topology, &view),
        [("lag-over-budget", Severity::Degraded)]
    );

    database(&mut view, "site1-db", |status| {
        status.postgres.written = Some(Lsn(0x500_0200));
    });
    assert_eq!(
        ids(&topology, &view),
        [("standby-not-synchronous", Severity::Degraded)]
    );
}

#[test]
fn two_writers_page() {
    let topology = topology();
    let mut view = healthy(&topology, "site2");
    let Knowledge::Known(mut old) = primary("site1-db", "site2-db") else {
        panic!("it is known");
    };
    old.epoch = Epoch(2);
    old.postgres.standbys.clear();
    view.snapshot
        .guards
        .insert(host("site1-db"), Knowledge::Known(old));
    database(&mut view, "site2-db", |status| {
        status.postgres.timeline = Some(Timeline(2));
        status.postgres.standbys.clear();
    });
    let found = findings(&topology, &view);
    assert_eq!(found[0].id, "two-writers-suspected");
    assert!(
        found[0].next.as_ref().unwrap().contains("site1-db"),
        "the older one: {found:?}"
    );
    insta::assert_snapshot!(page(&topology, &view, PLAIN));
}

#[test]
fn partly_unknown_page() {
    let topology = topology();
    let mut view = healthy(&topology, "site1");
    let why = "site2-app did not answer within 1s (open a session)";
    view.hosts
        .insert(host("site2-app"), Knowledge::unknown(why));
    view.snapshot.proxies.insert(
        host("site2-lb"),
        Knowledge::unknown(
            "HAProxy on site2-lb cannot be reached: no such file /run/haproxy/admin.sock",
        ),
    );
    for state in view.snapshot.machines.values_mut() {
        *state = Knowledge::unknown("EC2 was denied: ec2:DescribeInstances is missing");
    }
    for (name, record) in &mut view.snapshot.records {
        *record = Knowledge::unknown(format!("Route 53 did not answer for {name} within 4s"));
    }
    let found = ids(&topology, &view);
    assert!(
        found
            .iter()
            .all(|(_, severity)| *severity == Severity::Unseen),
        "{found:?}"
    );
    insta::assert_snapshot!(page(&topology, &view, PLAIN));
}

#[test]
fn nothing_deployed_page() {
    let topology = topology();
    let mut view = healthy(&topology, "site1");
    for facts in view.hosts.values_mut() {
        *facts = Knowledge::Absent;
    }
    let found = findings(&topology, &view);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].id, found[0].next.as_deref()),
        ("not-deployed", Some("hafail deploy"))
    );
}

#[test]
fn each_fault_has_its_finding() {
    let topology = topology();
    type Break = fn(&mut View);
    let table: [(&str, Severity, Break); 11] = [
        ("primary-postgres-dead", Severity::Critical, |view| {
            database(view, "site1-db", |status| {
                status.postgres.state = PostgresState::Stopped
            });
        }),
        ("standby-down", Severity::Degraded, |view| {
            database(view, "site2-db", |status| {
                status.postgres.state = PostgresState::Stopped
            });
        }),
        ("wrong-timeline", Severity::Degraded, |view| {
            database(view, "site2-db", |status| {
                status.postgres.timeline = Some(Timeline(7))
            });
        }),
        ("standby-not-streaming", Severity::Degraded, |view| {
            database(view, "site2-db", |status| {
                status.postgres.streaming_from = None
            });
        }),
        ("queue-role", Severity::Degraded, |view| {
            let master = queue(QueueRole::Master { replicas: 0 }, 0);
            view.snapshot.queues.insert(host("site2-queue"), master);
        }),
        ("balancer-elsewhere", Severity::Critical, |view| {
            view.snapshot
                .proxies
                .insert(host("site1-lb"), balancer("site2"));
        }),
        ("dns-elsewhere", Severity::Degraded, |view| {
            answer(view, "vote.example.org", 5, "site2");
        }),
        ("record-missing", Severity::Critical, |view| {
            view.snapshot
                .records
                .insert("vote.example.org".into(), Knowledge::Absent);
        }),
        ("machine-down", Severity::Degraded, |view| {
            let stopped = machine(MachineState::Stopped);
            view.snapshot.machines.insert(host("site2-app"), stopped);
        }),
        ("container-ill", Severity::Degraded, |view| {
            let Some(Knowledge::Known(facts)) = view.hosts.get_mut(&host("site2-app")) else {
                panic!("it is known");
            };
            facts
                .containers
                .insert("worker-0".into(), "Restarting (1) 2 seconds ago".into());
        }),
        ("run-unfinished", Severity::Critical, |view| {
            view.runs = Knowledge::Known(vec![RunLine {
                id: "r1".into(),
                started: "2026-01-02T03:00:00Z".into(),
                what: "failover to site2".into(),
                outcome: "stuck".into(),
                unfinished: true,
            }]);
        }),
    ];
    for (id, severity, break_it) in table {
        let mut view = healthy(&topology, "site1");
        break_it(&mut view);
        let found = ids(&topology, &view);
        assert!(found.contains(&(id, severity)), "{id}: {found:?}");
        assert_eq!(found[0].1, severity, "{id}: the gravest first: {found:?}");
    }
}

#[test]
fn unknown_says_since_when() {
    let topology = topology();
    let mut seen = Seen::default();
    let mut first = healthy(&topology, "site1");
    seen.exchange(&mut first);
    let mut second = healthy(&topology, "site1");
    second.snapshot.taken = "2026-01-02T03:09:00Z".into();
    second
        .hosts
        .insert(host("site2-app"), Knowledge::unknown("no answer"));
    seen.exchange(&mut second);
    let since = Knowledge::Unknown {
        since: Some("2026-01-02T03:04:05Z".into()),
        why: "no answer".into(),
    };
    assert_eq!(second.hosts[&host("site2-app")], since);
}

#[test]
fn a_store_says_which_members_are_away() {
    use hafail::ports::quorum::MemberHealth;
    let topology = topology();
    let mut view = healthy(&topology, "site1");
    let away = || MemberHealth::Unknown {
        why: "no answer within 4s".into(),
    };
    let with = |view: &mut View, states: [MemberHealth; 3]| {
        let names = ["site1-lb", "site2-lb", "witness"].map(str::to_owned);
        view.members = names.into_iter().zip(states).collect();
    };
    let (leader, follower) = (MemberHealth::Leader, MemberHealth::Follower);
    with(
        &mut view,
        [leader.clone(), follower.clone(), follower.clone()],
    );
    assert_eq!(ids(&topology, &view), [("healthy", Severity::Good)]);
    with(&mut view, [leader, follower, away()]);
    assert_eq!(
        ids(&topology, &view),
        [("store-degraded", Severity::Degraded)]
    );
    assert!(page(&topology, &view, PLAIN).contains("witness   unknown"));
    with(&mut view, [MemberHealth::Leaderless, away(), away()]);
    assert_eq!(ids(&topology, &view), [("store-lost", Severity::Degraded)]);
    with(&mut view, [away(), away(), away()]);
    assert_eq!(ids(&topology, &view), [("store-unseen", Severity::Unseen)]);
}

mod coordination {
    use hafail::{
        coordination::{Cooldown, Decision, Leader, Pause, Primary, Said, SyncSet, Taken},
        decide::{Act, Reaction, Reason, Refusal},
        order::LeaseStatus,
        ports::{
            quorum::MemberHealth,
            store::{Holder, RunId},
        },
        status::Automatic,
    };

    use super::*;

    fn topology() -> Topology {
        let text = include_str!("../topologies/automatic.yaml");
        Topology::parse(text, "automatic.yaml").unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn decision(reaction: Reaction) -> Option<Decision> {
        Some(Decision {
            at: "2026-01-02T03:00:00Z".into(),
            by: host("site1-lb"),
            findings: Vec::new(),
            reaction,
        })
    }

    fn refusal() -> Refusal {
        Refusal {
            reason: Reason::StandbyUnknown,
            message: "nothing is seen of site2-db".into(),
            evidence: Vec::new(),
            next: vec!["hafail logs site2-db".into()],
        }
    }

    /// All is well, and three watchers speak.
    fn automatic() -> Automatic {
        let said = Said {
            guards: BTreeMap::new(),
            balancers: BTreeMap::new(),
            queues: BTreeMap::new(),
            writes: BTreeMap::new(),
            doors: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        let (db, epoch) = (host("site1-db"), Epoch(3));
        Automatic {
            primary: Some(Primary {
                host: db.clone(),
                epoch,
                timeline: None,
                lsn: None,
            }),
            last: Some(Taken {
                epoch,
                host: db.clone(),
            }),
            sync: Some(SyncSet {
                primary: db,
                members: [host("site2-db")].into(),
                epoch,
            }),
            leader: Some(Leader {
                host: host("site1-lb"),
                since: "2026-01-01T00:00:00Z".into(),
            }),
            watchers: ["site1-lb", "site2-lb", "witness"]
                .map(|name| (host(name), said.clone()))
                .into(),
            decision: decision(Reaction::Rest),
            ..Automatic::default()
        }
    }

    fn view(topology: &Topology, change: impl FnOnce(&mut Automatic)) -> View {
        let mut view = healthy(topology, "site1");
        lease(&mut view, false);
        let mut automatic = automatic();
        change(&mut automatic);
        view.automatic = Knowledge::Known(automatic);
        view
    }

    fn lease(view: &mut View, by_promises: bool) {
        database(view, "site1-db", |status| {
            status.lease = Some(LeaseStatus {
                epoch: Epoch(3),
                left_ms: 2412,
                by_promises,
                members: [host("site2-db")].into(),
            });
        });
    }

    /// The finding of that id, which must be there.
    #[track_caller]
    fn finding(topology: &Topology, view: &View, id: &str) -> (Severity, Option<String>) {
        let found = findings(topology, view);
        let one = found.iter().find(|finding| finding.id == id);
        let one = one.unwrap_or_else(|| panic!("no {id}: {found:?}"));
        (one.severity, one.next.clone())
    }

    #[test]
    fn automatic_page() {
        let topology = topology();
        let mut all_well = view(&topology, |_| {});
        assert_eq!(ids(&topology, &all_well), [("healthy", Severity::Good)]);
        if let Knowledge::Known(known) = &mut all_well.automatic {
            known.watchers.remove(&host("witness"));
            known.pause = Some(Pause {
                why: "new disks".into(),
                by: "ann@desk".into(),
                until: "2026-01-02T04:00:00Z".into(),
            });
            known.lock = Some(Holder {
                what: "deploy".into(),
                run: RunId("deploy".into()),
                operator: "ann".into(),
                machine: "desk".into(),
                process: 7,
                since: "2026-01-02T03:03:00Z".into(),
            });
            known.decision = decision(Reaction::Blocked(refusal()));
        }
        insta::assert_snapshot!(page(&topology, &all_well, PLAIN));
        let document = document(&topology, &all_well, &[]);
        let seen = &document["seen"]["automatic"]["known"];
        assert_eq!(seen["primary"]["host"], "site1-db");
        assert_eq!(seen["lock"]["what"], "deploy");
    }

    #[test]
    fn each_obstacle_has_its_finding_and_its_command() {
        let topology = topology();
        let act = || Act::Resume(RunId("r1".into()));
        type Break = fn(&mut Automatic);
        let table: [(&str, Severity, &str, Break); 6] = [
            ("no-lease", Severity::Critical, "hafail why", |it| {
                it.primary = None
            }),
            ("no-watcher-leads", Severity::Degraded, "hafail why", |it| {
                it.leader = None
            }),
            (
                "watcher-silent",
                Severity::Degraded,
                "hafail logs site2-lb",
                |it| {
                    it.watchers.remove(&host("site2-lb"));
                },
            ),
            (
                "blocked",
                Severity::Critical,
                "hafail logs site2-db",
                |it| it.decision = decision(Reaction::Blocked(refusal())),
            ),
            ("cooldown", Severity::Degraded, "hafail acknowledge", |it| {
                it.cooldown = Some(Cooldown {
                    run: "r0".into(),
                    since: "2026-01-02T03:00:00Z".into(),
                });
            }),
            ("store-strange", Severity::Degraded, "hafail deploy", |it| {
                it.strange = vec!["live/sync".into()]
            }),
        ];
        for (id, severity, next, break_it) in table {
            let view = view(&topology, break_it);
            let found = finding(&topology, &view, id);
            assert_eq!(found, (severity, Some(next.to_owned())), "{id}");
        }
        let withheld = |change: fn(&mut Automatic)| {
            let view = view(&topology, |it| {
                let why = "for a reason".into();
                it.decision = decision(Reaction::Withheld { act: act(), why });
                change(it);
            });
            finding(&topology, &view, "withheld").1.unwrap()
        };
        assert_eq!(withheld(|_| {}), "hafail why");
        let paused = withheld(|it| {
            it.pause = Some(Pause {
                why: "w".into(),
                by: "b".into(),
                until: "u".into(),
            });
        });
        assert_eq!(paused, "hafail pause --end");
    }

    #[test]
    fn a_primary_by_promises_is_not_without_the_right() {
        let topology = topology();
        let mut view = view(&topology, |it| it.primary = None);
        lease(&mut view, true);
        let found = ids(&topology, &view);
        assert_eq!(found, [("by-promises", Severity::Degraded)]);
        assert!(page(&topology, &view, PLAIN).contains("site1-db, 2412 ms left by promises"));
    }

    #[test]
    fn a_store_that_is_not_seen_says_nothing_of_its_keys() {
        let topology = topology();
        let mut view = view(&topology, |_| {});
        view.automatic = Knowledge::unknown("no answer");
        let unseen = ("coordination-unseen", Severity::Unseen);
        assert_eq!(ids(&topology, &view), [unseen]);
        let why = "no answer".to_owned();
        let away = MemberHealth::Unknown { why };
        view.members = [("witness".to_owned(), away)].into();
        assert_eq!(ids(&topology, &view), [("store-unseen", Severity::Unseen)]);
    }

    #[test]
    fn a_run_that_somebody_works_on_needs_no_resume() {
        let topology = topology();
        let mut view = view(&topology, |it| {
            it.lock = Some(Holder {
                what: "failover".into(),
                run: RunId("r1".into()),
                operator: "hafail watch".into(),
                machine: "witness".into(),
                process: 1,
                since: String::new(),
            });
        });
        view.runs = Knowledge::Known(vec![RunLine {
            id: "r1".into(),
            started: "2026-01-02T03:00:00Z".into(),
            what: "failover to site2".into(),
            outcome: "not finished".into(),
            unfinished: true,
        }]);
        let under_way = ("run-under-way", Severity::Degraded);
        assert_eq!(ids(&topology, &view), [under_way]);
    }
}
