//! Secrets go to hosts unseen.

use hafail::{
    configure::{Options, Outcome, Secrets},
    ids::HostName,
    ports::remote::{Command, Remote},
};

use super::bench::{Bench, With};

const PLAY: &str = r#"
- name: secrets
  hosts: all
  steps:
  - name: file
    file: { dest: /var/tmp/hafail-test/secret, content: "user = vote\npassword = {{ secrets.database_user }}\n", mode: 0600 }
  - name: script
    run:
      script: |
        read -r word
        test "$word" = "$WORD"
        sleep 0.5
        echo "I was told $word"
        echo "$word" | base64 -w0
        exit 3
      stdin: "{{ secrets.database_user }}\n"
      env: { WORD: "{{ secrets.database_user }}" }
      changed_when: { status: 3 }
"#;

const FAILING: &str = r#"
- name: secrets
  hosts: all
  steps:
  - name: fails
    run: { script: "cat; exit 9", stdin: "{{ secrets.database_user }}" }
"#;

fn with(host: &HostName, secret: &str, dry_run: bool) -> With {
    let mut secrets = Secrets::default();
    secrets
        .values
        .insert("database_user".to_owned(), secret.to_owned().into());
    With {
        secrets,
        options: Options {
            dry_run,
            hosts: vec![host.clone()],
            ..Options::default()
        },
        ..With::default()
    }
}

pub async fn secrets_are_never_seen(bench: &Bench<'_>) {
    let host = &bench.names()[0];
    let (old, new) = ("hunter2-before-it-changed", "it's a 'quoted' secret");
    bench.run(PLAY, &with(host, old, false)).await.succeeded();

    // The difference hides the new secret and the one that was there before.
    let ran = bench.run(PLAY, &with(host, new, true)).await;
    let Outcome::Changed {
        diff: Some(diff), ..
    } = &ran.steps[0].outcome
    else {
        panic!("{}", ran.everything());
    };
    assert!(
        diff.contains(" user = vote")
            && diff.contains("-[secret]")
            && diff.contains("+password = [secret]"),
        "{diff}"
    );

    // While it runs, somebody looks at all command lines of the host.
    let watcher = Command {
        script: "IFS= read -r word; while [ ! -e /var/tmp/hafail-test/stop ]; do \
                 for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2> /dev/null; done | grep -cF -- sleep\\ 0.5 > /var/tmp/hafail-test/looked; \
                 while [ ! -e /var/tmp/hafail-test/stop2 ]; do \
                 for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2> /dev/null; done | { IFS= read -r any; cat; } > /var/tmp/hafail-test/lines; \
                 printf %s \"$word\" | grep -cFf - /var/tmp/hafail-test/lines; true"
            .to_owned(),
        stdin: format!("{new}\n").into_bytes(),
        root: true,
        deadline: std::time::Duration::from_secs(60),
    };
    let run = async {
        let ran = bench.run(PLAY, &with(host, new, false)).await;
        bench.on(host, "touch /var/tmp/hafail-test/stop").await;
        let again = bench.run(PLAY, &with(host, new, false)).await;
        bench.on(host, "touch /var/tmp/hafail-test/stop2").await;
        (ran, again)
    };
    let (found, (ran, again)) = tokio::join!(bench.ssh.run(host, watcher), run);
    ran.succeeded();
    again.succeeded();
    let found = found.expect("the watcher ends");
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "0");
    let looked = bench.on(host, "cat /var/tmp/hafail-test/looked").await;
    assert_ne!(looked, "0", "the watcher sees command lines of the script");
    assert_eq!(
        bench
            .on(host, "tail -n 1 /var/tmp/hafail-test/secret")
            .await,
        format!("password = {new}")
    );

    let everything = ran.everything();
    assert!(everything.contains("I was told [secret]"), "{everything}");
    assert!(!everything.contains("quoted"), "{everything}");

    let ran = bench.run(FAILING, &with(host, new, false)).await;
    assert_eq!(ran.report.failed[0].why, "exit status 9\n[secret]");

    // Elsewhere they are refused before anything runs.
    for step in [
        "run: { script: \"echo {{ secrets.database_user }}\" }",
        "assert: { that: \"secrets.database_user == 1\", message: x }",
        "directory: { path: \"/{{ secrets.database_user }}\" }",
    ] {
        let play = format!("- name: p\n  hosts: all\n  steps:\n  - name: s\n    {step}\n");
        let refused = bench.try_run(&play, &with(host, new, false)).await;
        let error = refused.err().expect("it must be refused").to_string();
        assert!(error.contains("may not be used here"), "{error}");
    }
}
