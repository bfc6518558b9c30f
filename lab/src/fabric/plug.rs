//! Plugs an instance into its VPC.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::internet::Internet;
use super::namespace;
use super::plan::link_of;
use crate::command::{CommandError, run, run_with_input};

/// Where an instance is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub instance: String,
    pub vpc: String,
    pub subnet: Ipv4Net,
    pub address: Ipv4Addr,
}

/// 127.1.0.0 to 127.255.255.255: public addresses of the lab. What is left,
/// 127.0.x.x, is the instance's own.
const PUBLIC: [&str; 8] = [
    "127.1.0.0/16",
    "127.2.0.0/15",
    "127.4.0.0/14",
    "127.8.0.0/13",
    "127.16.0.0/12",
    "127.32.0.0/11",
    "127.64.0.0/10",
    "127.128.0.0/9",
];

impl Socket {
    fn link(&self) -> String {
        link_of('i', &self.instance)
    }

    /// Gives the container of process `pid` its network card.
    pub(super) async fn connect(&self, internet: &Internet, pid: u32) -> Result<(), CommandError> {
        let router = internet.vpc_namespace(&self.vpc);
        let (link, pid) = (self.link(), pid.to_string());
        namespace::batch_remove(&router, &format!("link del {link}\n")).await;
        let lines = format!(
            "link add {link} type veth peer name eth0 netns {pid}\n\
             link set {link} up\nroute replace {}/32 dev {link}\n",
            self.address
        );
        namespace::batch(&router, &lines).await?;
        // Without this a router answers for a neighbour only after a random delay.
        let delay = format!("net.ipv4.neigh.{link}.proxy_delay=0");
        run("ip", &["netns", "exec", &router, "sysctl", "-qw", &delay]).await?;
        self.configure(&pid).await
    }

    async fn configure(&self, pid: &str) -> Result<(), CommandError> {
        let inside = ["-t", pid, "-n", "--"];
        let sysctl = ["sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1"];
        run("nsenter", &[&inside[..], &sysctl].concat()).await?;
        let router = self.subnet.hosts().next().unwrap_or(self.subnet.network());
        let (address, length) = (self.address, self.subnet.prefix_len());
        let mut lines = format!("addr add {address}/{length} dev eth0\nlink set eth0 up\n");
        for block in PUBLIC {
            lines.push_str(&format!(
                "route replace {block} via {router} dev eth0 src {address} table local\n"
            ));
        }
        // Last: this is what tells the instance that its network is there.
        lines.push_str(&format!("route replace default via {router} dev eth0\n"));
        let batch = ["ip", "-batch", "-"];
        run_with_input("nsenter", &[&inside[..], &batch].concat(), lines.as_bytes()).await?;
        Ok(())
    }

    /// Whether the router has the instance's link.
    pub(super) async fn connected(&self, internet: &Internet) -> bool {
        let router = internet.vpc_namespace(&self.vpc);
        namespace::has_link(&router, &self.link()).await
    }
}
