//! Sends a file of the operator's machine.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        report::Outcome,
        task::{Task, Upload, call, quoted},
    },
    HostRun, Stopped,
};
use crate::ports::remote::Command;

const SCRIPT: &str = include_str!("../shell/upload.sh");
/// Bytes a second that any connection should carry.
const SLOWEST: u64 = 200_000;

impl HostRun<'_> {
    pub(super) async fn upload(&mut self, task: &Task, upload: &Upload) -> Result<(), Stopped> {
        let started = Instant::now();
        let packed = match self.context.files.packed(&upload.from).await {
            Ok(packed) => packed,
            Err(why) => {
                let why = format!("cannot read {}: {why}", upload.from.display());
                return Err(self.failed(task, why, started.elapsed()));
            }
        };
        let keys: Vec<&str> = task
            .notify
            .iter()
            .map(|index| self.keys[*index].as_str())
            .collect();
        let arguments = [
            "hafail",
            &upload.dest,
            &upload.sha256,
            &upload.mode,
            &upload.owner,
            &upload.group,
        ];
        let command = format!("exec bash -c {}", quoted(SCRIPT));
        let size = packed.len() as u64;
        let command = Command {
            script: call(&command, &[&arguments, &*keys].concat()),
            stdin: packed.as_ref().clone(),
            root: true,
            deadline: task.act_time + Duration::from_secs(size / SLOWEST),
        };
        let answer = self.context.remote.run(self.host, command).await;
        let took = started.elapsed();
        match answer {
            Ok(output) if output.status == 0 => {
                self.pending.extend(&task.notify);
                let what = format!("sent {} KiB", size.div_ceil(1024));
                self.ended(task, Outcome::Changed { what, diff: None }, took);
                Ok(())
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let why = format!("exit status {}\n{}", output.status, self.shown(&said));
                Err(self.failed(task, why, took))
            }
            Err(error) => Err(self.unreachable(task, &error, took)),
        }
    }
}
