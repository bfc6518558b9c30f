//! Which part of the API's world a call may have changed. Pure.

use std::collections::BTreeSet;

use crate::cloud::model::Aspect;

/// What has to be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Of EC2, in the region of the call.
    pub aspects: BTreeSet<Aspect>,
    /// Hosted zones and health checks.
    pub names: bool,
}

impl Affected {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            aspects: Aspect::ALL.into(),
            names: true,
        }
    }

    /// Only hosted zones and health checks.
    #[must_use]
    pub fn names() -> Self {
        Self {
            aspects: BTreeSet::new(),
            names: true,
        }
    }

    fn of(aspects: &[Aspect]) -> Self {
        Self {
            aspects: aspects.iter().copied().collect(),
            names: false,
        }
    }

    /// Nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.aspects.is_empty() && !self.names
    }
}

/// What an EC2 action may have changed. A call that only reads changes nothing;
/// one that is not known may have changed everything.
#[must_use]
pub fn affected(action: &str, parameters: &[(String, String)]) -> Affected {
    use Aspect as A;
    let has = |part: &str| action.contains(part);
    if ["Describe", "Get", "List", "Search"]
        .iter()
        .any(|verb| action.starts_with(verb))
    {
        return Affected::default();
    }
    if has("Tags") {
        // Of all tags only the name of an instance is shown anywhere.
        let instance = |(key, value): &(String, String)| {
            key.starts_with("ResourceId") && value.starts_with("i-")
        };
        let named = parameters.iter().any(instance);
        return Affected::of(if named { &[A::Instances] } else { &[] });
    }
    let aspects: &[Aspect] = if has("KeyPair") || has("Volume") || has("Image") || has("Snapshot") {
        &[]
    } else if has("SecurityGroup") {
        &[A::Groups]
    } else if has("Peering") {
        &[A::Peerings, A::RouteTables]
    } else if has("NatGateway") {
        &[A::NatGateways, A::Addresses, A::RouteTables]
    } else if has("InternetGateway") {
        &[A::InternetGateways, A::RouteTables]
    } else if has("Subnet") {
        &[A::Subnets, A::RouteTables]
    } else if has("Route") {
        &[A::RouteTables]
    } else if has("Address") {
        &[A::Addresses, A::Instances, A::NatGateways]
    } else if has("Instance") || has("NetworkInterface") {
        &[A::Instances, A::Groups, A::Addresses]
    } else if has("Vpc") {
        &[A::Vpcs, A::RouteTables, A::Groups, A::Subnets]
    } else {
        return Affected {
            names: false,
            ..Affected::everything()
        };
    };
    Affected::of(aspects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_changes_nothing_and_the_unknown_may_change_everything() {
        assert!(affected("DescribeInstances", &[]).is_empty());
        assert!(affected("GetConsoleOutput", &[]).is_empty());
        assert_eq!(
            affected("FrobnicateTheCloud", &[]).aspects.len(),
            Aspect::ALL.len()
        );
    }

    #[test]
    fn the_most_specific_part_of_the_name_decides() {
        let aspects = |action| affected(action, &[]).aspects;
        assert!(aspects("AcceptVpcPeeringConnection").contains(&Aspect::Peerings));
        assert!(aspects("AuthorizeSecurityGroupIngress").contains(&Aspect::Groups));
        assert!(aspects("AssociateRouteTable").contains(&Aspect::RouteTables));
        assert!(aspects("RunInstances").contains(&Aspect::Instances));
        assert!(aspects("ReleaseAddress").contains(&Aspect::Addresses));
    }

    #[test]
    fn a_tag_matters_on_an_instance_only() {
        let on = |id: &str| affected("CreateTags", &[("ResourceId.1".into(), id.into())]);
        assert!(on("vpc-1").is_empty());
        assert!(!on("i-1").is_empty());
    }
}
