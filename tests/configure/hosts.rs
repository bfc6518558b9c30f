//! Hosts to test on.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Output},
    time::Duration,
};

use hafail::{
    adapters::ssh::Ssh,
    ids::{HostName, Region, SiteName},
    inventory::{HostEntry, Inventory, SshWay},
    right::Terms,
    topology::{
        Access, Balance, Coordination, Database, Etcd, Host, LoadBalancer, Objectives,
        OnStandbyLoss, Place, Queue, Replication, Role, Site, Topology, Watch,
    },
};
use russh::keys::{Algorithm, PrivateKey, load_secret_key};
use tokio::time::{Instant, sleep};

const NETWORK: &str = "configure-test";
/// As the lab starts its instances.
const FLAGS: [&str; 14] = [
    "--cap-add",
    "ALL",
    "--cap-drop",
    "SYS_RESOURCE",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "apparmor=unconfined",
    "--cgroupns=private",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--volume=/var/lib/docker",
    "--label=hafail-configure-test",
    "--detach",
];

/// The hosts of a test; those that it started itself are removed with it.
pub struct Hosts {
    pub inventory: Inventory,
    pub topology: Topology,
    pub key: PrivateKey,
    started: Vec<String>,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if !self.started.is_empty() {
            for name in &self.started {
                let _ = docker(&["rm", "-f", "-v", name]);
            }
            let _ = docker(&["network", "rm", NETWORK]);
        }
    }
}

impl Hosts {
    /// The stated hosts, or new ones.
    pub async fn ready() -> Self {
        let stated = std::env::var("HAFAIL_TEST_INVENTORY");
        match stated {
            Ok(path) => {
                let text =
                    std::fs::read_to_string(path).expect("HAFAIL_TEST_INVENTORY is readable");
                let inventory: Inventory = serde_json::from_str(&text).expect("an inventory");
                let key = std::env::var("HAFAIL_TEST_SSH_KEY").expect("HAFAIL_TEST_SSH_KEY is set");
                let key = load_secret_key(key, None).expect("a private key without passphrase");
                Self::new(inventory, key, Vec::new())
            }
            Err(_) => Self::start(&["site1-lb", "site1-app", "site2-db"]).await,
        }
    }

    fn new(inventory: Inventory, key: PrivateKey, started: Vec<String>) -> Self {
        Self {
            topology: topology(&inventory),
            inventory,
            key,
            started,
        }
    }

    /// A connection for each host, none made yet.
    pub fn ssh(&self) -> Ssh {
        Ssh::new(&self.inventory, self.key.clone())
    }

    /// Starts containers; all but the first are reached through it.
    pub async fn start(names: &[&str]) -> Self {
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a new key");
        let mut hosts = Self::new(Inventory::default(), key, Vec::new());
        let _ = docker(&["network", "create", NETWORK]);
        let image = image();
        for name in names {
            let container = format!("{NETWORK}-{name}");
            let _ = docker(&["rm", "-f", "-v", &container]);
            let own = [
                "--name",
                &container,
                "--hostname",
                name,
                "--network",
                NETWORK,
                &image,
            ];
            let arguments = [&["run"], &FLAGS[..], &own[..], &["/sbin/init"]].concat();
            hosts.started.push(container.clone());
            succeeded(&docker(&arguments));
        }
        let public = hosts.key.public_key().to_openssh().expect("a public key");
        for name in names {
            let entry = enter(name, names[0], &public).await;
            hosts.inventory.hosts.insert(entry.name.clone(), entry);
        }
        hosts.topology = topology(&hosts.inventory);
        hosts
    }

    /// A host that is reached through another one, and that other one.
    pub fn jumped(&self) -> Option<(&HostEntry, &HostEntry)> {
        let entry = self
            .inventory
            .hosts
            .values()
            .find(|entry| entry.ssh.jump.is_some())?;
        let jump = entry.ssh.jump.as_ref()?;
        Some((entry, &self.inventory.hosts[jump]))
    }
}

fn image() -> String {
    if let Ok(image) = std::env::var("HAFAIL_TEST_IMAGE") {
        return image;
    }
    let listed = docker(&[
        "images",
        "--format",
        "{{.Repository}}:{{.Tag}}",
        "hafail-lab-host",
    ]);
    let text = succeeded(&listed);
    let first = text.lines().next().map(str::to_owned);
    first.expect("build the host image first: `hafail-lab up`")
}

