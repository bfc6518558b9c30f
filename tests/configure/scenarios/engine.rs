//! How plays run.

use std::time::Duration;

use hafail::configure::{Options, Outcome};

use super::bench::{Bench, With, dry};

const MANY: &str = r#"
- name: many things
  hosts: all
  steps:
  - name: packages
    packages: [sudo, openssh-server]
  - name: directory
    directory: { path: /var/tmp/hafail-test/dir, mode: 0750 }
  - name: file
    file: { dest: "/var/tmp/hafail-test/dir/{{ host.name }}.txt", content: "I am {{ host.name }} of {{ site }}\n", mode: 0640 }
    notify: [touched]
  - name: file from a template
    file: { dest: /var/tmp/hafail-test/deep/er/hosts.txt, template: hosts.txt.j2 }
  - name: names
    hosts: { path: /var/tmp/hafail-test/hosts, extra: [{ address: 127.0.0.9, names: [nine] }] }
  - name: script once
    run: { script: "echo done > /var/tmp/hafail-test/once", creates: /var/tmp/hafail-test/once }
  - name: script unless
    run: { script: "echo a >> /var/tmp/hafail-test/log", unless: grep -q a /var/tmp/hafail-test/log }
  - name: script that tells
    run: { script: "test -e /var/tmp/hafail-test/told && exit 0; touch /var/tmp/hafail-test/told; exit 3", changed_when: { status: 3 } }
  - name: script that looks
    run: { script: "echo $((6 * 7))", changed_when: { never: true }, show: true }
  - name: old file
    absent: { path: /var/tmp/hafail-test/old }
  - name: ssh listens
    wait: { tcp: { port: "22" }, within: 5s }
  - name: nothing listens
    wait: { tcp: { port: "3", closed: true }, within: 5s }
  - name: two and two
    assert: { that: 2 + 2 == 4, message: arithmetic is broken }
  - name: enough memory
    assert: { script: "test $(awk '/MemTotal/ {print $2}' /proc/meminfo) -gt 1000", message: too little memory }
  - name: never
    when: site == "nowhere"
    run: { script: exit 1 }
  handlers:
  - name: touched
    run: { script: "echo x >> /var/tmp/hafail-test/handled" }
- name: a second play
  hosts: all
  steps:
  - name: link
    run: { script: "ln -s once /var/tmp/hafail-test/link", creates: /var/tmp/hafail-test/link }
"#;

fn with_template() -> With {
    let template = "{% for h in hosts %}\n{{ h.name }}\n{% endfor %}\n";
    With {
        templates: [("hosts.txt.j2".to_owned(), template.to_owned())].into(),
        ..With::default()
    }
}

pub async fn a_second_run_changes_nothing(bench: &Bench<'_>) {
    let with = with_template();
    for host in bench.names() {
        bench.on(&host, "echo old > /var/tmp/hafail-test/old").await;
    }
    let hosts = u32::try_from(bench.names().len()).unwrap();
    let first = bench.run(MANY, &with).await;
    first.succeeded();
    // 8 steps, the handler and the second play.
    assert_eq!(
        first.counts(),
        [6 * hosts, 10 * hosts, hosts, 0],
        "{}",
        first.everything()
    );
    for host in bench.names() {
        let text = bench.on(&host, "cat /var/tmp/hafail-test/dir/*").await;
        assert!(text.starts_with(&format!("I am {host} of ")), "{text}");
        let modes = "cd /var/tmp/hafail-test && stat -c %a:%U dir dir/* && cat handled log && cat deep/er/hosts.txt";
        let said = bench.on(&host, modes).await;
        let names: Vec<String> = bench.names().iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            format!("750:root\n640:root\nx\na\n{}", names.join("\n"))
        );
        let block = bench.on(&host, "cat /var/tmp/hafail-test/hosts").await;
        assert!(
            block.starts_with("# BEGIN hafail\n")
                && block.ends_with("127.0.0.9 nine\n# END hafail"),
            "{block}"
        );
    }

    let second = bench.run(MANY, &with).await;
    second.succeeded();
    assert_eq!(
        second.counts(),
        [15 * hosts, 0, hosts, 0],
        "{}",
        second.everything()
    );
    println!("  first {:.0?}, second {:.0?}", first.took, second.took);
    let shown = second
        .steps
        .iter()
        .find(|step| step.step == "script that looks");
    assert_eq!(
        shown.unwrap().outcome,
        Outcome::Ok {
            output: Some("42".to_owned())
        }
    );
}

