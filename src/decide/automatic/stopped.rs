//! A database that was stopped for a run which has ended since, while nobody
//! is primary: the order came late, or its runner could not take it back.
//! Stopped it is nobody's candidate, and nobody knows how much it has.

use super::View;
use crate::{
    decide::given,
    ids::HostName,
    order::GuardStatus,
    plan::{self, Loss, Plan},
};

/// Lets it stand by, which promotes nobody.
pub(super) fn stands_by(view: &View<'_>) -> Option<Plan> {
    let host = view.databases().find(|host| is_stopped(view, host))?;
    let other = view.databases().find(|other| *other != host)?;
    let because = format!("{host} was stopped for a run that has ended, and nobody is primary");
    let loss = Loss::Nothing {
        because: "nobody is promoted".to_owned(),
    };
    let (old, new) = (host.clone(), other.clone());
    let given = given(view, true, old, new, vec![because], loss);
    Some(plan::stand_by(&given))
}

fn is_stopped(view: &View<'_>, host: &HostName) -> bool {
    view.guard(host).is_some_and(GuardStatus::stays_stopped)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Act, Reaction, scene::*};
    use crate::{observation::Knowledge, step::Step};

    #[test]
    fn a_database_that_a_run_left_stopped_stands_by_once_nobody_is_primary() {
        let mut scene = Scene::new();
        let stopped = guard("site1-db", &json!("stopped"), &json!({"state": "stopped"}));
        scene
            .snapshot
            .guards
            .insert(stopped.host.clone(), Knowledge::Known(stopped));
        assert!(
            matches!(scene.look(1000), Reaction::Wait { .. }),
            "it holds the right still"
        );
        scene.store().primary = None;
        let Reaction::Act(Act::Run(plan)) = scene.look(1000) else {
            panic!("{:?}", scene.look(1000));
        };
        let steps: Vec<_> = plan.steps.iter().map(|planned| &planned.step).collect();
        let follows = Step::Follow {
            host: host("site1-db"),
            upstream: host("site2-db"),
        };
        assert_eq!(steps, [&follows]);
        assert!(!plan.needs_primary());
    }
}
