//! The playbooks and templates inside the program, for where there is no
//! directory of them. A test holds the list complete.

/// Declares files below `playbooks/` with their text.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/", $path)))),*]
    };
}

/// Path below `playbooks/`, and text.
pub(super) const FILES: &[(&str, &str)] = files![
    "check-logs.yaml",
    "deploy-database.yaml",
    "deploy-etcd.yaml",
    "deploy-guard.yaml",
    "deploy-haproxy.yaml",
    "deploy-redis.yaml",
    "deploy-result.yaml",
    "deploy-vote.yaml",
    "deploy-watch.yaml",
    "deploy-worker.yaml",
    "deploy.yaml",
    "install-docker.yaml",
    "prepare.yaml",
    "smoke-test.yaml",
    "stop-all.yaml",
    "templates/etcd.j2",
    "templates/guard.json.j2",
    "templates/hafail-containers.j2",
    "templates/hafail-containers.service",
    "templates/hafail-etcd-member.j2",
    "templates/hafail-etcd.service",
    "templates/hafail-guard.service",
    "templates/hafail-queue-role.j2",
    "templates/hafail-queue.service",
    "templates/hafail-watch.service",
    "templates/haproxy.cfg.j2",
    "templates/redis.conf.j2",
    "templates/watch-environment.j2",
    "templates/watch.json.j2",
    "test-connectivity.yaml",
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    fn names(directory: &Path, prefix: &str) -> BTreeSet<String> {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return BTreeSet::new();
        };
        let mut found = BTreeSet::new();
        for entry in entries.map(|entry| entry.unwrap()) {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                found.extend(names(&entry.path(), &format!("{name}/")));
            } else {
                found.insert(name);
            }
        }
        found
    }

    #[test]
    fn every_playbook_and_template_is_built_in() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
        let listed: BTreeSet<String> = super::FILES
            .iter()
            .map(|(path, _)| (*path).to_owned())
            .collect();
        assert_eq!(
            listed,
            names(&directory, ""),
            "list the files in built_in.rs"
        );
    }
}