pub async fn a_dry_run_changes_nothing_and_shows_the_difference(bench: &Bench<'_>) {
    let host = &bench.names()[0];
    let with = With {
        options: Options {
            dry_run: true,
            hosts: vec![host.clone()],
            ..Options::default()
        },
        ..with_template()
    };
    bench.on(host, "mkdir /var/tmp/hafail-test/dir; echo 'I was' > /var/tmp/hafail-test/dir/$(hostname).txt").await;
    let state = "cd /var/tmp/hafail-test && find . -type f -exec sha256sum {} + && find . -printf '%p %m %T@\\n'";
    let before = bench.on(host, state).await;
    let ran = bench.run(MANY, &with).await;
    assert_eq!(bench.on(host, state).await, before);
    ran.succeeded();
    assert!(ran.report.dry_run);
    let changed = ran.changed_on(host);
    for step in ["directory", "file", "touched", "script once", "link"] {
        assert!(changed.contains(&step), "{step}: {changed:?}");
    }
    let file = ran.steps.iter().find(|step| step.step == "file").unwrap();
    let Outcome::Changed {
        diff: Some(diff), ..
    } = &file.outcome
    else {
        panic!("{file:?}");
    };
    assert!(diff.contains("-I was\n+I am "), "{diff}");
}

const TWO_PLAYS: &str = r#"
- name: first
  hosts: all
  steps:
  - name: before
    run: { script: "touch /var/tmp/hafail-test/before", creates: /var/tmp/hafail-test/before }
  - name: middle
    run: { script: "echo nobody expects this >&2; test ! -e /var/tmp/hafail-test/broken", changed_when: { never: true } }
  - name: after
    run: { script: "touch /var/tmp/hafail-test/after", creates: /var/tmp/hafail-test/after }
- name: second
  hosts: all
  steps:
  - name: last
    run: { script: "touch /var/tmp/hafail-test/last", creates: /var/tmp/hafail-test/last }
"#;

pub async fn a_failing_step_stops_its_host_and_the_next_run_goes_on(bench: &Bench<'_>) {
    let names = bench.names();
    let (broken, sound) = (&names[0], &names[1]);
    bench.on(broken, "touch /var/tmp/hafail-test/broken").await;
    let ran = bench.run(TWO_PLAYS, &With::default()).await;
    assert!(!ran.report.succeeded());
    let [failure] = ran.report.failed.as_slice() else {
        panic!("{:#?}", ran.report.failed);
    };
    assert_eq!((&failure.host, failure.step.as_str()), (broken, "middle"));
    assert!(
        failure.why.contains("exit status 1") && failure.why.contains("nobody expects"),
        "{}",
        failure.why
    );
    assert!(failure.place.contains("test.yaml:"), "{}", failure.place);
    assert_eq!(ran.report.not_begun, ["second"]);
    let list = "cd /var/tmp/hafail-test && ls";
    assert_eq!(bench.on(broken, list).await, "before\nbroken");
    assert_eq!(bench.on(sound, list).await, "after\nbefore");

    bench.on(broken, "rm /var/tmp/hafail-test/broken").await;
    let ran = bench.run(TWO_PLAYS, &With::default()).await;
    ran.succeeded();
    assert_eq!(ran.changed_on(broken), ["after", "last"]);
    assert_eq!(ran.changed_on(sound), ["last"]);
}

const HANDLED: &str = r#"
- name: handled
  hosts: all
  steps:
  - name: file
    file: { dest: /var/tmp/hafail-test/file, content: "1\n" }
    notify: [second, first]
  - name: middle
    run: { script: "test ! -e /var/tmp/hafail-test/broken", changed_when: { never: true } }
  - name: now
    flush: true
  - name: after
    run: { script: "echo after >> /var/tmp/hafail-test/order", creates: /var/tmp/hafail-test/done }
  - name: done
    run: { script: "touch /var/tmp/hafail-test/done", creates: /var/tmp/hafail-test/done }
  handlers:
  - name: first
    run: { script: "echo first >> /var/tmp/hafail-test/order" }
    notify: [third]
  - name: second
    run: { script: "echo second >> /var/tmp/hafail-test/order" }
  - name: third
    run: { script: "echo third >> /var/tmp/hafail-test/order" }
  - name: unused
    run: { script: "echo unused >> /var/tmp/hafail-test/order" }
