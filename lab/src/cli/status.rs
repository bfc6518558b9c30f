//! `hafail-lab status` and `hafail-lab env`.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, bail};

use crate::moto;
use crate::process::Process;
use crate::reconcile::Report;
use crate::settings::Settings;
use crate::ui;

/// What the daemon knows.
pub(super) async fn report(settings: &Settings) -> anyhow::Result<Report> {
    if Process::recorded(&settings.file("daemon.pid")).is_none() {
        bail!("lab `{}` is not up; hafail-lab up starts it", settings.name);
    }
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{}/_lab/report", settings.api());
    let answer = client
        .get(url)
        .send()
        .await
        .context("the lab does not answer")?;
    Ok(answer.error_for_status()?.json().await?)
}

pub(super) async fn run(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let report = report(settings).await?;
    if json {
        let text = serde_json::to_string_pretty(&report)?;
        ui::data(&format!("{text}\n"))?;
        return Ok(());
    }
    ui::data(&table(settings, &report))?;
    Ok(())
}

fn table(settings: &Settings, report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for service in ["daemon", "registry", "moto"] {
        let running = Process::recorded(&settings.file(&format!("{service}.pid")));
        let state = running.map_or("not running".to_owned(), |p| {
            format!("running, pid {}", p.pid)
        });
        let _ = writeln!(text, "{service:<10} {state}");
    }
    let _ = writeln!(text, "{:<10} http://{}", "api", settings.api());
    let _ = writeln!(text, "{:<10} {}", "dns", settings.dns());
    let _ = writeln!(text, "{:<10} {}", "registry", settings.registry());
    for i in &report.instances {
        let name = i.name.as_deref().unwrap_or("-");
        let public = i.public_ip.as_deref().unwrap_or("-");
        let _ = writeln!(
            text,
            "{} {name:<24} {:<14} wanted {:<4} machine {:<7} {:<15} {public}",
            i.id, i.region, i.wanted, i.machine, i.private_ip
        );
    }
    for problem in &report.problems {
        let _ = writeln!(text, "problem: {problem}");
    }
    text
}

/// The variables, as a shell reads them. The programs beside this one are
/// found from then on.
pub(super) fn environment(settings: &Settings) -> anyhow::Result<String> {
    if settings.record()?.is_none() {
        bail!("lab `{}` is not up; hafail-lab up starts it", settings.name);
    }
    let program = std::env::current_exe()?;
    let programs = program.parent().unwrap_or(Path::new("/")).display();
    Ok(format!(
        "case \":$PATH:\" in *\":{programs}:\"*) ;; *) PATH=\"{programs}:$PATH\" ;; esac\n\
         export AWS_ENDPOINT_URL=http://{}\n\
         export AWS_ACCESS_KEY_ID=lab\n\
         export AWS_SECRET_ACCESS_KEY=lab\n\
         export AWS_EC2_METADATA_DISABLED=true\n\
         export HAFAIL_RESOLVERS={}\n\
         export HAFAIL_LAB_REGISTRY={}\n\
         export HAFAIL_LAB_PYTHON={}\n",
        settings.api(),
        settings.dns(),
        settings.registry(),
        moto::python(&settings.cache).display()
    ))
}
