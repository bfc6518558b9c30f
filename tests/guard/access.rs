//! Who may order what.

use std::time::Duration;

use hafail::{
    adapters::secrets::Vault,
    order::{Order, OrderAnswer, OrderRequest},
};

use crate::{
    harness::{PROMOTE, client, with_hosts},
    pki::{Authority, Identity},
};

#[test]
fn no_stale_actor() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        let new = hosts.next_epoch();
        hosts.done(1, Order::Checkpoint).await;
        assert_eq!(hosts.status(1).await.epoch.0, new);
        for order in [PROMOTE, Order::Demote { deadline_ms: 1000 }] {
            match hosts.order_at(1, new - 1, order).await {
                OrderAnswer::Refused { id, why } => {
                    assert_eq!(id, "stale-epoch");
                    assert!(why.contains(&new.to_string()), "{why}");
                }
                other => panic!("{other:?}"),
            }
        }
        // Also by a guard that was restarted since.
        hosts.nodes[1].kill_guard();
        hosts.nodes[1].start_guard(&[]).await;
        let answer = hosts.order_at(1, new - 1, PROMOTE).await;
        assert!(matches!(answer, OrderAnswer::Refused { id, .. } if id == "stale-epoch"));
        hosts
    });
}

#[test]
fn only_operators_and_peers_of_this_deployment_may_order() {
    with_hosts(2, async |mut hosts| {
        hosts.nodes[0].start_guard(&[]).await;
        let node = &hosts.nodes[0];
        let request = OrderRequest {
            run: "test".to_owned(),
            epoch: hafail::ids::Epoch(1),
            order: Order::Initialise,
        };
        let limit = Duration::from_secs(10);
        let ours = &hosts.authority;
        let theirs = Authority::new("other");
        let strangers = [
            client(&ours.certificate, &theirs.issue(&["operator"])),
            client(&ours.certificate, &ours.issue(&["site1-app"])),
            // The guard must prove itself, too.
            client(&theirs.certificate, &ours.issue(&["operator"])),
        ];
        for stranger in strangers {
            let stream = node.dial().await.unwrap();
            let answer = stranger.order(stream, &node.name, &request, limit).await;
            assert!(answer.is_err(), "{answer:?}");
            let stream = node.dial().await.unwrap();
            assert!(stranger.status(stream, &node.name, limit).await.is_err());
        }
        assert!(node.data_dirs().is_empty());
        let peer = client(&ours.certificate, &ours.issue(&["db2"]));
        let stream = node.dial().await.unwrap();
        assert!(peer.status(stream, &node.name, limit).await.is_ok());
        // A guard is not taken for another.
        let stream = node.dial().await.unwrap();
        let other = "db2".parse().unwrap();
        assert!(hosts.operator.status(stream, &other, limit).await.is_err());
        hosts
    });
}

#[test]
fn a_connection_serves_many_questions() {
    with_hosts(1, async |mut hosts| {
        hosts.nodes[0].start_guard(&[]).await;
        let node = &hosts.nodes[0];
        let limit = Duration::from_secs(10);
        let stream = node.dial().await.unwrap();
        let connection = hosts.operator.connect(stream, &node.name, limit).await;
        let mut connection = connection.unwrap();
        for _ in 0..20 {
            connection.status(limit).await.unwrap();
        }
        assert!(!connection.is_closed());
        hosts
    });
}

#[test]
fn roles_and_rules_are_as_narrow_as_needed() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        let roles = "SELECT string_agg(rolname || ' ' || rolsuper || ' ' || rolreplication, ',' \
             ORDER BY rolname) FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'";
        assert_eq!(
            hosts.text(0, roles).await,
            "postgres true false,replicator false true,rewinder false false,vote false false"
                .replace("postgres true false", "postgres true true")
        );
        let plain = "SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL \
             AND rolpassword NOT LIKE 'SCRAM-SHA-256$%'";
        assert_eq!(hosts.text(0, plain).await, "0");
        let rules = "SELECT count(*) FROM pg_hba_file_rules WHERE type = 'host' \
             OR auth_method NOT IN ('scram-sha-256', 'peer') OR error IS NOT NULL";
        assert_eq!(hosts.text(0, rules).await, "0");
        hosts
    });
}

