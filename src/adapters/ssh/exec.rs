//! One command on an open channel.

use std::borrow::Cow;

use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client::Msg};
use tokio::runtime::Handle;

use crate::{
    inventory::HostEntry,
    ports::remote::{Command, Output, RemoteError},
};

/// Number of the stream that carries standard error.
const STDERR: u32 = 1;

/// Starts the command, feeds it and reads until its end.
pub(super) async fn run(
    entry: &HostEntry,
    channel: Channel<Msg>,
    command: &Command,
) -> Result<Output, RemoteError> {
    let broken = |why: String| RemoteError::Broken {
        host: entry.name.clone(),
        why,
    };
    let line = line(entry, &command.script, command.root);
    let started = channel.exec(false, line).await;
    started.map_err(|error| broken(error.to_string()))?;
    let (mut reader, writer) = channel.split();
    let writer = Closing(Some(writer));
    // Both at once: a command may answer before it has read everything, and
    // it may end without reading at all.
    let reading = read(&mut reader);
    tokio::pin!(reading);
    let ended = tokio::select! {
        ended = &mut reading => ended,
        () = writer.feed(&command.stdin) => reading.await,
    };
    let output = ended.ok_or_else(|| broken("it closed before the command ended".to_owned()))?;
    match sudo_refusal(entry, command, &output) {
        Some(refused) => Err(refused),
        None => Ok(output),
    }
}

/// Starts a script as root whose streams are the channel's.
pub(super) async fn start(
    entry: &HostEntry,
    channel: Channel<Msg>,
    script: &str,
) -> Result<Channel<Msg>, RemoteError> {
    let started = channel.exec(false, line(entry, script, true)).await;
    started.map_err(|error| RemoteError::Broken {
        host: entry.name.clone(),
        why: error.to_string(),
    })?;
    Ok(channel)
}

/// What the login shell of the user is given.
fn line(entry: &HostEntry, script: &str, root: bool) -> String {
    let script = quoted(script);
    if root && entry.ssh.user != "root" {
        format!("exec sudo -n -- sh -c {script}")
    } else {
        format!("exec sh -c {script}")
    }
}

/// Quotes for a shell, so that it is one word and nothing in it is special.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Closes its channel when it is dropped, so that the host ends what was given
/// up here.
struct Closing(Option<ChannelWriteHalf<Msg>>);

impl Closing {
    /// Errors are left to the reader, which sees the same end of the channel.
    async fn feed(&self, stdin: &[u8]) {
        if let Some(writer) = &self.0
            && (stdin.is_empty() || writer.data(stdin).await.is_ok())
        {
            let _ = writer.eof().await;
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { writer.close().await });
        }
    }
}

async fn read(reader: &mut ChannelReadHalf) -> Option<Output> {
    let mut output = Output {
        status: 0,
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let mut ended = false;
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => output.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: STDERR } => {
                output.stderr.extend_from_slice(&data);
            }
            ChannelMsg::ExitStatus { exit_status } => {
                output.status = exit_status;
                ended = true;
            }
            ChannelMsg::ExitSignal { signal_name, .. } => {
                output.status = 128 + signal_number(&signal_name);
                ended = true;
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    ended.then_some(output)
}

fn signal_number(signal: &Sig) -> u32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(_) => 0,
    }
}

/// The error of `sudo` itself, which never ran the command.
fn sudo_refusal(entry: &HostEntry, command: &Command, output: &Output) -> Option<RemoteError> {
    let asked = command.root && entry.ssh.user != "root";
    if !asked || output.status == 0 || !output.stdout.is_empty() {
        return None;
    }
    let stderr: Cow<'_, str> = String::from_utf8_lossy(&output.stderr);
    let refused = stderr.starts_with("sudo: ") || stderr.contains("sudo: not found");
    refused.then(|| RemoteError::Root {
        host: entry.name.clone(),
        user: entry.ssh.user.clone(),
        why: stderr.trim().to_owned(),
    })
}
