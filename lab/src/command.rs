//! Running other programs: one place, so that every failure names the command
//! and what it said.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A command that could not be run or did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program could not be started.
    #[error("cannot run `{command}`: {source}")]
    Start {
        command: String,
        source: std::io::Error,
    },
    /// It ended with another status than 0.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        command: String,
        status: std::process::ExitStatus,
        stderr: String,
    },
}

/// Runs `program` and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the error holds its standard error.
pub async fn run(program: &str, args: &[&str]) -> Result<String, CommandError> {
    run_with_input(program, args, b"").await
}

/// As [`run`], with `input` on standard input.
///
/// # Errors
/// As [`run`].
pub async fn run_with_input(
    program: &str,
    args: &[&str],
    input: &[u8],
) -> Result<String, CommandError> {
    let start = |source| CommandError::Start {
        command: shown(program, args),
        source,
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why on stderr.
        let _ = stdin.write_all(input).await;
    }
    let output = child.wait_with_output().await.map_err(start)?;
    finish(program, args, &output)
}

fn finish(program: &str, args: &[&str], output: &Output) -> Result<String, CommandError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(CommandError::Failed {
        command: shown(program, args),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn shown(program: &str, args: &[&str]) -> String {
    let mut text = program.to_owned();
    for arg in args {
        text.push(' ');
        text.push_str(arg);
    }
    const LONGEST: usize = 200;
    if let Some((cut, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_input_and_failure_come_back() {
        assert_eq!(run_with_input("cat", &[], b"hello").await.unwrap(), "hello");
        let error = run("sh", &["-c", "echo no >&2; exit 3"]).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.ends_with("no"), "{text}");
        assert!(run("/does/not/exist", &[]).await.is_err());
    }
}
