//! Passing calls on to moto, with the machines doing their part around it.

use std::collections::BTreeSet;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};

use super::call::{Call, Service};
use super::tokens::Known;
use super::{Proxy, Whole, answer};
use crate::reconcile::{Affected, affected};

/// Longest request that is taken, bytes.
pub(super) const LONGEST_BODY: usize = 16 << 20;
/// How often an Elastic IP that the lab cannot route is exchanged.
const ADDRESS_ATTEMPTS: u32 = 20;

/// A request, whole.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The moto server.
pub(super) struct Upstream {
    endpoint: String,
    client: reqwest::Client,
}

impl Upstream {
    pub(super) fn new(endpoint: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().build();
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            client: client.expect("a client without TLS settings can always be built"),
        }
    }

    async fn send(&self, message: &Message) -> Result<Whole, reqwest::Error> {
        let url = format!("{}{}", self.endpoint, super::path_and_query(&message.uri));
        let mut headers = message.headers.clone();
        for own in [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::CONTENT_LENGTH,
        ] {
            headers.remove(own);
        }
        let request = self.client.request(message.method.clone(), url);
        let received = request
            .headers(headers)
            .body(message.body.clone())
            .send()
            .await?;
        let mut builder = Response::builder().status(received.status());
        for (name, value) in received.headers() {
            if *name != header::CONNECTION && *name != header::TRANSFER_ENCODING {
                builder = builder.header(name, value);
            }
        }
        let body = received.bytes().await?;
        Ok(builder
            .body(body)
            .expect("status and headers were received as valid"))
    }
}

impl Proxy {
    /// Does one call and lets the lab follow.
    pub(super) async fn perform(&self, call: &Call, message: Message) -> Response<Body> {
        if call.service != Service::Ec2 || call.parameter("ClientToken").is_none() {
            return self.perform_new(call, &message).await.map(Body::from);
        }
        // Two requests with one token at the same time must not both be the first.
        let mut tokens = self.tokens.lock().await;
        match tokens.look_up(call) {
            Known::Repeated(first) => first.map(Body::from),
            Known::Mismatch => answer::error(
                call,
                StatusCode::BAD_REQUEST,
                "IdempotentParameterMismatch",
                "The client token was used with other parameters.",
            ),
            Known::New => {
                let answer = self.perform_new(call, &message).await;
                if !call.dry_run() {
                    tokens.remember(call, &answer);
                }
                answer.map(Body::from)
            }
        }
    }

    async fn perform_new(&self, call: &Call, message: &Message) -> Whole {
        let held = match (call.service, call.action.as_str()) {
            (Service::Ec2, "StopInstances" | "TerminateInstances") if !call.dry_run() => {
                self.power_off(call).await
            }
            _ => BTreeSet::new(),
        };
        let answer = match call.action.as_str() {
            "AllocateAddress" => self.allocate(call, message).await,
            "RunInstances" => {
                self.upstream
                    .send(&with_its_own_interface(call, message))
                    .await
            }
            _ => self.upstream.send(message).await,
        };
        let answer = answer.unwrap_or_else(|error| {
            let text = format!("the lab: moto does not answer: {error}; see `hafail-lab logs`\n");
            let status = StatusCode::BAD_GATEWAY;
            Response::builder()
                .status(status)
                .body(text.into())
                .expect("a valid status")
        });
        if answer.status().is_success() && call.changes && !call.dry_run() {
            self.follow(call).await;
        }
        if !held.is_empty() {
            self.handle.release(held);
        }
        answer
    }

    async fn follow(&self, call: &Call) {
        match call.service {
            Service::Ec2 => {
                let affected = affected(&call.action, &call.parameters);
                self.handle
                    .changed(Some(call.region.clone()), affected)
                    .await;
                if call.action == "RebootInstances" {
                    self.reboot(call).await;
                }
            }
            Service::Route53 => self.handle.changed(None, Affected::names()).await,
            Service::Other => {}
        }
    }

    /// Switches machines off before the API says so: `stopped` is the proof
    /// that nothing runs any more. Returns the instances that are held.
    async fn power_off(&self, call: &Call) -> BTreeSet<String> {
        let instances = call.list("InstanceId");
        if !self.handle.hold(&call.region, &instances).await {
            // moto refuses the call for the same reason.
            return BTreeSet::new();
        }
        let power_cut =
            call.action == "TerminateInstances" || call.parameter("Force") == Some("true");
        let stops = instances.iter().map(|id| self.machines.stop(id, power_cut));
        for result in futures::future::join_all(stops).await {
            if let Err(error) = result {
                tracing::warn!("{error}");
            }
        }
        instances
    }

    /// Reboots in the background, as EC2 does.
    async fn reboot(&self, call: &Call) {
        let instances = call.list("InstanceId");
        if !self.handle.hold(&call.region, &instances).await {
            return;
        }
        let (machines, handle) = (self.machines.clone(), self.handle.clone());
        tokio::spawn(async move {
            let stops = instances.iter().map(|id| machines.stop(id, false));
            for result in futures::future::join_all(stops).await {
                if let Err(error) = result {
                    tracing::warn!("{error}");
                }
            }
            handle.release(instances);
        });
    }

    /// moto draws Elastic IPs from all of 127.0.0.0/8; those of the machine
    /// itself and of the lab's services are given back.
    async fn allocate(&self, call: &Call, message: &Message) -> Result<Whole, reqwest::Error> {
        let mut answer = self.upstream.send(message).await?;
        for _ in 0..ADDRESS_ATTEMPTS {
            let body = String::from_utf8_lossy(answer.body()).into_owned();
            let field = |name: &str| {
                let (_, rest) = body.split_once(&format!("<{name}>"))?;
                Some(rest.split_once('<')?.0.to_owned())
            };
            let (Some(address), Some(id)) = (field("publicIp"), field("allocationId")) else {
                break;
            };
            if call.dry_run() || !(address.starts_with("127.0.") || address.starts_with("127.63."))
            {
                break;
            }
            let release = format!("Action=ReleaseAddress&Version=2016-11-15&AllocationId={id}");
            let release = Message {
                body: release.into(),
                ..message.clone()
            };
            self.upstream.send(&release).await?;
            answer = self.upstream.send(message).await?;
        }
        Ok(answer)
    }
}

/// In EC2 the interface that comes with an instance goes with it, and its
/// private address is free again; moto keeps both unless it is told.
fn with_its_own_interface(call: &Call, message: &Message) -> Message {
    let mut names = call.parameters.iter().map(|(name, _)| name);
    if names.any(|name| name.starts_with("NetworkInterface.")) {
        return message.clone();
    }
    let body = String::from_utf8_lossy(&message.body);
    // The subnet may be stated in one place only.
    let body = body.replace("&SubnetId=", "&NetworkInterface.1.SubnetId=");
    let interface = "NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.DeleteOnTermination=true";
    Message {
        body: format!("{body}&{interface}").into(),
        ..message.clone()
    }
}
