//! Waiting for what the cloud does in the background.

use std::time::Duration;

use aws_sdk_ec2::types::{InstanceStateName, NatGatewayState};
use tokio::time::Instant;

use super::{Regional, calls::has_code, gather, ids::filter};
use crate::ports::cloud::{CloudError, Fault};

/// Longer than the slowest of these takes on AWS.
const LIMIT: Duration = Duration::from_secs(600);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// An instance runs. One that is stopped counts: an edit starts it.
    Running,
    /// An instance that was told to start runs.
    Started,
    Terminated,
    /// A NAT gateway serves.
    NatAvailable,
    /// A NAT gateway is gone, and its address free.
    NatDeleted,
}

impl Goal {
    fn call(self) -> &'static str {
        match self {
            Self::Running => "ec2:RunInstances",
            Self::Started => "ec2:StartInstances",
            Self::Terminated => "ec2:TerminateInstances",
            Self::NatAvailable => "ec2:CreateNatGateway",
            Self::NatDeleted => "ec2:DeleteNatGateway",
        }
    }
}

/// How a thing stands.
enum Standing {
    Reached,
    NotYet(String),
    /// It will never come.
    Failed(String),
}

/// Asks, with growing pauses, until it is reached.
pub(super) async fn until(at: &Regional, id: &str, goal: Goal) -> Result<(), CloudError> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(50);
    let error = |fault, message| CloudError {
        call: goal.call().to_owned(),
        region: Some(at.region.clone()),
        fault,
        message,
    };
    loop {
        let standing = match goal {
            Goal::NatAvailable | Goal::NatDeleted => nat_gateway(at, id, goal).await?,
            Goal::Running | Goal::Started | Goal::Terminated => instance(at, id, goal).await?,
        };
        let state = match standing {
            Standing::Reached => return Ok(()),
            Standing::Failed(why) => return Err(error(Fault::Refused, why)),
            Standing::NotYet(state) => state,
        };
        if since.elapsed() > LIMIT {
            let message = format!("{id} is still {state} after {} s", LIMIT.as_secs());
            return Err(error(Fault::NotYet, message));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(3));
    }
}

async fn instance(at: &Regional, id: &str, goal: Goal) -> Result<Standing, CloudError> {
    let found = gather::instances(at, vec![filter("instance-id", [id])]).await?;
    let instance = found.first();
    let state = instance.and_then(|it| it.state()).and_then(|it| it.name());
    let why = instance.and_then(|it| it.state_reason()?.message());
    Ok(match (goal, state) {
        (Goal::Terminated, None | Some(InstanceStateName::Terminated))
        | (Goal::Running | Goal::Started, Some(InstanceStateName::Running))
        | (Goal::Running, Some(InstanceStateName::Stopped | InstanceStateName::Stopping)) => {
            Standing::Reached
        }
        (
            Goal::Running | Goal::Started,
            Some(InstanceStateName::Terminated | InstanceStateName::ShuttingDown),
        ) => {
            let why = why.unwrap_or("no reason given");
            Standing::Failed(format!("the instance {id} ended: {why}"))
        }
        (_, Some(other)) => Standing::NotYet(other.as_str().to_owned()),
        (_, None) => Standing::NotYet("not to be seen".to_owned()),
    })
}

async fn nat_gateway(at: &Regional, id: &str, goal: Goal) -> Result<Standing, CloudError> {
    let asked = gather::nat_gateways(at, vec![filter("nat-gateway-id", [id])]).await;
    let found = match asked {
        Err(error) if has_code(&error, "NatGatewayNotFound") => Vec::new(),
        other => other?,
    };
    let gateway = found.first();
    Ok(match (goal, gateway.and_then(|it| it.state())) {
        (Goal::NatDeleted, None | Some(NatGatewayState::Deleted | NatGatewayState::Failed))
        | (Goal::NatAvailable, Some(NatGatewayState::Available)) => Standing::Reached,
        (Goal::NatAvailable, Some(NatGatewayState::Failed)) => {
            let why = gateway.and_then(|it| it.failure_message());
            let why = why.unwrap_or("no reason given");
            Standing::Failed(format!("the NAT gateway {id} failed: {why}"))
        }
        (_, Some(other)) => Standing::NotYet(other.as_str().to_owned()),
        (_, None) => Standing::NotYet("not to be seen".to_owned()),
    })
}
