use std::{collections::BTreeMap, process::Command, sync::Arc};

use hafail::{
    adapters::front_doors::{Door, SiteDoors, doors},
    ids::SiteName,
    ports::{PortError, front_doors::FrontDoors},
    topology::Topology,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    local::{Loopback, Program, host, listens},
    port::free_port,
};

/// Answers 200 to who asks for the page of that path under the name, else 404.
async fn service(path: &'static str, name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let asked = head.starts_with(&format!("get {path} "))
                    && head.contains(&format!("\r\nhost: {name}\r\n"));
                let status = if asked { "200 OK" } else { "404 Not Found" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    port
}

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

#[tokio::test]
async fn services_are_asked_as_browsers_do() {
    let (vote, result, silent) = (free_port(), free_port(), free_port());
    let up = service("/readyz", "vote.example.org").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("haproxy.cfg");
    let config = format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 10s\n  timeout server 10s\n\
         listen vote\n  bind 127.0.0.1:{vote}\n  server one 127.0.0.1:{up}\n\
         listen result\n  bind 127.0.0.1:{result}\n  server none 127.0.0.1:{silent} disabled\n"
    );
    std::fs::write(&file, config).unwrap();
    let _balancer = Program::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file));
    listens(vote).await;

    let door = |port| Door {
        port,
        path: "/readyz".into(),
        authority: "vote.example.org".into(),
    };
    let services = [("vote", vote), ("result", result), ("gone", silent)];
    let doors = SiteDoors::new(
        Arc::new(Loopback::default()),
        BTreeMap::from([(site("site1"), vec![host("site1-lb")])]),
        services
            .map(|(name, port)| (name.to_owned(), door(port)))
            .into(),
    );
    let site1 = site("site1");
    let status = async |name: &str| doors.ask(&site1, name).await.map(|answer| answer.status);
    assert_eq!(status("vote").await, Ok(200));
    // Nothing is up behind it: that is an answer.
    assert_eq!(status("result").await, Ok(503));
    let gone = status("gone").await.unwrap_err();
    assert!(matches!(gone, PortError::Unreachable { .. }), "{gone}");
    for (site, service) in [("site1", "worker"), ("site2", "vote")] {
        let error = doors.ask(&self::site(site), service).await.unwrap_err();
        assert!(matches!(error, PortError::Absent { .. }), "{error}");
    }
}

#[test]
fn what_is_served_is_asked_under_the_name_that_follows_the_active_site() {
    let text = include_str!("../../topologies/two-regions.yaml");
    let topology = Topology::parse(text, "two-regions.yaml").unwrap();
    let doors = doors(&topology);
    let names: Vec<_> = doors.keys().collect();
    assert_eq!(names, ["result", "vote"], "the worker is not served");
    assert_eq!(doors["vote"].path, "/readyz");
    let records = &topology.dns.as_ref().unwrap().records;
    let authority = &doors["vote"].authority;
    assert!(records.iter().any(|record| record.name == *authority));
}