"#;

pub async fn handlers_outlive_a_failure(bench: &Bench<'_>) {
    let host = &bench.names()[0];
    let only = || With {
        options: Options {
            hosts: vec![host.clone()],
            ..Options::default()
        },
        ..With::default()
    };
    bench.on(host, "touch /var/tmp/hafail-test/broken").await;
    let ran = bench.run(HANDLED, &only()).await;
    assert_eq!(ran.report.failed.len(), 1);
    assert_eq!(ran.changed_on(host), ["file"]);
    bench
        .on(
            host,
            "rm /var/tmp/hafail-test/broken; test ! -e /var/tmp/hafail-test/order",
        )
        .await;
    let ran = bench.run(HANDLED, &only()).await;
    ran.succeeded();
    assert_eq!(
        ran.changed_on(host),
        ["first", "second", "third", "after", "done"]
    );
    assert_eq!(
        bench.on(host, "cat /var/tmp/hafail-test/order").await,
        "first\nsecond\nthird\nafter"
    );
    assert_eq!(
        bench.on(host, "ls /var/lib/hafail-configure/pending").await,
        ""
    );
    let ran = bench.run(HANDLED, &only()).await;
    ran.succeeded();
    assert_eq!(ran.counts()[1], 0, "{}", ran.everything());
}

pub async fn hosts_work_at_once_or_one_after_another(bench: &Bench<'_>) {
    let hosts = u32::try_from(bench.names().len()).unwrap();
    let play = |serial: bool| {
        format!(
            "- name: slow\n  hosts: all\n  serial: {serial}\n  steps:\n  - name: slow\n    run: {{ script: sleep 1 }}\n"
        )
    };
    let at_once = bench.run(&play(false), &With::default()).await;
    at_once.succeeded();
    assert!(at_once.took < Duration::from_secs(2), "{:?}", at_once.took);
    let serial = bench.run(&play(true), &With::default()).await;
    serial.succeeded();
    assert!(
        serial.took >= Duration::from_secs(u64::from(hosts)),
        "{:?}",
        serial.took
    );
}

pub async fn loops_conditions_and_limits(bench: &Bench<'_>) {
    let play = r#"
- name: "loop on {{ host.name }}"
  hosts: all
  steps:
  - name: "make {{ n }} as {{ index }}"
    for_each: range(vars.count | int)
    as: n
    when: n != 1
    run: { script: "touch /var/tmp/hafail-test/{{ n }}", creates: "/var/tmp/hafail-test/{{ n }}" }
- name: once
  hosts: all
  once: true
  steps:
  - name: counted
    run: { script: "touch /var/tmp/hafail-test/once" }
- name: never
  hosts: all
  when: sites | length > 99
  steps:
  - name: no
    run: { script: exit 1 }
"#;
    let names = bench.names();
    let mut with = With::default();
    with.vars.insert("count".to_owned(), "3".into());
    let ran = bench.run(play, &with).await;
    ran.succeeded();
    let hosts = u32::try_from(names.len()).unwrap();
    assert_eq!(
        ran.counts(),
        [0, 2 * hosts + 1, hosts, 0],
        "{}",
        ran.everything()
    );
    assert_eq!(
        bench.on(&names[0], "ls /var/tmp/hafail-test").await,
        "0\n2\nonce"
    );

    let last = names.last().unwrap();
    let mut with = dry();
    with.vars.insert("count".to_owned(), "4".into());
    with.options.hosts = vec![last.clone()];
    let ran = bench.run(play, &with).await;
    assert_eq!(ran.report.hosts.keys().collect::<Vec<_>>(), [last]);
    assert_eq!(ran.changed_on(last), ["make 3 as 3"]);

    let undefined = bench.try_run(play, &With::default()).await;
    let error = undefined.err().expect("`vars.count` is not defined");
    assert!(
        error
            .to_string()
            .contains("`count` is not defined in `vars`"),
        "{error}"
    );
}