/// Lets the key in and reads address and host key.
async fn enter(name: &str, jump: &str, public: &str) -> HostEntry {
    let container = format!("{NETWORK}-{name}");
    let script = format!(
        "install -d -m 700 -o admin -g admin /home/admin/.ssh && echo '{public}' > /home/admin/.ssh/authorized_keys \
         && chown admin: /home/admin/.ssh/authorized_keys && ssh-keygen -A > /dev/null && systemctl start ssh \
         && systemctl is-active -q ssh && printf '127.0.0.1 localhost\\n%s\\n' \"$(hostname -I) {name}\" > /etc/hosts && cat /etc/ssh/ssh_host_ed25519_key.pub"
    );
    let until = Instant::now() + Duration::from_secs(180);
    let host_key = loop {
        let output = docker(&["exec", &container, "sh", "-c", &script]);
        if output.status.success() {
            break succeeded(&output);
        }
        assert!(Instant::now() < until, "{container}: {output:?}");
        sleep(Duration::from_millis(100)).await;
    };
    let format = format!("{{{{(index .NetworkSettings.Networks \"{NETWORK}\").IPAddress}}}}");
    let address = succeeded(&docker(&["inspect", "-f", &format, &container]));
    let site = name.split('-').next().expect("split yields one");
    HostEntry {
        name: name.parse().expect("a name"),
        site: site.parse().expect("a name"),
        region: "eu-west-1".parse().expect("a name"),
        instance_id: None,
        private_address: address.trim().parse().expect("an address"),
        public_address: None,
        ssh: SshWay {
            user: "admin".to_owned(),
            address: address.trim().to_owned(),
            port: 22,
            host_key: host_key.trim().to_owned(),
            jump: (name != jump).then(|| jump.parse().expect("a name")),
        },
    }
}

pub fn docker(arguments: &[&str]) -> Output {
    let output = Command::new("docker").args(arguments).output();
    output.expect("docker is installed")
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A topology with these hosts; roles by the ends of their names.
fn topology(inventory: &Inventory) -> Topology {
    let mut sites: BTreeMap<SiteName, Site> = BTreeMap::new();
    for entry in inventory.hosts.values() {
        let site = sites.entry(entry.site.clone()).or_insert_with(|| Site {
            name: entry.site.clone(),
            region: entry.region.clone(),
            network: None,
            hosts: BTreeMap::new(),
        });
        site.hosts.insert(entry.name.clone(), host(entry));
    }
    let region: Region = "none".parse().expect("a name");
    let first = inventory.hosts.values().next();
    Topology {
        name: "test".to_owned(),
        objectives: Objectives {
            rto: Duration::from_secs(30),
            rpo: Duration::ZERO,
        },
        coordination: Coordination::Manual,
        lease: Terms::default(),
        etcd: Etcd::default(),
        watch: Watch::default(),
        access: Access {
            ssh_user: "admin".to_owned(),
            ssh_from: Vec::new(),
            ssh_key: None,
        },
        provision: None,
        initial_primary: first.map_or_else(
            || region.as_str().parse().expect("a name"),
            |entry| entry.site.clone(),
        ),
        sites,
        database: Database {
            version: 15,
            port: 5432,
            name: "postgres".to_owned(),
            user: "vote".to_owned(),
            replication: Replication::Synchronous,
            maximum_lag_on_failover: 0,
            on_standby_loss: OnStandbyLoss::Degrade,
            parameters: BTreeMap::new(),
            guard_port: 8008,
            order_port: 8009,
        },
        queue: Queue {
            port: 6379,
            replicated: true,
        },
        stack: Vec::new(),
        load_balancer: LoadBalancer {
            balance: Balance::LocalFirst,
            statistics_port: 8404,
            primary_port: 5000,
            replica_port: 5001,
            queue_port: 6379,
            hold: Duration::from_secs(10),
        },
        dns: None,
        secrets: BTreeMap::new(),
        tags: BTreeMap::new(),
    }
}

fn host(entry: &HostEntry) -> Host {
    let role = |name: &HostName| match name.as_str().rsplit('-').next() {
        Some("lb") => Role::Lb,
        Some("db") => Role::Db,
        Some("queue") => Role::Queue,
        _ => Role::App,
    };
    Host {
        name: entry.name.clone(),
        site: entry.site.clone(),
        roles: BTreeSet::from([role(&entry.name)]),
        place: Place::Static {
            private_address: entry.private_address,
            ssh_address: None,
            ssh_port: entry.ssh.port,
            host_key: entry.ssh.host_key.clone(),
        },
    }
}
