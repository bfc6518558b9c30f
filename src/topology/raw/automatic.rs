//! The keys of automatic coordination.

use crate::topology::{
    CloudAccess, HealMode, WatchMode,
    node::Node,
    read::{At, Field, Read, Reader, field_name, record},
    values::{Port, Time},
};

record! {
    /// The lease of the primary: what is left out follows from `ttl`, and
    /// `ttl` from `objectives.rto`. It must hold that renew_every +
    /// 2 × rpc_timeout + kill_time + drift_margin ≤ ttl.
    Lease {
        /// How long a primary that is not heard of keeps the right to write;
        /// whole seconds.
        ttl: Option<At<Time>>,
        /// From one renewal to the next.
        renew_every: Option<At<Time>>,
        /// How long the store may take for an answer.
        rpc_timeout: Option<At<Time>>,
        /// How long it takes to kill PostgreSQL with all its processes.
        kill_time: Option<At<Time>>,
        /// How far two clocks may run apart within one `ttl`.
        drift_margin: Option<At<Time>>,
    }
}

record! {
    /// The store of automatic coordination: etcd on the first load balancer
    /// of each site and on the witness.
    Etcd {
        /// Default: 2379.
        client_port: Option<At<Port>>,
        /// Default: 2380.
        peer_port: Option<At<Port>>,
        /// The longest round trip between two places, as ping says; heartbeat
        /// and election time follow from it. Default: 100ms.
        round_trip: Option<At<Time>>,
    }
}

record! {
    /// The watchers of automatic coordination.
    Watch {
        /// `automatic`: they fail over, rejoin and repair. `observe`: they
        /// say what they would do. Default: automatic.
        mode: Option<At<WatchMode>>,
        /// By what right watchers ask the cloud and move records.
        cloud_access: Option<At<CloudAccess>>,
        /// Behind which load balancers show watchers their runtime API.
        admin_port: Option<At<Port>>,
        /// A second automatic failover within this time needs an
        /// acknowledgement. Default: 10m.
        failover_cooldown: Option<At<Time>>,
        /// What watchers do about machines that stay dead.
        heal: Option<At<Heal>>,
        /// URL to which events are posted.
        webhook: Option<At<String>>,
        /// ARN of an SNS topic for events.
        sns_topic: Option<At<String>>,
    }
}

record! {
    /// Self-healing of machines: one at a time, never the primary's.
    Heal {
        /// `off`; `start`: one that is stopped is started, one that is
        /// impaired restarted; `replace`: also, one that is gone is made
        /// anew, for which watchers get the SSH key and all passwords.
        /// Default: start.
        mode: Option<At<HealMode>>,
        /// How long a machine must stay dead. Default: 2m.
        after: Option<At<Time>>,
        /// How many machines at most are healed `within` its time. Default: 3.
        at_most: Option<At<u32>>,
        /// The time for which `at_most` holds. Default: 30m.
        within: Option<At<Time>>,
    }
}