#[test]
fn secrets_are_in_no_log() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        for node in &hosts.nodes {
            let mut texts = vec![node.log()];
            for file in std::fs::read_dir(node.directory.join("state/log")).unwrap() {
                texts.push(std::fs::read_to_string(file.unwrap().path()).unwrap());
            }
            texts.push(std::fs::read_to_string(node.data_dirs()[0].join("hafail.conf")).unwrap());
            for text in texts {
                assert!(!text.contains("secret-of-"), "{text}");
            }
        }
        hosts
    });
}

#[test]
fn root_of_the_host_orders_by_the_socket_file() {
    with_hosts(2, async |mut hosts| {
        for node in &mut hosts.nodes {
            node.start_guard(&[]).await;
        }
        let order = |n: usize, words: &[&str]| run(&hosts, n, "order", words);
        assert_eq!(run(&hosts, 0, "data-directory", &[]).0, Some(1));
        assert_eq!(order(0, &["initialise"]).0, Some(0));
        let directory = hosts.nodes[0].data_dirs()[0].display().to_string();
        assert_eq!(
            run(&hosts, 0, "data-directory", &[]).1,
            format!("{directory}\n")
        );
        assert_eq!(
            order(0, &["initialise"]).1,
            "ok: is the primary of its cluster\n"
        );
        assert_eq!(order(1, &["clone", "db1"]).0, Some(0));
        let (code, text) = order(0, &["synchronous", "db2"]);
        assert_eq!(code, Some(0), "{text}");
        let (code, text) = order(1, &["synchronous", "db1"]);
        assert_eq!(code, Some(4), "{text}");
        assert!(text.contains("not-primary"), "{text}");
        assert_eq!(
            hosts.status(1).await.postgres.streaming_from.as_deref(),
            Some("localhost")
        );

        use std::os::unix::fs::PermissionsExt;
        let state = hosts.nodes[0].directory.join("state");
        let mode = std::fs::metadata(&state).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "only the guard's user gets to the socket");
        hosts
    });
}

#[test]
fn the_certificates_of_the_vault_are_accepted() {
    with_hosts(1, async |mut hosts| {
        let home = tempfile::tempdir().unwrap();
        let text = include_str!("../../topologies/two-regions.yaml");
        let topology = hafail::topology::Topology::parse(text, "two-regions.yaml");
        let vault = Vault::open(home.path(), &topology.unwrap()).unwrap();
        let server = vault.certificate("db1", &[], &[]).unwrap();
        hosts.authority.certificate.clone_from(&server.ca_pem);
        let identity = Identity {
            certificate: server.cert_pem,
            key: server.key_pem,
        };
        hosts.nodes[0].write_files(&hosts, &identity);
        hosts.nodes[0].start_guard(&[]).await;
        let operator = vault.operator_certificate().unwrap();
        let identity = Identity {
            certificate: operator.cert_pem,
            key: operator.key_pem,
        };
        hosts.operator = client(&operator.ca_pem, &identity);
        hosts.done(0, Order::Initialise).await;
        assert_eq!(hosts.text(0, "SELECT 1").await, "1");
        // A host's certificate proves a host, not somebody who may order.
        let other = vault.certificate("db2", &[], &[]).unwrap();
        let identity = Identity {
            certificate: other.cert_pem,
            key: other.key_pem,
        };
        let stranger = client(&other.ca_pem, &identity);
        let node = &hosts.nodes[0];
        let stream = node.dial().await.unwrap();
        let answer = stranger
            .status(stream, &node.name, Duration::from_secs(10))
            .await;
        assert!(answer.is_err(), "{answer:?}");
        hosts
    });
}

/// Runs `hafail guard ACTION` as root of a host does.
fn run(
    hosts: &crate::harness::Hosts,
    n: usize,
    action: &str,
    words: &[&str],
) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hafail"));
    command.args(["guard", action, "--config"]);
    command
        .arg(hosts.nodes[n].directory.join("guard.json"))
        .args(words);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}
