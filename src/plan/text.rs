//! A plan as people read it.

use std::fmt::{self, Write as _};

use crate::{ids::HostName, step::Part};

use super::{Kind, Loss, Plan, Planned};

impl Plan {
    /// What the plan does, in one line.
    #[must_use]
    pub fn title(&self) -> String {
        match self.kind {
            Kind::Switchover => format!(
                "switchover of {}: {} ({}) hands over to {} ({})",
                self.topology, self.from, self.old, self.to, self.new
            ),
            Kind::Failover => format!(
                "failover of {}: {} ({}) takes over from {} ({})",
                self.topology, self.to, self.new, self.from, self.old
            ),
            Kind::Rejoin => format!(
                "rejoin of {}: a standby of {} comes back",
                self.topology, self.new
            ),
            Kind::Heal => format!(
                "heal of {}: the machine of {} comes back",
                self.topology,
                self.heals().map_or("a host", HostName::as_str)
            ),
            Kind::Redirect => format!(
                "redirect of {}: everything follows {} ({}), which is primary already",
                self.topology, self.to, self.new
            ),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title())?;
        for reason in &self.because {
            writeln!(f, "  because {reason}")?;
        }
        if self.commit().is_some() {
            writeln!(f, "  loss of acknowledged writes: {}", self.loss)?;
        }
        for (part, heading) in headings(self) {
            let mut steps = self.part(part).peekable();
            if steps.peek().is_some() {
                writeln!(f, "\n{heading}")?;
            }
            steps.try_for_each(|planned| line(f, planned))?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "\nleft out")?;
        }
        for left in &self.left_out {
            writeln!(f, "   -  {} ({})", left.what, left.why)?;
        }
        write!(f, "\nplan {}", self.digest())
    }
}

fn headings(plan: &Plan) -> [(Part, &'static str); 3] {
    let forward = if plan.commit().is_some() {
        "then (retried until done, never undone)"
    } else {
        "steps (retried until done, never undone)"
    };
    [
        (
            Part::Reversible,
            "first (undone in reverse order should any of it fail)",
        ),
        (Part::Commit, "point of no return"),
        (Part::Forward, forward),
    ]
}

fn line(f: &mut fmt::Formatter<'_>, planned: &Planned) -> fmt::Result {
    let mut text = format!("  {:>2}  {}", planned.number, planned.step);
    // In a chain the order says it all; only jumps are worth their place.
    let follows_the_last = planned.after == [planned.number.wrapping_sub(1)];
    if !planned.after.is_empty() && !follows_the_last {
        let after: Vec<_> = planned.after.iter().map(ToString::to_string).collect();
        write!(text, "  [after {}]", after.join(", "))?;
    }
    writeln!(f, "{text}")
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { because } => write!(f, "none, {because}"),
            Self::Bytes { bytes, because } => write!(f, "{bytes} bytes of log, {because}"),
            Self::Unknown { because } => write!(f, "unknown, {because}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Switchover => "switchover",
            Self::Failover => "failover",
            Self::Rejoin => "rejoin",
            Self::Redirect => "redirect",
            Self::Heal => "heal",
        })
    }
}
