//! `hafail init`.

mod render;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use inquire::validator::Validation;

use super::{CommandError, Context, Exit};
use crate::topology::Topology;
use render::{Answers, Mode};

/// Arguments of `hafail init`. Whatever is not given is asked on a terminal,
/// and has the stated default elsewhere.
#[derive(clap::Args)]
pub struct Args {
    /// The file to write.
    #[arg(value_name = "FILE", default_value = "topology.yaml")]
    file: PathBuf,

    /// Name of the deployment [default: vote].
    #[arg(long)]
    name: Option<String>,

    /// Region of the first site, or a label of its place [default: eu-west-1].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,

    /// Region of the second site [default: us-east-1].
    #[arg(long, value_name = "REGION", conflicts_with = "one_site")]
    second_region: Option<String>,

    /// One site, without a standby.
    #[arg(long)]
    one_site: bool,

    /// How commits replicate to the second site [default: synchronous].
    #[arg(long, value_enum, conflicts_with = "one_site")]
    replication: Option<Mode>,

    /// Fail over automatically, with a witness in this third region; `none`:
    /// the operator decides [default: none].
    #[arg(long, value_name = "REGION", conflicts_with = "one_site")]
    witness_region: Option<String>,

    /// DNS zone, such as vote.example.org; `none`: DNS is kept otherwise
    /// [default: none].
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,

    /// Expect that the zone exists, instead of making it.
    #[arg(long)]
    existing_zone: bool,

    /// Registry and path of the images [default: registry.example.org].
    #[arg(long, value_name = "PREFIX")]
    registry: Option<String>,

    /// Network from which the bastions accept SSH [default: 0.0.0.0/0].
    #[arg(long, value_name = "CIDR", conflicts_with = "existing_hosts")]
    ssh_from: Option<String>,

    /// Use machines that exist, instead of making instances.
    #[arg(long)]
    existing_hosts: bool,

    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,

    /// Ask nothing.
    #[arg(short, long)]
    yes: bool,
}

/// Writes a commented topology.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    if args.file.exists() && !args.force {
        return Err(
            CommandError::new(Exit::Usage, format!("{} exists", args.file.display()))
                .id("file-exists")
                .hint("name another file, or replace it by --force"),
        );
    }
    let answers = match context.ui.interactive && !args.yes {
        true => ask(&args).map_err(broken_off)?,
        false => given(&args),
    };
    let text = render::render(&answers);
    let file = args.file.display().to_string();
    let reading = Topology::read(&text, &file);
    if reading.topology.is_none() {
        context.ui.status(&reading.problems.render());
        return Err(CommandError::from(reading.problems)
            .hint("nothing was written: correct the options named above"));
    }
    write(&args.file, &text)?;
    let next = format!("hafail validate {file}");
    let document = serde_json::json!({ "file": file, "next": next });
    let existing = match answers.existing {
        true => "fill in addresses and host keys, then run: ",
        false => "read it, then run: ",
    };
    context.ui.data(&format!("Wrote {file}.\nNext: {existing}{next}"), &document);
    Ok(Exit::Success)
}

fn write(file: &Path, text: &str) -> Result<(), CommandError> {
    std::fs::write(file, text).map_err(|error| {
        CommandError::failed(format!("cannot write {}", file.display()), &error)
            .hint("name a file in a directory that exists and that you can write to")
    })
}

fn broken_off(error: inquire::InquireError) -> CommandError {
    use inquire::InquireError::{OperationCanceled, OperationInterrupted};
    match error {
        OperationCanceled | OperationInterrupted => {
            CommandError::new(Exit::Interrupted, "broken off: nothing was written").id("interrupted")
        }
        error => CommandError::failed("cannot ask on this terminal", &error)
            .hint("give the answers as options and add --yes; see hafail init --help"),
    }
}

/// The answers that the options give, and defaults.
fn given(args: &Args) -> Answers {
    let or = |value: &Option<String>, default: &str| value.as_deref().unwrap_or(default).to_owned();
    let second = or(&args.second_region, "us-east-1");
    Answers {
        name: or(&args.name, "vote"),
        regions: match args.one_site {
            true => vec![or(&args.region, "eu-west-1")],
            false => vec![or(&args.region, "eu-west-1"), second],
        },
        replication: args.replication.unwrap_or(Mode::Synchronous),
        witness: args.witness_region.clone().filter(|region| region != "none"),
        zone: args.zone.clone().filter(|zone| zone != "none" && !zone.is_empty()),
        manage_zone: !args.existing_zone,
        registry: or(&args.registry, "registry.example.org"),
        ssh_from: or(&args.ssh_from, "0.0.0.0/0"),
        existing: args.existing_hosts,
    }
}

