//! Who writes while something fails: a client of the database at the load
//! balancer of each site, voters, and one writer inside each database host
//! that waits for no standby.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{DATABASES, DEPLOYMENT, Hafail, on_host};
use crate::lab::{PATIENCE, Started, try_on_host};

/// Longer than any of them works; whatever ends a test, they end by then.
const LONGEST: &str = "600s";

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

/// Lets something happen while all of them work, for so long at least and
/// until all are accepted again. No accepted write may be lost, none that was
/// refused may be there, and never may two databases accept writes.
pub fn work(hafail: &Hafail, time: Duration, fault: impl FnOnce()) -> Seen {
    let seen = work_beside(hafail, time, fault);
    assert_eq!(seen.overlap_ms, 0, "two accepted writes at once: {seen}");
    seen
}

/// The same, where a database may accept writes of its own host once more.
pub fn work_beside(hafail: &Hafail, time: Duration, fault: impl FnOnce()) -> Seen {
    let directs = DATABASES.map(Direct::start);
    let load = |arguments: &[&str]| {
        let all = [&["load", "--duration", LONGEST], arguments].concat();
        hafail.start(&all)
    };
    let client = |site| load(&["--sql", "--site", site, "--every", "20ms"]);
    let voters = load(&["--rate", "20", "--concurrency", "4"]);
    let mut loads = [client("site1"), client("site2"), voters];
    for load in &mut loads {
        load.until(|line| accepted(line) > Some(0));
    }
    let end = Instant::now() + time;
    fault();
    let end = end.max(Instant::now());
    for load in &mut loads {
        while load.next_by(end).is_ok() {}
    }
    let ended = loads.map(|mut load| {
        accepted_again(&mut load);
        load.interrupt();
        load.end().json()
    });
    for direct in directs {
        direct.stop();
    }
    for load in &ended {
        let account = (&load["lost"], &load["phantom"]);
        assert_eq!(account, (&0.into(), &0.into()), "{load:#}");
    }
    let [one, two, votes] = ended;
    Seen {
        commits: [one, two],
        votes,
        primary: hafail.primary(),
        overlap_ms: overlap_ms(),
    }
}

/// Waits until more is accepted from one line to a later one.
fn accepted_again(load: &mut Started) {
    let limit = Instant::now() + PATIENCE;
    let mut before = None;
    loop {
        let line = load.next_by(limit);
        let line = line.unwrap_or_else(|_| panic!("is accepted no more:\n{}", load.seen()));
        let now = accepted(&line);
        if before.is_some() && now > before {
            return;
        }
        before = before.or(now);
    }
}

/// `4.2 s: 21 sent, 20 accepted, …`
fn accepted(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" accepted")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// Writes straight at a database, on its own host, waiting for no standby:
/// whatever it commits there says that the host accepted writes then, to the
/// microsecond. A session that is there before a fault writes on through it.
struct Direct(&'static str);

const DIRECT: &str = r"cat > /run/direct.sql <<'END'
SET synchronous_commit = local;
SET client_min_messages = warning;
CREATE TABLE IF NOT EXISTS direct (n int);
DO $$ BEGIN
    INSERT INTO direct VALUES (1);
    RAISE WARNING '%', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
EXCEPTION WHEN read_only_sql_transaction THEN
    NULL;
END $$
\watch 0.02
END
cat > /run/direct.sh <<'END'
echo $$ > /run/direct.pid
while :; do
    psql --quiet --no-psqlrc -h /var/run/postgresql -U postgres -d postgres < /run/direct.sql 2>&1 > /dev/null |
        sed --unbuffered --quiet 's/.*WARNING: *//p' >> /run/direct.log
    sleep 0.1
done
END
chmod 755 /run/direct.s*; touch /run/direct.log /run/direct.pid; chown postgres /run/direct.log /run/direct.pid
setsid --fork timeout 600 runuser -u postgres -- bash /run/direct.sh > /dev/null 2>&1 < /dev/null";

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
        let script = "kill $(cat /run/direct.pid); pkill -u postgres -x psql || true";
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
    last.min(end).saturating_sub(first.max(begin)) / 1_000
}
