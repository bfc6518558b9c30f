//! Makes the namespaces what the plan says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::internet::{FILTER, GATEWAY, Internet, SERVICES};
use super::namespace;
use super::operator::{forget_public, link_operator, route_operator};
use super::plan::{GATEWAY_LINK, OWN, Plan, VpcPlan, link_of};
use super::plug::Socket;
use crate::command::{CommandError, run};
use crate::settings::Settings;

/// The fabric could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct FabricError {
    what: String,
    source: CommandError,
}

pub(super) fn cannot(what: impl Into<String>) -> impl FnOnce(CommandError) -> FabricError {
    let what = what.into();
    |source| FabricError { what, source }
}

/// The fabric as it is known to be.
#[derive(Debug)]
pub struct Fabric {
    names: Internet,
    pub(super) built: Plan,
}

impl Fabric {
    /// Builds the internet of the lab, if it is not there, and the operator's
    /// link to it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn ensure_internet(settings: &Settings) -> Result<(), FabricError> {
        let names = Internet::new(settings);
        let space = names.namespace();
        let step = || async {
            namespace::create_router(&space, SERVICES).await?;
            let addresses: String = names.addresses().collect();
            namespace::batch(&space, &addresses).await?;
            namespace::load_filter(&space, FILTER).await?;
            link_operator(&names).await
        };
        step()
            .await
            .map_err(cannot("build the internet of the lab"))
    }

    /// Takes over what an earlier daemon left: networks whose state is not
    /// known are built anew, links of instances included.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn take_over(settings: &Settings) -> Result<Self, FabricError> {
        let names = Internet::new(settings);
        let internet = names.namespace();
        for stale in namespace::names(names.prefix())
            .into_iter()
            .filter(|n| *n != internet)
        {
            namespace::remove(&stale)
                .await
                .map_err(cannot("remove an old network"))?;
        }
        forget_public(&names)
            .await
            .map_err(cannot("remove old routes"))?;
        let built = Plan::default();
        Ok(Self { names, built })
    }

    /// Namespace of the internet.
    #[must_use]
    pub fn internet(&self) -> String {
        self.names.namespace()
    }

    /// Namespace of a VPC's router.
    #[must_use]
    pub fn router(&self, vpc: &str) -> String {
        self.names.vpc_namespace(vpc)
    }

    /// Changes what differs between `plan` and what was built.
    ///
    /// # Errors
    /// On the first change that the kernel refuses; the rest is tried by the
    /// next call.
    pub async fn apply(&mut self, plan: &Plan) -> Result<(), FabricError> {
        self.remove_vpcs(plan).await?;
        for (id, wanted) in &plan.vpcs {
            self.create_vpc(id, wanted).await?;
        }
        self.link_peerings(plan).await?;
        for (id, wanted) in &plan.vpcs {
            let built = self.built.vpcs.get(id).cloned().unwrap_or_default();
            if built != *wanted {
                // Whatever fails half-way is done again from nothing known.
                self.built
                    .vpcs
                    .entry(id.clone())
                    .or_default()
                    .filter
                    .clear();
                self.configure_vpc(id, &built, wanted)
                    .await
                    .map_err(cannot(format!("configure {id}")))?;
                self.built.vpcs.insert(id.clone(), wanted.clone());
            }
        }
        self.route_public(&plan.public)
            .await
            .map_err(cannot("route public addresses"))
    }

    async fn remove_vpcs(&mut self, plan: &Plan) -> Result<(), FabricError> {
        let gone = |id: &String| !plan.vpcs.contains_key(id);
        let gone: Vec<String> = self
            .built
            .vpcs
            .keys()
            .filter(|id| gone(id))
            .cloned()
            .collect();
        for id in gone {
            let space = self.names.vpc_namespace(&id);
            namespace::remove(&space)
                .await
                .map_err(cannot(format!("remove {id}")))?;
            self.built.vpcs.remove(&id);
            self.built.peerings.retain(|_, (a, b)| *a != id && *b != id);
            self.forget_public_of(&id);
        }
        Ok(())
    }

    /// The way to its public addresses went with the link of the VPC.
    fn forget_public_of(&mut self, vpc: &str) {
        let owners = self.built.public.values_mut();
        for owner in owners.filter(|owner| owner.as_deref() == Some(vpc)) {
            *owner = None;
        }
    }

    async fn create_vpc(&mut self, id: &str, wanted: &VpcPlan) -> Result<(), FabricError> {
        let space = self.names.vpc_namespace(id);
        let new = !namespace::path(&space).exists();
        let step = || async {
            if new {
                namespace::create_router(&space, OWN).await?;
                // Nothing passes before the filter stands.
                namespace::load_filter(&space, &wanted.filter).await?;
                let rule = "rule add pref 10 lookup main suppress_prefixlength 0\n";
                namespace::batch(&space, rule).await?;
            }
            Ok(())
        };
        step().await.map_err(cannot(format!("build {id}")))?;
        if !new && !namespace::has_link(&space, OWN).await {
            namespace::create_bridge(&space, OWN)
                .await
                .map_err(cannot(format!("mend {id}")))?;
            let built = self.built.vpcs.entry(id.to_owned()).or_default();
            let stays = |line: &String| !line.contains(&format!("dev {OWN}"));
            built.routes.retain(stays);
            built.addresses.retain(stays);
        }
        let built = self.built.vpcs.entry(id.to_owned()).or_default();
        let is_gone = built.internet && !namespace::has_link(&space, GATEWAY_LINK).await;
        if built.internet != wanted.internet || is_gone {
            self.forget_public_of(id);
            let result = self.link_internet(id, wanted.internet).await;
            result.map_err(cannot(format!("link {id} to the internet")))?;
            let built = self.built.vpcs.entry(id.to_owned()).or_default();
            built.internet = wanted.internet;
            // Routes and addresses went with the link.
            let stays = |line: &String| !line.contains(&format!("dev {GATEWAY_LINK}"));
            built.routes.retain(stays);
            built.addresses.retain(stays);
        }
        Ok(())
    }

    async fn link_internet(&self, id: &str, wanted: bool) -> Result<(), CommandError> {
        let (router, internet) = (self.names.vpc_namespace(id), self.names.namespace());
        let outer = link_of('v', id);
        namespace::batch_remove(&router, &format!("link del {GATEWAY_LINK}\n")).await;
        if !wanted {
            return Ok(());
        }
        let lines = format!(
            "link add {outer} type veth peer name {GATEWAY_LINK} netns {router}\nlink set {outer} up\n"
        );
        namespace::batch(&internet, &lines).await?;
        namespace::batch(&router, &format!("link set {GATEWAY_LINK} up\n")).await
    }

    async fn link_peerings(&mut self, plan: &Plan) -> Result<(), FabricError> {
        let gone = |(id, _): &(&String, _)| !plan.peerings.contains_key(*id);
        let gone: Vec<String> = self
            .built
            .peerings
            .iter()
            .filter(gone)
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            let link = link_of('p', &id);
            if let Some((one, other)) = self.built.peerings.remove(&id) {
                let router = self.names.vpc_namespace(&one);
                namespace::batch_remove(&router, &format!("link del {link}\n")).await;
                self.forget_routes(&[&one, &other], &link);
            }
        }
        for (id, (one, other)) in &plan.peerings {
            let router = self.names.vpc_namespace(one);
            let linked = namespace::has_link(&router, &link_of('p', id)).await;
            if !self.built.peerings.contains_key(id) || !linked {
                self.forget_routes(&[one, other], &link_of('p', id));
                self.link_peers(id, one, other)
                    .await
                    .map_err(cannot(format!("link {one} and {other}")))?;
                self.built
                    .peerings
                    .insert(id.clone(), (one.clone(), other.clone()));
            }
        }
        Ok(())
    }

    async fn link_peers(&self, id: &str, one: &str, other: &str) -> Result<(), CommandError> {
        let link = link_of('p', id);
        let (a, b) = (
            self.names.vpc_namespace(one),
            self.names.vpc_namespace(other),
        );
        namespace::batch_remove(&a, &format!("link del {link}\n")).await;
        let lines =
            format!("link add {link} type veth peer name {link} netns {b}\nlink set {link} up\n");
        namespace::batch(&a, &lines).await?;
        namespace::batch(&b, &format!("link set {link} up\n")).await
    }

    fn forget_routes(&mut self, vpcs: &[&String], link: &str) {
        for vpc in vpcs {
            if let Some(built) = self.built.vpcs.get_mut(*vpc) {
                built
                    .routes
                    .retain(|line| !line.contains(&format!("dev {link}")));
            }
        }
    }

    async fn configure_vpc(
        &self,
        id: &str,
        built: &VpcPlan,
        wanted: &VpcPlan,
    ) -> Result<(), CommandError> {
        let space = self.names.vpc_namespace(id);
        if built.filter != wanted.filter {
            namespace::load_filter(&space, &wanted.filter).await?;
        }
        let mut add = String::new();
        let mut remove = String::new();
        let pairs = [
            (
                "addr replace",
                "addr del",
                &built.addresses,
                &wanted.addresses,
            ),
            ("route replace", "route del", &built.routes, &wanted.routes),
            ("rule add", "rule del", &built.rules, &wanted.rules),
        ];
        for (verb, opposite, built, wanted) in pairs {
            add.extend(
                wanted
                    .difference(built)
                    .map(|line| format!("{verb} {line}\n")),
            );
            remove.extend(
                built
                    .difference(wanted)
                    .map(|line| format!("{opposite} {line}\n")),
            );
        }
        // A rule is added twice if it is not removed first.
        remove.extend(
            wanted
                .rules
                .difference(&built.rules)
                .map(|line| format!("rule del {line}\n")),
        );
        namespace::batch_remove(&space, &remove).await;
        namespace::batch(&space, &add).await
    }

    async fn route_public(
        &mut self,
        wanted: &BTreeMap<Ipv4Addr, Option<String>>,
    ) -> Result<(), CommandError> {
        if self.built.public == *wanted {
            return Ok(());
        }
        let mut inside = String::new();
        let mut inside_gone = String::new();
        for (ip, owner) in wanted
            .iter()
            .filter(|(ip, o)| self.built.public.get(ip) != Some(o))
        {
            match owner {
                Some(vpc) => inside.push_str(&format!(
                    "route replace {ip}/32 via {GATEWAY} dev {} onlink\n",
                    link_of('v', vpc)
                )),
                None => inside.push_str(&format!("route replace blackhole {ip}/32\n")),
            }
        }
        let gone: Vec<Ipv4Addr> = self
            .built
            .public
            .keys()
            .filter(|ip| !wanted.contains_key(ip))
            .copied()
            .collect();
        inside_gone.extend(gone.iter().map(|ip| format!("route del {ip}/32\n")));
        let space = self.names.namespace();
        namespace::batch_remove(&space, &inside_gone).await;
        namespace::batch(&space, &inside).await?;
        let new: BTreeSet<Ipv4Addr> = wanted
            .keys()
            .filter(|ip| !self.built.public.contains_key(ip))
            .copied()
            .collect();
        route_operator(&self.names, &new, &gone).await?;
        self.built.public = wanted.clone();
        Ok(())
    }

    /// Plugs in an instance whose container runs as `pid`.
    ///
    /// # Errors
    /// When the kernel refuses or the container has just ended.
    pub async fn connect(&self, socket: &Socket, pid: u32) -> Result<(), FabricError> {
        let result = socket.connect(&self.names, pid).await;
        result.map_err(cannot(format!("plug in {}", socket.instance)))
    }

    /// Whether an instance is plugged in.
    pub async fn connected(&self, socket: &Socket) -> bool {
        socket.connected(&self.names).await
    }
}

/// Removes every namespace and link of the lab.
///
/// # Errors
/// When one of them is held.
pub async fn tear_down(settings: &Settings) -> Result<(), FabricError> {
    let names = Internet::new(settings);
    if run("ip", &["link", "show", &names.link]).await.is_ok() {
        let removed = run("ip", &["link", "del", &names.link]).await;
        removed.map_err(cannot("remove the operator's link"))?;
    }
    for name in namespace::names(names.prefix()) {
        namespace::remove(&name)
            .await
            .map_err(cannot("remove a network"))?;
    }
    Ok(())
}
