//! Files in adverse places.

use std::io::Write;

use hafail::configure::Options;

use super::bench::{Bench, With};

fn only(bench: &Bench<'_>) -> (hafail::ids::HostName, With) {
    let host = bench.names().pop().expect("a host");
    let with = With {
        options: Options {
            hosts: vec![host.clone()],
            ..Options::default()
        },
        ..With::default()
    };
    (host, with)
}

pub async fn a_full_disk_leaves_the_old_file(bench: &Bench<'_>) {
    let (host, with) = only(bench);
    let mount = "cd /var/tmp/hafail-test && mkdir small && mount -t tmpfs -o size=64k none small && echo old > small/file";
    bench.on(&host, mount).await;
    let play = |count: u32| {
        format!(
            "- name: big\n  hosts: all\n  steps:\n  - name: big file\n    file: {{ dest: /var/tmp/hafail-test/small/file, content: \"{{{{ '0123456789' * {count} }}}}\" }}\n"
        )
    };
    let ran = bench.run(&play(20_000), &with).await;
    let [failure] = ran.report.failed.as_slice() else {
        panic!("{}", ran.everything());
    };
    assert!(
        failure.why.contains("No space left on device"),
        "{}",
        failure.why
    );
    assert!(failure.remedy.contains("make room"), "{}", failure.remedy);
    assert_eq!(
        bench
            .on(&host, "cd /var/tmp/hafail-test/small && ls -A && cat file")
            .await,
        "file\nold"
    );
    let ran = bench.run(&play(100), &with).await;
    ran.succeeded();
    assert_eq!(ran.counts()[1], 1);
}

pub async fn a_mount_point_is_written_in_place(bench: &Bench<'_>) {
    let (host, with) = only(bench);
    let mount = "cd /var/tmp/hafail-test && echo '127.0.0.1 localhost' > real && touch hosts && mount --bind real hosts";
    bench.on(&host, mount).await;
    let play = "- name: names\n  hosts: all\n  steps:\n  - name: names\n    hosts: { path: /var/tmp/hafail-test/hosts }\n";
    let ran = bench.run(play, &with).await;
    ran.succeeded();
    assert_eq!(ran.counts()[1], 1);
    let real = bench.on(&host, "cat /var/tmp/hafail-test/real").await;
    assert!(
        real.starts_with("# BEGIN hafail\n") && real.ends_with("# END hafail\n127.0.0.1 localhost"),
        "{real}"
    );
    assert_eq!(bench.run(play, &with).await.counts(), [1, 0, 0, 0]);

    let play = "- name: file\n  hosts: all\n  steps:\n  - name: file\n    file: { dest: /var/tmp/hafail-test/hosts, content: \"new\\n\" }\n";
    bench.run(play, &with).await.succeeded();
    assert_eq!(
        bench.on(&host, "cat /var/tmp/hafail-test/real").await,
        "new"
    );
}

pub async fn a_refusing_check_keeps_the_old_file(bench: &Bench<'_>) {
    let (host, with) = only(bench);
    bench
        .on(&host, "echo old > /var/tmp/hafail-test/file")
        .await;
    let play = |content: &str| {
        format!(
            "- name: checked\n  hosts: all\n  steps:\n  - name: checked\n    file: {{ dest: /var/tmp/hafail-test/file, content: {content}, check: 'grep -q good \"$FILE\" || {{ echo it is not good; exit 1; }}' }}\n"
        )
    };
    let ran = bench.run(&play("bad"), &with).await;
    assert!(
        ran.report.failed[0].why.contains("it is not good"),
        "{}",
        ran.everything()
    );
    assert_eq!(
        bench
            .on(&host, "cd /var/tmp/hafail-test && ls -A && cat file")
            .await,
        "file\nold"
    );
    bench.run(&play("good"), &with).await.succeeded();
    assert_eq!(
        bench.on(&host, "cat /var/tmp/hafail-test/file").await,
        "good"
    );
}

pub async fn an_upload_is_sent_only_when_it_differs(bench: &Bench<'_>) {
    let (host, mut with) = only(bench);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let bytes: Vec<u8> = (0..1_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    file.write_all(&bytes).expect("room");
    let path = file.path().display().to_string();
    with.vars.insert("binary".to_owned(), path.into());
    let play = "- name: upload\n  hosts: all\n  steps:\n  - name: binary\n    upload: { from: \"{{ vars.binary }}\", dest: /var/tmp/hafail-test/bin/tool, mode: 0755 }\n    notify: [sent]\n  handlers:\n  - name: sent\n    run: { script: \"echo sent >> /var/tmp/hafail-test/sent\" }\n";
    let ran = bench.run(play, &with).await;
    ran.succeeded();
    assert_eq!(ran.changed_on(&host), ["binary", "sent"]);
    let stat = "cd /var/tmp/hafail-test && stat -c '%a %s' bin/tool && ls -A bin && cat sent";
    assert_eq!(bench.on(&host, stat).await, "755 1000000\ntool\nsent");
    assert_eq!(bench.run(play, &with).await.counts(), [1, 0, 0, 0]);
    bench
        .on(&host, "echo other > /var/tmp/hafail-test/bin/tool")
        .await;
    assert_eq!(
        bench.run(play, &with).await.changed_on(&host),
        ["binary", "sent"]
    );
}