/// Puts an answer into its place.
type Put = fn(&mut Answers, &str);

/// A question whose answer is looked at when it is given.
fn question<'a>(text: &'a str, answers: &Answers, put: Put) -> inquire::Text<'a, 'a> {
    let so_far = answers.clone();
    inquire::Text::new(text).with_validator(move |answer: &str| {
        let mut answers = so_far.clone();
        put(&mut answers, answer.trim());
        Ok(match mistake(&answers) {
            None => Validation::Valid,
            Some(mistake) => Validation::Invalid(mistake.into()),
        })
    })
}

/// What is wrong with a file of these answers.
fn mistake(answers: &Answers) -> Option<String> {
    let reading = Topology::read(&render::render(answers), "");
    if reading.topology.is_some() {
        return None;
    }
    let first = reading.problems.problems.into_iter().next();
    first.map(|problem| format!("{} ({})", problem.message, problem.hint))
}

/// Asks, with a default, unless an option has said it.
fn text(
    given: bool,
    words: &str,
    default: &str,
    answers: &mut Answers,
    put: Put,
) -> Result<(), inquire::InquireError> {
    if given {
        return Ok(());
    }
    let answer = question(words, answers, put)
        .with_default(default)
        .prompt()?;
    put(answers, answer.trim());
    Ok(())
}

fn put_second_region(answers: &mut Answers, region: &str) {
    answers.regions.truncate(1);
    let region = Some(region.to_owned()).filter(|region| !region.is_empty());
    answers.regions.extend(region);
}

fn put_witness(answers: &mut Answers, region: &str) {
    answers.witness = Some(region.to_owned()).filter(|region| !region.is_empty());
}

fn put_zone(answers: &mut Answers, zone: &str) {
    answers.zone = Some(zone.to_owned()).filter(|zone| !zone.is_empty());
}

/// Asks for what the options leave open.
fn ask(args: &Args) -> Result<Answers, inquire::InquireError> {
    let mut answers = given(args);
    let name = answers.name.clone();
    let put: Put = |answers, name| name.clone_into(&mut answers.name);
    let words = "Name of the deployment:";
    text(args.name.is_some(), words, &name, &mut answers, put)?;
    if !args.existing_hosts {
        let kinds = vec!["instances on AWS, made by hafail", "machines that exist"];
        let kind = inquire::Select::new("The hosts are:", kinds).raw_prompt()?;
        answers.existing = kind.index == 1;
    }
    ask_sites(args, &mut answers)?;
    if args.zone.is_none() {
        let words = "DNS zone, such as vote.example.org (empty: none):";
        let zone = question(words, &answers, put_zone).prompt()?;
        put_zone(&mut answers, zone.trim());
    }
    let registry = answers.registry.clone();
    let put: Put = |answers, registry| registry.clone_into(&mut answers.registry);
    let words = "Registry and path of the images:";
    text(args.registry.is_some(), words, &registry, &mut answers, put)?;
    if !answers.existing {
        let network = answers.ssh_from.clone();
        let put: Put = |answers, network| network.clone_into(&mut answers.ssh_from);
        let words = "Network from which you reach the bastions by SSH:";
        text(args.ssh_from.is_some(), words, &network, &mut answers, put)?;
    }
    Ok(answers)
}

fn ask_sites(args: &Args, answers: &mut Answers) -> Result<(), inquire::InquireError> {
    let region = answers.regions[0].clone();
    let put: Put = |answers, region| region.clone_into(&mut answers.regions[0]);
    let words = "Region of the first site:";
    text(args.region.is_some(), words, &region, answers, put)?;
    if !args.one_site && args.second_region.is_none() {
        let words = "Region of the second site (empty: one site only):";
        let second = question(words, answers, put_second_region)
            .with_initial_value("us-east-1")
            .prompt()?;
        put_second_region(answers, second.trim());
    }
    if answers.regions.len() > 1 && args.replication.is_none() {
        let modes = Mode::value_variants().to_vec();
        answers.replication = inquire::Select::new("Replication:", modes).prompt()?;
    }
    if answers.regions.len() > 1 && args.witness_region.is_none() {
        let words = "Third region, for a witness of automatic failover (empty: you decide):";
        let witness = question(words, answers, put_witness).prompt()?;
        put_witness(answers, witness.trim());
    }
    Ok(())
}
