//! Reads the section `replication` of Redis' INFO.

use std::collections::BTreeMap;

use crate::observation::{QueueRole, QueueStatus};

/// The lines `name:value`.
pub fn fields(text: &str) -> BTreeMap<String, String> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim_end().split_once(':'));
    lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Role and offset; the length of the queue is not in there.
///
/// # Errors
/// The name of what is missing or not understood.
pub fn status(fields: &BTreeMap<String, String>) -> Result<QueueStatus, String> {
    let text = |name: &str| {
        let value = fields.get(name).map(String::as_str);
        value.ok_or_else(|| format!("INFO replication has no {name}"))
    };
    let number = |name: &str| {
        let value = text(name)?;
        value
            .parse::<u64>()
            .map_err(|_| format!("{name} is `{value}`, not a number"))
    };
    let (role, offset) = match text("role")? {
        "master" => {
            let replicas = number("connected_slaves")?;
            (
                QueueRole::Master { replicas },
                number("master_repl_offset")?,
            )
        }
        "slave" => (
            QueueRole::Replica {
                of: text("master_host")?.to_owned(),
                linked: text("master_link_status")? == "up",
            },
            // What was received, replayed or not.
            number("slave_read_repl_offset").or_else(|_| number("slave_repl_offset"))?,
        ),
        other => return Err(format!("role is `{other}`")),
    };
    Ok(QueueStatus {
        role,
        offset,
        votes: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n\
        slave0:ip=10.20.1.5,port=6379,state=online,offset=4711,lag=0\r\n\
        master_repl_offset:4712\r\nrepl_backlog_size:16777216\r\n";
    const REPLICA: &str = "# Replication\r\nrole:slave\r\nmaster_host:site1-queue\r\n\
        master_port:6379\r\nmaster_link_status:down\r\nslave_read_repl_offset:4712\r\n\
        slave_repl_offset:4700\r\nconnected_slaves:0\r\nmaster_repl_offset:4700\r\n";

    #[test]
    fn roles_are_read() {
        let master = status(&fields(MASTER)).unwrap();
        assert_eq!(master.role, QueueRole::Master { replicas: 1 });
        assert_eq!(master.offset, 4712);
        let replica = status(&fields(REPLICA)).unwrap();
        let role = QueueRole::Replica {
            of: "site1-queue".into(),
            linked: false,
        };
        assert_eq!((replica.role, replica.offset), (role, 4712));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = status(&fields("role:master\r\n")).unwrap_err();
        assert_eq!(error, "INFO replication has no connected_slaves");
        assert!(
            status(&fields("role:sentinel"))
                .unwrap_err()
                .contains("sentinel")
        );
    }
}
