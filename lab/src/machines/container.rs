//! Containers of the lab, by the Docker command line.

use std::collections::BTreeMap;

use super::seed::Seed;
use crate::command::{CommandError, run, run_with_input};
use crate::settings::LABEL;

/// Longest time an instance gets to shut down before its power is cut, seconds.
const GRACE_S: &str = "30";

/// A container could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} instance {instance}: {source}")]
pub struct MachineError {
    what: &'static str,
    instance: String,
    source: CommandError,
}

/// One container as Docker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container {
    /// Process id of its init, while it runs.
    pub pid: Option<u32>,
}

/// How the init of an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `reboot` inside.
    Reboot,
    /// `poweroff` inside, a crash, or a kill from outside.
    Off,
}

impl Exit {
    /// From the exit status of the container: the kernel turns `reboot(2)` in a
    /// process namespace into a signal to its init.
    #[must_use]
    pub fn of(status: i32) -> Self {
        const SIGHUP: i32 = 128 + 1;
        if status == SIGHUP {
            Self::Reboot
        } else {
            Self::Off
        }
    }
}

/// Name of an instance's container.
#[must_use]
pub fn container_name(lab: &str, instance: &str) -> String {
    format!("{LABEL}-{lab}-{instance}")
}

/// The instances of one lab.
#[derive(Clone, Debug)]
pub struct Machines {
    lab: String,
    image: String,
}

impl Machines {
    /// Instances of `lab`, made of `image`.
    #[must_use]
    pub fn new(lab: &str, image: &str) -> Self {
        Self {
            lab: lab.to_owned(),
            image: image.to_owned(),
        }
    }

    fn name(&self, instance: &str) -> String {
        container_name(&self.lab, instance)
    }

    fn failed(what: &'static str, instance: &str) -> impl FnOnce(CommandError) -> MachineError {
        let instance = instance.to_owned();
        move |source| MachineError {
            what,
            instance,
            source,
        }
    }

    /// All containers of the lab by instance.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn list(&self) -> Result<BTreeMap<String, Container>, MachineError> {
        let failed = || Self::failed("list", "*");
        let ids = list_ids(&self.lab).await.map_err(failed())?;
        let mut args = vec![
            "inspect",
            "--format",
            "{{index .Config.Labels \"hafail-lab.instance\"}} {{.State.Running}} {{.State.Pid}}",
        ];
        args.extend(ids.iter().map(String::as_str));
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let text = run("docker", &args).await.map_err(failed())?;
        Ok(text.lines().filter_map(parse_container).collect())
    }

    /// Makes a new instance; it does not run yet.
    ///
    /// # Errors
    /// When Docker refuses.
    pub async fn create(&self, seed: &Seed) -> Result<(), MachineError> {
        let name = self.name(&seed.instance_id);
        let failed = || Self::failed("create", &seed.instance_id);
        let labels = [
            format!("{LABEL}={}", self.lab),
            format!("{LABEL}.instance={}", seed.instance_id),
        ];
        let mut args = vec!["create", "--name", &name, "--hostname", &seed.hostname];
        args.extend(["--label", &labels[0], "--label", &labels[1]]);
        args.extend(MACHINE);
        args.extend([self.image.as_str(), "/sbin/init"]);
        run("docker", &args).await.map_err(failed())?;
        let target = format!("{name}:/");
        let result = run_with_input("docker", &["cp", "-", &target], &seed.archive()).await;
        if result.is_err() {
            // Without its data the instance must not be taken for one that exists.
            let _ = run("docker", &["rm", "-fv", &name]).await;
        }
        result.map_err(failed())?;
        Ok(())
    }

    /// Switches an instance on and returns the process id of its init.
    ///
    /// # Errors
    /// When Docker refuses or the instance has ended at once.
    pub async fn start(&self, instance: &str) -> Result<u32, MachineError> {
        let name = self.name(instance);
        let failed = || Self::failed("start", instance);
        run("docker", &["start", &name]).await.map_err(failed())?;
        let args = ["inspect", "--format", "{{.State.Pid}}", &name];
        let text = run("docker", &args).await.map_err(failed())?;
        Ok(text.trim().parse().unwrap_or(0))
    }

    /// Switches an instance off: shut down in order, or with its power cut.
    ///
    /// # Errors
    /// When Docker refuses.
    pub async fn stop(&self, instance: &str, power_cut: bool) -> Result<(), MachineError> {
        let name = self.name(instance);
        if power_cut {
            self.unplug(&name).await;
        }
        let args: &[&str] = if power_cut {
            &["kill", &name]
        } else {
            &["stop", "--time", GRACE_S, &name]
        };
        match run("docker", args).await {
            Err(CommandError::Failed { stderr, .. }) if is_off(&stderr) => Ok(()),
            other => other.map(drop).map_err(Self::failed("stop", instance)),
        }
    }

    /// Takes its network away, so that nobody hears its processes die: a
    /// machine without power does not end its connections.
    async fn unplug(&self, container: &str) {
        let args = ["inspect", "--format", "{{.State.Pid}}", container];
        let Ok(text) = run("docker", &args).await else {
            return;
        };
        // 0: it is off. Without a card there is nothing to be heard on.
        if let pid @ 1.. = text.trim().parse::<u32>().unwrap_or(0) {
            let pid = pid.to_string();
            let down = ["-t", &pid, "-n", "--", "ip", "link", "set", "eth0", "down"];
            let _ = run("nsenter", &down).await;
        }
    }

    /// Removes an instance with everything it wrote.
    ///
    /// # Errors
    /// When Docker refuses.
    pub async fn remove(&self, instance: &str) -> Result<(), MachineError> {
        let name = self.name(instance);
        let removed = run("docker", &["rm", "--force", "--volumes", &name]).await;
        removed.map(drop).map_err(Self::failed("remove", instance))
    }
}

