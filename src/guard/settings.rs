//! The files that configure PostgreSQL, generated anew before each start.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    config::{GuardConfig, Login, is_owned},
    store::ensure_durably,
};
use crate::ids::HostName;

/// What changes in the settings while a host lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whom a standby follows.
    pub upstream: Option<HostName>,
    /// Who must confirm the commits of a primary.
    pub synchronous: Vec<HostName>,
}

const INCLUDE: &str = "include 'hafail.conf'";

/// Name of the replication slot for a host.
#[must_use]
pub fn slot_name(host: &HostName) -> String {
    host.as_str().replace('-', "_")
}

/// The value of `synchronous_standby_names`: all of them must confirm.
#[must_use]
pub fn synchronous_standby_names(standbys: &[HostName]) -> String {
    if standbys.is_empty() {
        return String::new();
    }
    let names: Vec<_> = standbys.iter().map(|name| format!("\"{name}\"")).collect();
    format!("FIRST {} ({})", names.len(), names.join(", "))
}

/// Connection string of a role to a peer, checked against the CA and the
/// peer's name. Passwords come from the password file.
pub fn conninfo(
    config: &GuardConfig,
    peer: &HostName,
    login: &Login,
    database: Option<&str>,
) -> Option<String> {
    let peer = config.peers.get(peer)?;
    let mut parts = vec![
        ("host", peer.address.clone()),
        ("port", peer.port.to_string()),
        ("user", login.user.clone()),
        ("application_name", config.host.to_string()),
        ("passfile", passfile(config).display().to_string()),
        ("sslmode", "verify-full".to_owned()),
        ("sslrootcert", config.tls.ca.display().to_string()),
        // A certificate of the user's own must not be tried.
        ("sslcert", "/nonexistent".to_owned()),
        ("connect_timeout", "5".to_owned()),
        ("keepalives_idle", "5".to_owned()),
        ("keepalives_interval", "2".to_owned()),
        ("keepalives_count", "3".to_owned()),
        ("tcp_user_timeout", "10000".to_owned()),
    ];
    if let Some(database) = database {
        parts.push(("dbname", database.to_owned()));
    }
    let rendered = parts.iter().map(|(key, value)| {
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        format!("{key}='{value}'")
    });
    Some(rendered.collect::<Vec<_>>().join(" "))
}

/// The password file for connections to peers.
#[must_use]
pub fn passfile(config: &GuardConfig) -> PathBuf {
    config.state_dir.join("passfile")
}

/// The directory of PostgreSQL's own log, one file for each weekday.
#[must_use]
pub fn log_dir(config: &GuardConfig) -> PathBuf {
    config.state_dir.join("log")
}

/// Writes the password file for streaming, base backups and pg_rewind.
pub fn write_passfile(config: &GuardConfig) -> io::Result<()> {
    let mut lines = String::new();
    for login in [&config.replication, &config.rewind] {
        let password = read_password(&login.password_file)?;
        let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
        let _ = writeln!(lines, "*:*:*:{}:{escaped}", login.user);
    }
    ensure_durably(&passfile(config), lines.as_bytes(), 0o600)
}

/// The password in a file: its first line.
pub fn read_password(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Writes all configuration files of a data directory.
pub fn install(
    config: &GuardConfig,
    data: &Path,
    settings: &Settings,
    os_user: &str,
) -> io::Result<()> {
    write_passfile(config)?;
    let put = |name: &str, text: &str| ensure_durably(&data.join(name), text.as_bytes(), 0o600);
    put("hafail.conf", &render_conf(config, settings))?;
    put("pg_hba.conf", &render_hba(config))?;
    put(
        "pg_ident.conf",
        &format!("hafail {os_user} {}\n", config.superuser.user),
    )?;
    let main = fs::read_to_string(data.join("postgresql.conf")).unwrap_or_default();
    if !main.lines().any(|line| line.trim() == INCLUDE) {
        put("postgresql.conf", &format!("{main}\n{INCLUDE}\n"))?;
    }
    // What ALTER SYSTEM left would win over the include.
    if let Ok(auto) = fs::read_to_string(data.join("postgresql.auto.conf")) {
        let kept = without_owned(&auto);
        if kept != auto {
            put("postgresql.auto.conf", &kept)?;
        }
    }
    Ok(())
}

/// Whether the settings of a data directory are already these.
pub fn is_installed(config: &GuardConfig, data: &Path, settings: &Settings) -> bool {
    let same = |name: &str, text: String| {
        fs::read_to_string(data.join(name)).is_ok_and(|present| present == text)
    };
    same("hafail.conf", render_conf(config, settings)) && same("pg_hba.conf", render_hba(config))
}

fn without_owned(auto: &str) -> String {
    let kept = auto.lines().filter(|line| {
        let key = line.split(['=', ' ']).next().unwrap_or_default();
        key.starts_with('#') || !is_owned(key)
    });
    kept.map(|line| format!("{line}\n")).collect()
}

fn render_conf(config: &GuardConfig, settings: &Settings) -> String {
    let mut conf = String::from("# Written by `hafail guard` before each start; edits are lost.\n");
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(conf, "{key} = '{}'", value.replace('\'', "''"));
    };
    for (key, value) in DEFAULTS {
        set(key, value);
    }
    if config.version >= 14 {
        // After a crash, one call instead of one for each file.
        set("recovery_init_sync_method", "syncfs");
    }
    for (key, value) in &config.parameters {
        set(key, value);
    }
    let path = |path: &Path| path.display().to_string();
    set("listen_addresses", &config.listen_addresses.join(","));
    set("port", &config.port.to_string());
    set("unix_socket_directories", &path(&config.socket_dir));
    set("cluster_name", config.host.as_str());
    set("log_directory", &path(&log_dir(config)));
    set("ssl_ca_file", &path(&config.tls.ca));
    set("ssl_cert_file", &path(&config.tls.cert));
    set("ssl_key_file", &path(&config.tls.key));
    for (key, value) in OWNED {
        set(key, value);
    }
    let names = synchronous_standby_names(&settings.synchronous);
    set("synchronous_standby_names", &names);
    let upstream = settings.upstream.as_ref();
    let upstream = upstream.and_then(|peer| conninfo(config, peer, &config.replication, None));
    if let Some(upstream) = upstream {
        set("primary_conninfo", &upstream);
        set("primary_slot_name", &slot_name(&config.host));
    }
    conf
}

