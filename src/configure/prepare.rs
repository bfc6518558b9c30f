//! From a playbook's name to tasks for hosts, or to all that is wrong.

use std::{collections::BTreeMap, path::Path};

use super::{
    ConfigureError, Prepared, PreparedPlay, Redactor, Request,
    compile::{self, Compiled, Inputs, LocalFiles},
    library::Loaded,
};
use crate::{
    ids::HostName,
    playbook::{Facts, HostSet, ParseError, Place, Play, Renderer, Scope, Step, sha256, texts},
    topology::{Host, Role},
};

pub(super) fn prepare(request: &Request<'_>) -> Result<Prepared, ConfigureError> {
    check_limits(request)?;
    let plays = request.library.load(request.playbook)?;
    let renderer = Renderer::new(&request.library.templates)?;
    let problems: Vec<ParseError> = plays
        .iter()
        .flat_map(|loaded| look_over(&renderer, loaded))
        .collect();
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let facts = Facts::new(request.topology, request.inventory, &request.vars);
    let mut preparation = Preparation {
        request,
        renderer,
        scopes: scopes(request, &facts),
        facts,
        files: LocalFiles::default(),
        problems: Vec::new(),
    };
    let plays = plays.iter().map(|loaded| preparation.play(loaded));
    let plays: Vec<PreparedPlay> = plays.filter(|play| !play.hosts.is_empty()).collect();
    if !preparation.problems.is_empty() {
        // The same mistake on every host is one mistake.
        let mut problems = preparation.problems;
        problems.sort_by(|a, b| {
            (&a.file, a.position, &a.message).cmp(&(&b.file, b.position, &b.message))
        });
        problems.dedup();
        return Err(problems.into());
    }
    Ok(Prepared {
        plays,
        files: preparation.files,
        redactor: Redactor::new(request.secrets),
        dry_run: request.options.dry_run,
        more_would_change: request.options.more_would_change,
    })
}

fn check_limits(request: &Request<'_>) -> Result<(), ConfigureError> {
    let topology = request.topology;
    for site in &request.options.sites {
        if !topology.sites.contains_key(site) {
            return Err(ConfigureError::Unknown {
                what: "the site",
                name: site.to_string(),
                known: topology.sites.keys().map(ToString::to_string).collect(),
            });
        }
    }
    for host in &request.options.hosts {
        if topology.host(host.as_str()).is_none() {
            return Err(ConfigureError::Unknown {
                what: "the host",
                name: host.to_string(),
                known: topology.hosts().map(|host| host.name.to_string()).collect(),
            });
        }
    }
    Ok(())
}

fn scopes(request: &Request<'_>, facts: &Facts) -> BTreeMap<HostName, Scope> {
    let scope = |host: &Host| {
        let mut known = facts.of(&host.name);
        if let Some(tls) = request.secrets.public_tls(&host.name) {
            known.insert("tls".to_owned(), tls);
        }
        let secrets = request.secrets.variables(&host.name);
        let scope = Scope {
            facts: known,
            secrets,
        };
        (host.name.clone(), scope)
    };
    request.topology.hosts().map(scope).collect()
}

/// All texts of a play, also those that no host will use today.
fn look_over(renderer: &Renderer, loaded: &Loaded) -> Vec<ParseError> {
    let Loaded { file, play, .. } = loaded;
    let mut problems = Vec::new();
    for used in texts::of_play(play) {
        problems.extend(renderer.check(file, &used, &[]));
    }
    for step in play.steps.iter().chain(&play.handlers) {
        let variable = step.for_each.as_ref().map(|each| each.variable.as_str());
        for used in texts::of_step(step) {
            problems.extend(renderer.check(file, &used, variable.as_slice()));
        }
    }
    problems.extend(play.handlers.iter().filter_map(|step| looped(file, step)));
    problems
}

/// A handler is one task: it cannot be a loop.
fn looped(file: &str, handler: &Step) -> Option<ParseError> {
    let each = handler.for_each.as_ref()?;
    Some(ParseError {
        file: file.to_owned(),
        position: each.list.position,
        message: "a handler cannot have `for_each`".to_owned(),
        remedy: "write one handler for each, or one `run` with a loop in it".to_owned(),
    })
}

