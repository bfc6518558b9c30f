//! Reads `show stat` of HAProxy.

use crate::observation::{ProxyServer, ProxyStatus, ServerAdmin};

/// Where connections wait while no server is up: none itself.
const HOLD: &str = "hold";

/// The servers by backend.
///
/// # Errors
/// What is missing or not understood.
pub fn status(text: &str) -> Result<ProxyStatus, String> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let header = header.ok_or_else(|| format!("no statistics: {}", text.trim()))?;
    let names: Vec<_> = header.split(',').collect();
    let column = |name: &str| {
        let found = names.iter().position(|column| *column == name);
        found.ok_or_else(|| format!("the statistics have no column {name}"))
    };
    // All of these stand before the first column that may be quoted.
    let backend = column("pxname")?;
    let server = column("svname")?;
    let sessions = column("scur")?;
    let state = column("status")?;
    let check = column("check_status")?;
    let mut status = ProxyStatus::new();
    for line in lines {
        let fields: Vec<_> = line.split(',').collect();
        let field = |column: usize| {
            let field = fields.get(column).copied();
            field.ok_or_else(|| format!("a line of the statistics is too short: {line}"))
        };
        if field(server)? == HOLD {
            continue;
        }
        let servers = status.entry(field(backend)?.to_owned()).or_default();
        let entry = ProxyServer {
            sessions: field(sessions)?.parse().unwrap_or(0),
            ..judge(field(state)?, field(check)?)
        };
        servers.insert(field(server)?.to_owned(), entry);
    }
    Ok(status)
}

/// `UP`, `UP 1/2`, `DOWN`, `DOWN 1/2`, `NOLB`, `MAINT`, `MAINT (via …)`,
/// `DRAIN`, `no check`; while draining only the check tells more.
fn judge(state: &str, check: &str) -> ProxyServer {
    let first = state.split_whitespace().next().unwrap_or_default();
    let (admin, up) = match first {
        "MAINT" => (ServerAdmin::Maintenance, false),
        "DRAIN" => (ServerAdmin::Drain, check.is_empty() || check.contains("OK")),
        "UP" | "NOLB" | "no" => (ServerAdmin::Ready, true),
        _ => (ServerAdmin::Ready, false),
    };
    ProxyServer {
        admin,
        up,
        sessions: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read() {
        let table = [
            ("UP", "L7OK", ServerAdmin::Ready, true),
            ("UP 1/2", "* L7STS", ServerAdmin::Ready, true),
            ("DOWN", "L4CON", ServerAdmin::Ready, false),
            ("DOWN 1/2", "L7OK", ServerAdmin::Ready, false),
            ("MAINT", "", ServerAdmin::Maintenance, false),
            ("MAINT (via pg/x)", "", ServerAdmin::Maintenance, false),
            ("DRAIN", "L7OK", ServerAdmin::Drain, true),
            ("DRAIN", "L4TOUT", ServerAdmin::Drain, false),
            ("no check", "", ServerAdmin::Ready, true),
        ];
        for (state, check, admin, up) in table {
            let server = judge(state, check);
            assert_eq!((server.admin, server.up), (admin, up), "{state} {check}");
        }
    }

    #[test]
    fn where_connections_wait_is_no_server() {
        let text = "# pxname,svname,scur,status,check_status\n\
                    pg_primary,site1-db,1,UP,L7OK\npg_primary,hold,0,no check,\n";
        let status = status(text).unwrap();
        let servers: Vec<_> = status["pg_primary"].keys().collect();
        assert_eq!(servers, ["site1-db"]);
    }

    #[test]
    fn an_answer_that_is_no_statistics_is_an_error() {
        assert!(
            status("Permission denied\n")
                .unwrap_err()
                .contains("Permission denied")
        );
        let error = status("# pxname,svname,status\n").unwrap_err();
        assert!(error.contains("scur"), "{error}");
    }
}
