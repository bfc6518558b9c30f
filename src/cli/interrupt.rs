//! Ctrl-C in commands that change something: the state is named, then they end.

use tokio_util::sync::CancellationToken;

use super::{Context, Exit};

impl Context {
    /// Cancelled by the first Ctrl-C since the first call, for all parts of a
    /// command alike: none comes between two of them and is lost. The second
    /// Ctrl-C ends the process.
    pub(super) fn interrupted(&self) -> CancellationToken {
        self.interrupt
            .get_or_init(|| listen(self.ui.interactive))
            .clone()
    }
}

fn listen(interactive: bool) -> CancellationToken {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            if interactive {
                tracing::warn!("stopping after what runs now; Ctrl-C again stops at once");
            }
            cancel.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
    stop
}