struct Preparation<'a> {
    request: &'a Request<'a>,
    renderer: Renderer,
    facts: Facts,
    scopes: BTreeMap<HostName, Scope>,
    files: LocalFiles,
    problems: Vec<ParseError>,
}

impl Preparation<'_> {
    fn play(&mut self, loaded: &Loaded) -> PreparedPlay {
        let play = &loaded.play;
        let mut hosts = Vec::new();
        let mut name = play.name.source.clone();
        for host in self.request.topology.hosts() {
            if !self.is_for(loaded, host) || (play.once && !hosts.is_empty()) {
                continue;
            }
            if let Some((shown, compiled)) = self.on_host(loaded, &host.name) {
                name = shown;
                hosts.push((host.name.clone(), compiled));
            }
        }
        // Hosts are limited last, so that `once` means the same host always.
        hosts.retain(|(host, _)| self.is_asked_for(host));
        // Without the directory: the same playbook may lie elsewhere next time.
        let file = Path::new(&loaded.file).file_name().unwrap_or_default();
        let id = format!("{}\n{}", file.to_string_lossy(), play.name.source);
        let id = sha256(id.as_bytes());
        PreparedPlay {
            name,
            id: id[..16].to_owned(),
            serial: play.serial,
            hosts,
        }
    }

    fn is_asked_for(&self, host: &HostName) -> bool {
        let options = &self.request.options;
        let site = self.request.topology.host(host.as_str()).map(|h| &h.site);
        (options.hosts.is_empty() || options.hosts.contains(host))
            && (options.sites.is_empty() || site.is_some_and(|site| options.sites.contains(site)))
    }

    fn is_for(&mut self, loaded: &Loaded, host: &Host) -> bool {
        let target = &loaded.play.target;
        let by_name = match &target.hosts {
            HostSet::All => true,
            HostSet::Roles(roles) => roles.iter().any(|role: &Role| host.is(*role)),
            HostSet::Named(names) => {
                let names = names.iter().map(|name| self.text(loaded, host, name));
                names.collect::<Vec<_>>().contains(&host.name.to_string())
            }
        };
        by_name
            && match &target.place {
                None => true,
                Some(Place::PrimarySite) => host.site == *self.facts.primary_site(),
                Some(Place::StandbySites) => host.site != *self.facts.primary_site(),
                Some(Place::Site(name)) => self.text(loaded, host, name) == host.site.as_str(),
            }
    }

    fn text(&mut self, loaded: &Loaded, host: &Host, text: &crate::playbook::Text) -> String {
        let Some(scope) = self.scopes.get(&host.name) else {
            return String::new();
        };
        let filled = self.renderer.text(&loaded.file, text, scope, false);
        filled.unwrap_or_else(|problem| {
            self.problems.push(problem);
            String::new()
        })
    }

    /// Name and tasks on that host; none when a condition does not hold.
    fn on_host(&mut self, loaded: &Loaded, host: &HostName) -> Option<(String, Compiled)> {
        let scope = self.scopes.get(host)?;
        let Play { name, .. } = &loaded.play;
        for (file, condition) in &loaded.conditions {
            match self.renderer.value(file, condition, scope, false) {
                Ok(value) if value.is_true() => {}
                Ok(_) => return None,
                Err(problem) => {
                    self.problems.push(problem);
                    return None;
                }
            }
        }
        let inputs = Inputs {
            renderer: &self.renderer,
            scope,
            files: &self.files,
            file: &loaded.file,
        };
        let shown = self.renderer.text(&loaded.file, name, scope, false);
        match (compile::compile(&loaded.play, &inputs), shown) {
            (Ok(compiled), Ok(_)) if compiled.tasks.is_empty() => None,
            (Ok(compiled), Ok(shown)) => Some((shown, compiled)),
            (compiled, shown) => {
                self.problems.extend(compiled.err().into_iter().flatten());
                self.problems.extend(shown.err());
                None
            }
        }
    }
}
