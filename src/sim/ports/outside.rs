//! The simulated zone, clients and clock.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;

use crate::{
    ids::{Epoch, SiteName},
    observation::{AddressRecord, DoorAnswer, Knowledge},
    ports::{
        PortError,
        clock::Clock,
        end_to_end::EndToEnd,
        front_doors::FrontDoors,
        records::{ChangeId, Records},
    },
};

use super::{
    super::{
        clients, clock,
        core::Slot,
        delivery::{What, ask, deliver},
        mutation::Mutation,
    },
    Party, QUICK, QUIET_WRITE, WRITE, denied,
};

#[async_trait]
impl Records for Party {
    async fn current(&self, name: &str) -> Result<Option<AddressRecord>, PortError> {
        let name = name.to_owned();
        ask(self, None, What::Plain("the zone"), QUICK, move |core| {
            reachable(core.state.zone.dark, core.state.zone.denied)?;
            Ok(core.state.zone.records.get(&name).cloned())
        })
        .await
    }

    async fn point(&self, epoch: Epoch, records: &[AddressRecord]) -> Result<ChangeId, PortError> {
        let records = records.to_vec();
        deliver(
            self,
            None,
            What::Plain("the change of the zone"),
            QUICK,
            move |core| {
                let seen = core.state.zone.epoch;
                reachable(core.state.zone.dark, core.state.zone.denied)?;
                if epoch < seen && core.state.settings.mutation != Some(Mutation::AcceptOldEpoch) {
                    return Err(PortError::StaleEpoch {
                        what: "the zone".to_owned(),
                        ours: epoch,
                        seen,
                    });
                }
                if epoch < seen {
                    let what = format!("the zone took epoch {epoch} after {seen}");
                    core.state.ledger.violated("no_stale_actor", what);
                }
                let in_force = core.now() + Duration::from_millis(core.rng.between(100, 1500));
                core.tell(|| format!("the zone takes a change of epoch {epoch}"));
                Ok(ChangeId(format!(
                    "C{}",
                    core.state.zone.change(epoch, &records, in_force)
                )))
            },
        )
        .await
    }

    async fn in_sync(&self, change: &ChangeId) -> Result<bool, PortError> {
        let change = change.0.clone();
        ask(self, None, What::Plain("the zone"), QUICK, move |core| {
            let now = core.now();
            let zone = &mut core.state.zone;
            zone.refresh(now);
            reachable(zone.dark, zone.denied)?;
            Ok(zone
                .pending
                .is_none_or(|(number, _)| format!("C{number}") != change))
        })
        .await
    }

    async fn authoritative(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, Knowledge<AddressRecord>>, PortError> {
        let name = name.to_owned();
        ask(
            self,
            None,
            What::Plain("the name servers"),
            QUICK,
            move |core| {
                let now = core.now();
                core.state.zone.refresh(now);
                let answer = core.state.zone.served.get(&name).cloned();
                let answer = answer.map_or(Knowledge::Absent, Knowledge::Known);
                Ok(["ns1", "ns2"]
                    .map(|server| (server.to_owned(), answer.clone()))
                    .into())
            },
        )
        .await
    }

    async fn resolved(&self, name: &str) -> BTreeMap<String, Knowledge<AddressRecord>> {
        let name = name.to_owned();
        let answer = ask(
            self,
            None,
            What::Plain("the resolver"),
            QUICK,
            move |core| {
                let now = core.now();
                core.state.zone.refresh(now);
                Ok(core.state.zone.resolve(&name, now))
            },
        );
        let answer = match answer.await {
            Ok(Some(record)) => Knowledge::Known(record),
            Ok(None) => Knowledge::Absent,
            Err(error) => Knowledge::unknown(error),
        };
        [("10.0.0.2:53".to_owned(), answer)].into()
    }
}

fn reachable(dark: bool, denied_: bool) -> Result<(), PortError> {
    if dark {
        let (what, why) = ("the zone's API".to_owned(), "no route to host".to_owned());
        return Err(PortError::Unreachable { what, why });
    }
    if denied_ {
        Err(denied("route53:ChangeResourceRecordSets"))
    } else {
        Ok(())
    }
}

#[async_trait]
impl EndToEnd for Party {
    async fn write(&self, site: &SiteName, deadline: Duration) -> Result<(), PortError> {
        let slot = Slot::default();
        {
            let mut core = self.sim.lock();
            let (site, answer) = (site.clone(), slot.clone());
            let (through, within) = (site.clone(), deadline);
            core.give_up_later(deadline, slot.clone(), move || {
                let what = format!("a write through {through}");
                Err(PortError::Unanswered { what, within })
            });
            let way = if core.is_lively() { WRITE } else { QUIET_WRITE };
            let from = self.from.clone();
            core.look_later(way, move |core| {
                let lb = core.state.place(&site).lb.clone();
                let machine = &core.state.machines[&lb];
                let until = core.now() + deadline;
                let passes = match &from {
                    Some(from) => core.state.passes(from, &lb) && core.state.passes(&lb, from),
                    None => machine.heard && machine.answers,
                };
                if machine.on && passes {
                    clients::write_once(core, site, until, answer);
                } else {
                    let (what, why) = (lb.to_string(), "no route to host".to_owned());
                    answer.fill(Err(PortError::Unreachable { what, why }));
                }
            });
        }
        slot.await
    }
}

/// No stack is simulated.
#[async_trait]
impl FrontDoors for Party {
    async fn ask(&self, _: &SiteName, service: &str) -> Result<DoorAnswer, PortError> {
        let what = service.to_owned();
        Err(PortError::Absent { what })
    }
}

#[async_trait]
impl Clock for Party {
    fn now(&self) -> Duration {
        self.sim.lock().now()
    }

    fn wall(&self) -> String {
        let core = self.sim.lock();
        let noon = if core.state.settings.watched { 12 } else { 0 };
        let now = core.now() + Duration::from_secs(noon * 3600);
        clock::text_of(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    async fn sleep(&self, time: Duration) {
        self.sim.sleep(time).await;
    }
}
