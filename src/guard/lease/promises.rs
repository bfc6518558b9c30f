//! Promises between the guards: asked for by a primary whose store is silent,
//! given by the others.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use tokio::net::TcpStream;

use super::{Held, Lease, boottime};
use crate::{
    guard::Guard,
    ids::HostName,
    right::{NoPromise, Promise, PromiseRequest},
};

impl Guard {
    /// Asks every peer at once; all of them must promise.
    pub(super) async fn ask_peers(self: &Arc<Self>, lease: &Lease, held: &Held) {
        let ask = PromiseRequest {
            host: self.config.host.clone(),
            epoch: held.right.epoch,
            for_ms: u64::try_from(lease.terms.promise().as_millis()).unwrap_or(u64::MAX),
        };
        let sent = boottime();
        let peers = self.config.peers.keys();
        let asking = join_all(peers.map(|peer| self.ask_peer(lease, peer, &ask)));
        let answers = tokio::time::timeout(lease.terms.rpc_timeout, asking).await;
        let all = match answers {
            Ok(answers) => {
                let refused: BTreeMap<_, _> = self
                    .config
                    .peers
                    .keys()
                    .zip(&answers)
                    .filter_map(|(peer, answer)| Some((peer, answer.as_ref().err()?)))
                    .collect();
                if !refused.is_empty() {
                    tracing::warn!(?refused, "not all peers promised");
                }
                refused.is_empty()
            }
            Err(_) => false,
        };
        let next = held.holding.promised(&lease.terms, sent, boottime(), all);
        self.follow_up(lease, held, next).await;
    }

    async fn ask_peer(
        &self,
        lease: &Lease,
        peer: &HostName,
        ask: &PromiseRequest,
    ) -> Result<(), String> {
        let limit = lease.terms.rpc_timeout;
        let (address, port) = {
            let peer = &self.config.peers[peer];
            let port = peer.order_port.unwrap_or(self.config.order_port);
            (peer.address.as_str(), port)
        };
        let stream = TcpStream::connect((address, port));
        let stream = stream.await.map_err(|error| error.to_string())?;
        let connection = lease.peers.connect(stream, peer, limit).await;
        let mut connection = connection.map_err(|error| error.to_string())?;
        let answer = connection.promise(ask, limit).await;
        match answer.map_err(|error| error.to_string())? {
            Ok(_) => Ok(()),
            Err(why) => Err(why.to_string()),
        }
    }

    /// Where that cannot be written, each start of this guard begins the term
    /// of the promise again, which is as safe.
    pub(in crate::guard) fn keep_promise_over_boot(&self) {
        let Some(lease) = &self.lease else { return };
        let kept = self.store.update(|state| {
            let given = state.promise.take();
            state.promise = given.map(|given| given.in_boot(&self.boot, &lease.terms, lease.began));
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "a promise of an earlier boot is not kept as one of this boot");
        }
    }

    /// `POST /promise`: durable before it is given.
    pub(in crate::guard) async fn promise(
        self: &Arc<Self>,
        ask: PromiseRequest,
    ) -> Result<Promise, NoPromise> {
        let Some(lease) = &self.lease else {
            return Err(NoPromise::Primary);
        };
        // Whoever is taking the right may get it.
        let Ok(_turn) = lease.turn.try_lock() else {
            return Err(NoPromise::Primary);
        };
        let takes = self.may_write().is_ok();
        let promise = self.standing(lease, takes, |standing| standing.promise(&ask, boottime()))?;
        let kept = promise.clone();
        let written = self.remember(move |state| state.promise = Some(kept)).await;
        written.map_err(|_| NoPromise::Forgetful)?;
        Ok(promise)
    }
}
