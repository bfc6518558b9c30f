//! Health checks, really probed from the machine of the lab.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::info;

use super::{HealthCheck, Probe, Zones};

/// Limits of a probe as Route 53 has them.
const TCP_CONNECT: Duration = Duration::from_secs(10);
const HTTP_CONNECT: Duration = Duration::from_secs(4);
const HTTP_TOTAL: Duration = Duration::from_secs(6);

/// Follows the definitions; one task per check.
pub(super) async fn follow(zones: Arc<watch::Sender<Zones>>) {
    let mut changes = zones.subscribe();
    let mut running: BTreeMap<String, (HealthCheck, Task)> = BTreeMap::new();
    loop {
        let wanted = changes.borrow_and_update().health_checks.clone();
        running.retain(|id, (check, _)| wanted.get(id) == Some(check));
        zones.send_if_modified(|zones| {
            let before = zones.health.len();
            zones.health.retain(|id, _| wanted.contains_key(id));
            zones.health.len() != before
        });
        for (id, check) in wanted {
            running.entry(id.clone()).or_insert_with(|| {
                let task = tokio::spawn(watch_one(zones.clone(), id, check.clone()));
                (check, Task(task))
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// A task that ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn watch_one(zones: Arc<watch::Sender<Zones>>, id: String, check: HealthCheck) {
    if check.disabled {
        report(&zones, &id, &check, true);
        return;
    }
    let mut streak = Streak::new(check.failure_threshold);
    let mut ticks = interval(check.interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(up) = streak.push(probe(&check).await) {
            report(&zones, &id, &check, up);
        }
    }
}

/// Writes a verdict unless the check has changed meanwhile.
fn report(zones: &watch::Sender<Zones>, id: &str, check: &HealthCheck, up: bool) {
    let healthy = up != check.inverted;
    zones.send_if_modified(|zones| {
        let current = zones.health_checks.get(id) == Some(check);
        if !current || zones.health.get(id) == Some(&healthy) {
            return false;
        }
        info!(id, healthy, address = %check.address, port = check.port, "health check");
        zones.health.insert(id.to_owned(), healthy);
        true
    });
}

/// Equal results in a row.
struct Streak {
    threshold: u32,
    last: bool,
    length: u32,
}

impl Streak {
    fn new(threshold: u32) -> Self {
        Self {
            threshold: threshold.max(1),
            last: true,
            length: 0,
        }
    }

    /// Takes a result; the verdict once `threshold` equal ones came in a row.
    fn push(&mut self, up: bool) -> Option<bool> {
        self.length = if up == self.last {
            self.length.saturating_add(1)
        } else {
            1
        };
        self.last = up;
        (self.length >= self.threshold).then_some(up)
    }
}

/// One probe. Addresses other than loopback are not public in the lab, and
/// dialling them could leave the machine: they count as failing.
async fn probe(check: &HealthCheck) -> bool {
    if !check.address.is_loopback() {
        return false;
    }
    let target = SocketAddr::new(check.address, check.port);
    match &check.probe {
        Probe::Tcp => {
            matches!(
                timeout(TCP_CONNECT, TcpStream::connect(target)).await,
                Ok(Ok(_))
            )
        }
        Probe::Http { path, host } => get("http", target, path, host.as_deref()).await,
        Probe::Https { path, host } => get("https", target, path, host.as_deref()).await,
    }
}

async fn get(scheme: &str, target: SocketAddr, path: &str, host: Option<&str>) -> bool {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_danger_accept_invalid_certs(true)
        .connect_timeout(HTTP_CONNECT)
        .timeout(HTTP_TOTAL)
        .build();
    let Ok(client) = client else { return false };
    let path = path.trim_start_matches('/');
    let mut request = client.get(format!("{scheme}://{target}/{path}"));
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let response = request.send().await;
    response
        .is_ok_and(|response| response.status().is_success() || response.status().is_redirection())
}

#[cfg(test)]
mod tests {
    use super::Streak;

    #[test]
    fn a_verdict_needs_equal_results_in_a_row() {
        let mut streak = Streak::new(3);
        let results = [
            false, false, true, false, false, false, false, true, true, true,
        ];
        let verdicts: Vec<_> = results.into_iter().map(|up| streak.push(up)).collect();
        let (none, down, up) = (None, Some(false), Some(true));
        assert_eq!(
            verdicts,
            [none, none, none, none, none, down, down, none, none, up]
        );
    }
}
