//! Containers on a host with Docker.

use hafail::{
    configure::{Options, Secrets},
    ids::HostName,
};

use super::bench::{Bench, With};

fn app(bench: &Bench<'_>) -> HostName {
    let names = bench.names();
    let host = names.iter().find(|name| name.as_str().ends_with("-app"));
    host.expect("an app host").clone()
}

fn with(host: &HostName, color: &str, health: &str) -> With {
    let mut secrets = Secrets::default();
    secrets.values.insert(
        "queue_password".to_owned(),
        "the queue's word".to_owned().into(),
    );
    With {
        options: Options {
            hosts: vec![host.clone()],
            ..Options::default()
        },
        secrets,
        vars: [
            ("color".to_owned(), color.into()),
            ("health".to_owned(), health.into()),
        ]
        .into(),
        ..With::default()
    }
}

/// A shell and what it needs, as an image.
const IMAGE: &str = "cd / && tar -hc bin/sh bin/sleep bin/true bin/false lib64/ld-linux-x86-64.so.2 lib/x86_64-linux-gnu/libc.so.6 \
                     | docker import - hafail-test:1 > /dev/null";

const PLAY: &str = r#"
- name: containers
  hosts: all
  steps:
  - name: "{{ name }}"
    for_each: "['hafail-test-1', 'hafail-test-2']"
    as: name
    container:
      name: "{{ name }}"
      image: hafail-test:1
      command: [/bin/sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
      env: { COLOR: "{{ vars.color }}", WORD: "{{ secrets.queue_password }}" }
      pull: never
      health: { command: "{{ vars.health }}", interval: 500ms, retries: 1 }
      ready_within: 20s
  - name: no others
    containers_absent: { names: ["hafail-test-*"], except: [hafail-test-1, hafail-test-2] }
"#;

pub async fn a_container_is_made_anew_only_when_it_changed(bench: &Bench<'_>) {
    let host = app(bench);
    let start = "- name: docker\n  hosts: all\n  steps:\n  - name: packages\n    packages: [docker.io]\n  - name: docker\n    service: { name: docker, state: started }\n";
    bench.run(start, &with(&host, "", "")).await.succeeded();
    bench.on(&host, IMAGE).await;
    bench
        .on(
            &host,
            "docker run -d --name hafail-test-3 hafail-test:1 /bin/sh -c \"trap 'exit 0' TERM; while :; do sleep 0.1; done\"",
        )
        .await;

    let first = bench.run(PLAY, &with(&host, "red", "/bin/true")).await;
    first.succeeded();
    assert_eq!(
        first.changed_on(&host),
        ["hafail-test-1", "hafail-test-2", "no others"]
    );
    let ids = "docker ps --no-trunc --format '{{.Names}} {{.ID}}' | grep hafail-test | sort";
    let made = bench.on(&host, ids).await;
    assert_eq!(made.lines().count(), 2, "{made}");
    let environment = "docker inspect -f '{{.Config.Env}} {{.HostConfig.RestartPolicy.Name}}' hafail-test-1; ls -A /run/hafail.env.* 2> /dev/null | wc -l";
    let said = bench.on(&host, environment).await;
    assert!(
        said.contains("COLOR=red")
            && said.contains("WORD=the queue's word")
            && said.ends_with("always\n0"),
        "{said}"
    );

    let second = bench.run(PLAY, &with(&host, "red", "/bin/true")).await;
    assert_eq!(second.counts(), [3, 0, 0, 0], "{}", second.everything());
    assert_eq!(bench.on(&host, ids).await, made);

    let third = bench.run(PLAY, &with(&host, "blue", "/bin/true")).await;
    third.succeeded();
    assert_eq!(third.changed_on(&host), ["hafail-test-1", "hafail-test-2"]);
    let blue = bench.on(&host, ids).await;
    assert_ne!(blue, made);

    // A version that never gets healthy gives way to the one before.
    let broken = bench
        .run(
            &PLAY.replace("20s", "3s"),
            &with(&host, "green", "/bin/false"),
        )
        .await;
    let failure = &broken.report.failed[0];
    assert!(
        failure.why.contains("unhealthy") && failure.why.contains("previous container runs again"),
        "{}",
        failure.why
    );
    assert!(!broken.everything().contains("the queue's word"));
    assert_eq!(bench.on(&host, ids).await, blue);

    bench.on(&host, "docker stop -t 0 hafail-test-2").await;
    let stopped = bench.run(PLAY, &with(&host, "blue", "/bin/true")).await;
    assert_eq!(stopped.changed_on(&host), ["hafail-test-2"]);
    assert_eq!(bench.on(&host, ids).await, blue);
    bench
        .on(
            &host,
            "docker rm -f hafail-test-1 hafail-test-2; docker rmi hafail-test:1",
        )
        .await;
}