/// Good values that the user's parameters may replace.
const DEFAULTS: &[(&str, &str)] = &[
    ("max_connections", "200"),
    ("superuser_reserved_connections", "5"),
    ("max_wal_senders", "10"),
    ("max_replication_slots", "10"),
    ("wal_keep_size", "512MB"),
    // A standby that stays away must not fill the disk of its primary.
    ("max_slot_wal_keep_size", "4GB"),
    // The default of 5 s stalls promotions and synchronous restarts.
    ("wal_retrieve_retry_interval", "100ms"),
    // A silently cut peer is noticed in seconds, not in a minute.
    ("wal_sender_timeout", "5s"),
    ("wal_receiver_timeout", "5s"),
    ("wal_receiver_status_interval", "1s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("logging_collector", "on"),
    ("log_filename", "postgresql-%a.log"),
    ("log_rotation_age", "1d"),
    ("log_rotation_size", "0"),
    ("log_truncate_on_rotation", "on"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
];

const OWNED: &[(&str, &str)] = &[
    ("wal_level", "replica"),
    ("wal_log_hints", "on"),
    ("hot_standby", "on"),
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("recovery_target_timeline", "latest"),
    ("password_encryption", "scram-sha-256"),
    ("ssl", "on"),
    ("ssl_min_protocol_version", "TLSv1.2"),
    ("lc_messages", "C"),
];

fn render_hba(config: &GuardConfig) -> String {
    let superuser = &config.superuser.user;
    let mut hba = format!(
        "# Written by `hafail guard` before each start; edits are lost.\n\
         local all \"{superuser}\" peer map=hafail\n"
    );
    let mut allow = |database: &str, user: &str, address: &str| {
        let address = match address.parse::<std::net::IpAddr>() {
            Ok(ip) => format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }),
            Err(_) => address.to_owned(),
        };
        let _ = writeln!(hba, "hostssl {database} \"{user}\" {address} scram-sha-256");
    };
    let application = &config.application;
    let database = format!("\"{}\"", application.database);
    for loopback in ["127.0.0.1", "::1"] {
        allow("all", superuser, loopback);
        allow(&database, &application.user, loopback);
    }
    for peer in &config.access.peers {
        allow("replication", &config.replication.user, peer);
        allow("postgres", &config.rewind.user, peer);
    }
    for address in &config.access.applications {
        allow(&database, &application.user, address);
    }
    hba
}

#[cfg(test)]
mod tests {
    use super::{super::config::tests::example, *};

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn all_named_standbys_must_confirm() {
        assert_eq!(synchronous_standby_names(&[]), "");
        let two = [name("site2-db"), name("site3-db")];
        assert_eq!(
            synchronous_standby_names(&two),
            "FIRST 2 (\"site2-db\", \"site3-db\")"
        );
    }

    #[test]
    fn streaming_is_verified_and_without_password() {
        let settings = Settings {
            upstream: Some(name("site2-db")),
            ..Settings::default()
        };
        let conf = render_conf(&example(), &settings);
        let line = conf.lines().find(|l| l.starts_with("primary_conninfo"));
        let line = line.unwrap();
        assert!(line.contains("sslmode=''verify-full''"), "{line}");
        assert!(!line.contains("password="), "{line}");
        assert!(conf.contains("primary_slot_name = 'site1_db'"), "{conf}");
    }

    #[test]
    fn the_users_parameters_win_over_defaults_and_not_over_the_guard() {
        let mut config = example();
        config
            .parameters
            .insert("wal_sender_timeout".into(), "9s".into());
        let conf = render_conf(&config, &Settings::default());
        let last = |key: &str| {
            let prefix = format!("{key} = ");
            conf.lines()
                .rfind(|line| line.starts_with(&prefix))
                .unwrap()
                .to_owned()
        };
        assert_eq!(last("wal_sender_timeout"), "wal_sender_timeout = '9s'");
        assert_eq!(last("ssl"), "ssl = 'on'");
    }

    #[test]
    fn only_encrypted_connections_are_let_in() {
        let hba = render_hba(&example());
        let rules = hba.lines().filter(|line| !line.starts_with('#'));
        for rule in rules {
            let encrypted = rule.starts_with("hostssl ") && rule.ends_with(" scram-sha-256");
            assert!(
                encrypted || rule.starts_with("local all \"postgres\" peer"),
                "{rule}"
            );
        }
        assert!(
            hba.contains("hostssl replication \"replicator\" site2-db "),
            "{hba}"
        );
        assert!(
            hba.contains("hostssl \"postgres\" \"vote\" 10.10.0.0/16 "),
            "{hba}"
        );
    }

    #[test]
    fn what_alter_system_left_of_owned_settings_goes() {
        let auto = "# Do not edit\nprimary_conninfo = 'host=x'\nwork_mem = '1MB'\n";
        assert_eq!(without_owned(auto), "# Do not edit\nwork_mem = '1MB'\n");
    }
}