/// What makes a container a machine. Its network card is plugged in later, so
/// that it has no way out before its packet filter stands.
const MACHINE: [&str; 19] = [
    "--network",
    "none",
    "--stop-signal",
    "SIGRTMIN+3",
    "--cap-add",
    "ALL",
    "--cap-drop",
    "SYS_RESOURCE",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "apparmor=unconfined",
    "--cgroupns=private",
    "--tmpfs",
    "/run",
    "--tmpfs",
    "/run/lock",
    "--volume",
    "/var/lib/docker",
];

fn is_off(stderr: &str) -> bool {
    stderr.contains("is not running") || stderr.contains("No such container")
}

fn parse_container(line: &str) -> Option<(String, Container)> {
    let mut words = line.split_whitespace();
    let (instance, running, pid) = (words.next()?, words.next()?, words.next()?);
    let pid = (running == "true").then(|| pid.parse().ok()).flatten();
    Some((instance.to_owned(), Container { pid }))
}

async fn list_ids(lab: &str) -> Result<Vec<String>, CommandError> {
    let filter = format!("label={LABEL}={lab}");
    let text = run("docker", &["ps", "--all", "--quiet", "--filter", &filter]).await?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Removes every container of a lab with its volumes.
///
/// # Errors
/// When Docker refuses.
pub async fn tear_down(lab: &str) -> Result<(), MachineError> {
    let failed = || Machines::failed("remove", "*");
    let ids = list_ids(lab).await.map_err(failed())?;
    if ids.is_empty() {
        return Ok(());
    }
    let mut args = vec!["rm", "--force", "--volumes"];
    args.extend(ids.iter().map(String::as_str));
    run("docker", &args).await.map_err(failed())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_read_as_docker_prints_them() {
        let line = "i-0123 true 4711";
        assert_eq!(
            parse_container(line),
            Some(("i-0123".into(), Container { pid: Some(4711) }))
        );
        let line = "i-0123 false 0";
        assert_eq!(
            parse_container(line),
            Some(("i-0123".into(), Container { pid: None }))
        );
    }

    #[test]
    fn a_reboot_inside_is_told_from_everything_else() {
        assert_eq!(Exit::of(129), Exit::Reboot);
        for off in [0, 130, 137, 255] {
            assert_eq!(Exit::of(off), Exit::Off);
        }
    }
}
