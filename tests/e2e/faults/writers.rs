//! Who writes while something fails: a client of the database at the load
//! balancer of each site, voters, and one writer inside each database host
//! that waits for no standby.

use std::fmt;

use serde_json::Value;

use super::{DATABASES, DEPLOYMENT, Hafail, on_host};
use crate::lab::{Started, try_on_host};

/// From a fault to the first accepted write, at worst, on a machine that
/// builds at the same time. `scripts/bench` measures.
const RECOVERED: u64 = 15_000;

/// What writers saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// At the load balancers of site1 and site2.
    commits: [Value; 2],
    votes: Value,
    /// The primary afterwards.
    pub primary: String,
    /// For how long both databases committed, by their direct writers.
    pub overlap_ms: u64,
}

impl Seen {
    /// The least of the longest gaps: that of a client whose way was never cut.
    pub fn gap(&self) -> u64 {
        let gaps = self.commits.iter().map(gap);
        gaps.min().expect("there are two")
    }

    pub fn gaps(&self) -> String {
        let [one, two] = &self.commits;
        format!(
            "site1 {:>6}  site2 {:>6}  votes {:>6}",
            gap(one),
            gap(two),
            gap(&self.votes)
        )
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, two] = [&self.commits[0], &self.commits[1]].map(|load| &load["accepted"]);
        write!(
            f,
            "longest gap (ms): {}; accepted {one} and {two} commits, {} votes; 0 lost; two writers for {} ms",
            self.gaps(),
            self.votes["accepted"],
            self.overlap_ms
        )
    }
}

fn gap(load: &Value) -> u64 {
    load["longest_gap_ms"].as_u64().unwrap_or(u64::MAX)
}

/// Lets something happen while all of them work, for so long at least. No
/// accepted write may be lost, none that was refused may be there, and never
/// may two databases accept writes.
pub fn work(hafail: &Hafail, time: &str, fault: impl FnOnce()) -> Seen {
    let seen = work_beside(hafail, time, fault);
    assert_eq!(seen.overlap_ms, 0, "two accepted writes at once: {seen}");
    seen
}

/// The same, where a database may accept writes of its own host once more.
pub fn work_beside(hafail: &Hafail, time: &str, fault: impl FnOnce()) -> Seen {
    let directs = DATABASES.map(Direct::start);
    let client = |site: &str| {
        let arguments = [
            "load",
            "--sql",
            "--site",
            site,
            "--duration",
            time,
            "--every",
            "10ms",
        ];
        hafail.start(&arguments)
    };
    let voters = [
        "load",
        "--duration",
        time,
        "--rate",
        "20",
        "--concurrency",
        "4",
    ];
    let mut loads: Vec<Started> = vec![client("site1"), client("site2"), hafail.start(&voters)];
    for load in &mut loads {
        load.until(|line| line.contains("accepted"));
    }
    fault();
    let ended: Vec<Value> = loads.into_iter().map(|load| load.end().json()).collect();
    for direct in directs {
        direct.stop();
    }
    for load in &ended {
        let account = (&load["lost"], &load["phantom"]);
        assert_eq!(account, (&0.into(), &0.into()), "{load:#}");
    }
    let [one, two, votes] = <[Value; 3]>::try_from(ended).expect("three were started");
    let seen = Seen {
        commits: [one, two],
        votes,
        primary: hafail.primary(),
        overlap_ms: overlap_ms(),
    };
    let longest = seen.gap().max(gap(&seen.votes));
    assert!(longest < RECOVERED, "too long: {seen}");
    seen
}

/// Writes straight at a database, on its own host, waiting for no standby:
/// whatever it commits there says that the host accepted writes then.
struct Direct(&'static str);

const DIRECT: &str = "cat > /run/direct.sh <<'END'
echo $$ > /run/direct.pid
while :; do
    if psql --quiet --no-psqlrc -h /var/run/postgresql -U postgres -d postgres -c \"SET synchronous_commit = local; CREATE TABLE IF NOT EXISTS direct (n int); INSERT INTO direct VALUES (1)\" > /dev/null 2>&1; then
        date +%s%N >> /run/direct.log
    fi
    sleep 0.02
done
END
chmod 755 /run/direct.sh; touch /run/direct.log /run/direct.pid; chown postgres /run/direct.log /run/direct.pid
setsid --fork timeout 150 runuser -u postgres -- bash /run/direct.sh > /dev/null 2>&1 < /dev/null";

impl Direct {
    fn start(host: &'static str) -> Self {
        on_host(
            DEPLOYMENT,
            host,
            &format!("rm -f /run/direct.log; {DIRECT}"),
        );
        Self(host)
    }

    fn stop(&self) {
        // The host may be off: then its writer is gone as well.
        let script = "kill $(cat /run/direct.pid) || true";
        let _ = try_on_host(DEPLOYMENT, self.0, script);
    }
}

/// For how long two databases accepted writes, by the one clock that hosts of
/// a lab share. Where the writer changes, it changes once; a commit of the old
/// one after the first of the new one counts up to it.
fn overlap_ms() -> u64 {
    let [one, two] = DATABASES.map(|host| {
        let text = try_on_host(DEPLOYMENT, host, "cat /run/direct.log").stdout;
        let lines: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        lines
    });
    let span = |all: &[u64]| all.first().copied().zip(all.last().copied());
    let Some(((first, last), (begin, end))) = span(&one).zip(span(&two)) else {
        return 0;
    };
    last.min(end).saturating_sub(first.max(begin)) / 1_000_000
}
