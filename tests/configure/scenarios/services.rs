//! Units, waiting, statements: what hosts of the product have.

use hafail::configure::{Options, Secrets};

use super::bench::{Bench, With};

fn only(bench: &Bench<'_>) -> (hafail::ids::HostName, With) {
    let names = bench.names();
    let host = names.iter().find(|name| name.as_str().ends_with("-db"));
    let host = host.expect("a database host").clone();
    let mut secrets = Secrets::default();
    for name in ["database_user", "queue_password"] {
        let value = format!("it's the {name} of the test");
        secrets.values.insert(name.to_owned(), value.into());
    }
    let with = With {
        options: Options {
            hosts: vec![host.clone()],
            ..Options::default()
        },
        secrets,
        ..With::default()
    };
    (host, with)
}

const WAITS: &str = r#"
- name: waits
  hosts: all
  steps:
  - name: packages
    packages: [redis-server, python3, curl]
  - name: redis configuration
    file:
      dest: /var/tmp/hafail-test/redis.conf
      content: |
        port 6399
        requirepass {{ secrets.queue_password | json }}
      mode: 0600
  - name: redis
    run: { script: "systemd-run --collect --unit hafail-test-redis bash -c 'sleep 1; exec redis-server /var/tmp/hafail-test/redis.conf'", unless: systemctl is-active -q hafail-test-redis }
  - name: page
    run: { script: "systemd-run --collect --unit hafail-test-page bash -c 'cd /var/tmp/hafail-test && echo hello > index.html && sleep 1 && exec python3 -m http.server 8099'", unless: systemctl is-active -q hafail-test-page }
  - name: redis answers
    wait: { redis: { host: localhost, port: "6399", password: "{{ secrets.queue_password }}" }, within: 10s }
  - name: redis is a master
    wait: { redis: { host: localhost, port: "6399", password: "{{ secrets.queue_password }}", command: INFO replication, answer: "role:master" }, within: 10s }
  - name: page answers
    wait: { http: { url: "http://localhost:8099/", body: hello }, within: 10s }
"#;

pub async fn waits_for_http_and_redis(bench: &Bench<'_>) {
    let (host, with) = only(bench);
    let first = bench.run(WAITS, &with).await;
    let second = bench.run(WAITS, &with).await;
    let wrong = "- name: p\n  hosts: all\n  steps:\n  - name: wrong password\n    wait: { redis: { host: localhost, port: \"6399\", password: \"{{ secrets.database_user }}\" }, within: 1s, remedy: mend it }\n";
    let wrong = bench.run(wrong, &with).await;
    bench
        .on(&host, "systemctl stop hafail-test-redis hafail-test-page")
        .await;
    first.succeeded();
    assert_eq!(
        first.changed_on(&host),
        ["redis configuration", "redis", "page"]
    );
    assert_eq!(second.counts(), [7, 0, 0, 0], "{}", second.everything());
    let failure = &wrong.report.failed[0];
    assert!(failure.why.contains("WRONGPASS"), "{}", failure.why);
    assert_eq!(failure.remedy, "mend it");
}

const STATEMENTS: &str = r#"
- name: statements
  hosts: all
  steps:
  - name: packages
    packages: [postgresql-15]
  - name: cluster
    run: { script: "pg_createcluster 15 hafailtest --port 5499 --start", unless: pg_lsclusters | grep -q hafailtest }
  - name: database answers
    wait: { sql: { query: SELECT 1, port: "5499" }, within: 20s }
  - name: role
    sql:
      statement: CREATE ROLE voter LOGIN PASSWORD {{ secrets.database_user | sql }}
      unless: SELECT 1 FROM pg_roles WHERE rolname = 'voter'
      port: "5499"
  - name: role logs in
    wait: { sql: { query: SELECT current_user, host: 127.0.0.1, port: "5499", user: voter, password: "{{ secrets.database_user }}", database: postgres }, within: 5s }
"#;

pub async fn statements_run_once(bench: &Bench<'_>) {
    let (host, with) = only(bench);
    let first = bench.run(STATEMENTS, &with).await;
    let second = bench.run(STATEMENTS, &with).await;
    let wrong = "- name: p\n  hosts: all\n  steps:\n  - name: wrong\n    sql: { statement: \"CREATE ROLE voter PASSWORD {{ secrets.database_user | sql }} NONSENSE\", port: \"5499\" }\n";
    let wrong = bench.run(wrong, &with).await;
    let log = bench
        .on(
            &host,
            "cat /var/log/postgresql/postgresql-15-hafailtest.log",
        )
        .await;
    bench.on(&host, "pg_dropcluster --stop 15 hafailtest").await;
    first.succeeded();
    assert_eq!(first.changed_on(&host), ["cluster", "role"]);
    assert_eq!(second.counts(), [5, 0, 0, 0], "{}", second.everything());
    assert!(
        wrong.report.failed[0]
            .why
            .contains("unrecognized role option"),
        "{}",
        wrong.everything()
    );
    assert!(
        !wrong.everything().contains("of the test"),
        "{}",
        wrong.everything()
    );
    assert!(!log.contains("of the test"), "{log}");
}

const UNIT: &str = r#"
- name: unit
  hosts: all
  steps:
  - name: unit file
    file:
      dest: /etc/systemd/system/hafail-test.service
      content: |
        [Service]
        ExecStart=/bin/sleep {{ vars.time }}
        [Install]
        WantedBy=multi-user.target
    notify: [restart]
  - name: runs
    service: { name: hafail-test, state: started, enabled: true }
  handlers:
  - name: restart
    service: { name: hafail-test, state: restarted }
"#;

pub async fn units_start_and_reload(bench: &Bench<'_>) {
    let (host, mut with) = only(bench);
    let mut runs = Vec::new();
    for time in ["1001", "1001", "1002"] {
        with.vars.insert("time".to_owned(), time.into());
        runs.push(bench.run(UNIT, &with).await);
    }
    let state = bench.on(&host, "systemctl show -p ExecStart,NeedDaemonReload,ActiveState,UnitFileState hafail-test; cat /proc/$(systemctl show -P MainPID hafail-test)/cmdline | tr '\\0' ' '").await;
    let stop = "- name: p\n  hosts: all\n  steps:\n  - name: stopped\n    service: { name: hafail-test, state: stopped, enabled: false }\n";
    let stopped = [bench.run(stop, &with).await, bench.run(stop, &with).await];
    bench
        .on(
            &host,
            "rm /etc/systemd/system/hafail-test.service; systemctl daemon-reload",
        )
        .await;
    assert_eq!(runs[0].changed_on(&host), ["unit file", "runs", "restart"]);
    assert_eq!(runs[1].counts(), [2, 0, 0, 0]);
    assert_eq!(runs[2].changed_on(&host).first(), Some(&"unit file"));
    assert!(
        state.contains("sleep 1002")
            && state.contains("NeedDaemonReload=no")
            && state.contains("UnitFileState=enabled"),
        "{state}"
    );
    assert!(state.ends_with("/bin/sleep 1002"), "{state}");
    assert_eq!(stopped[0].counts(), [0, 1, 0, 0]);
    assert_eq!(stopped[1].counts(), [1, 0, 0, 0]);
    let broken = "- name: p\n  hosts: all\n  steps:\n  - name: no unit\n    service: { name: hafail-nonesuch, state: started }\n";
    let broken = bench.run(broken, &with).await;
    assert!(
        broken.report.failed[0].why.contains("not found"),
        "{}",
        broken.everything()
    );
}
