//! `hafail status`.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use owo_colors::Stream::Stdout;

use super::{CommandError, Context, Exit, Output};
use crate::{
    adapters::{journal_file::JournalDirectory, world::Deployment},
    ports::store::Store,
    probe::{Places, view},
    status::{Finding, Look, Seen, Severity, View, document, findings, render},
    topology::Topology,
};

/// Arguments of `hafail status`.
#[derive(clap::Args)]
pub struct Args {
    /// Look again and again, and draw what has changed; every second, or as
    /// often as said.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u64).range(1..=3600), require_equals = true)]
    watch: Option<u64>,
}

/// Looks at everything and says what was seen.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let mut page = Page::new(context, &topology);
    let Some(seconds) = args.watch else {
        let exit = page.draw(&context.deployment(&topology).await?).await;
        page.remember();
        return Ok(exit);
    };
    let every = Duration::from_secs(seconds);
    let mut deployment = context.deployment(&topology).await?;
    loop {
        page.draw(&deployment).await;
        page.remember();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
            () = tokio::time::sleep(every) => {}
        }
        // Hosts come and go; the ways to those that stay are kept.
        let again = context.deployment(&topology).await?;
        if again.found != deployment.found {
            deployment = again;
        }
    }
}

struct Page<'a> {
    context: &'a Context,
    topology: &'a Topology,
    seen: Seen,
    /// The journal of this machine; none where there is none, or it cannot be
    /// read.
    store: Option<JournalDirectory>,
    /// What was drawn last, without its time.
    last: Option<String>,
}

impl<'a> Page<'a> {
    fn new(context: &'a Context, topology: &'a Topology) -> Self {
        let text = std::fs::read_to_string(seen_file(context, topology));
        let seen = text.ok().and_then(|text| serde_json::from_str(&text).ok());
        Self {
            context,
            topology,
            seen: seen.unwrap_or_default(),
            store: super::operating::store(context, topology).ok(),
            last: None,
        }
    }

    async fn draw(&mut self, deployment: &Deployment) -> Exit {
        let shared = super::operating::shared_journals(self.topology, &deployment.world);
        let own = self.store.as_ref().map(|store| store as &dyn Store);
        let mut view = view(Places {
            topology: self.topology,
            world: &deployment.world,
            remote: &*deployment.remote,
            found: &deployment.found,
            store: shared.as_ref().map(|store| store as &dyn Store).or(own),
        })
        .await;
        self.seen.exchange(&mut view);
        let findings = findings(self.topology, &view);
        self.show(&view, &findings);
        if findings.iter().all(|finding| finding.severity == Severity::Good) {
            Exit::Success
        } else {
            Exit::Differs
        }
    }

    fn show(&mut self, view: &View, findings: &[Finding]) {
        let text = render(self.topology, view, findings, look());
        let timeless = text.replace(&view.snapshot.taken, "");
        if self.last.as_ref() == Some(&timeless) {
            return;
        }
        let again = self.last.replace(timeless).is_some();
        let terminal = std::io::stdout().is_terminal() && self.context.ui.output == Output::Text;
        if terminal && again {
            // To the first line and column, then clear what is below.
            let _ = write!(std::io::stdout(), "\u{1b}[H\u{1b}[J");
        }
        self.context.ui.data(&text, &document(self.topology, view, findings));
    }

    /// Keeps when things were last seen. A page is worth more than its memory:
    /// what cannot be kept is forgotten.
    fn remember(&self) {
        let file = seen_file(self.context, self.topology);
        if let Ok(text) = serde_json::to_vec(&self.seen) {
            let _ = std::fs::write(file, text);
        }
    }
}

fn seen_file(context: &Context, topology: &Topology) -> PathBuf {
    context.home.join(&topology.name).join("seen.json")
}

/// Wide as the terminal; as wide as the text needs where there is none.
fn look() -> Look {
    let terminal = std::io::stdout().is_terminal();
    let mut colour = false;
    if terminal {
        use owo_colors::OwoColorize;
        let marked = "x".if_supports_color(Stdout, |text| text.bold()).to_string();
        colour = marked != "x";
    }
    Look {
        width: terminal.then(width).flatten(),
        colour,
    }
}

fn width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}
