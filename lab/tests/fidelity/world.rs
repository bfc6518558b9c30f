//! Two regions, as a client of the API builds them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{
    Filter, Instance, InstanceType, IpPermission, IpRange, ResourceType, Tag, TagSpecification,
    UserIdGroupPair,
};
use base64::Engine;

use super::lab::{BLOCK, Lab, Seen, dial, poll};

/// Key of the operator and host key of every instance.
#[derive(Debug)]
pub struct Keys {
    pub operator: PathBuf,
    pub host_public: String,
    host_private: String,
    operator_public: String,
}

/// One region with a public bastion, a private database host and a stranger
/// whose group lets nothing in.
#[derive(Clone, Debug)]
pub struct Site {
    pub client: Client,
    pub region: &'static str,
    pub vpc: String,
    pub public_subnet: String,
    pub private_table: String,
    pub public_table: String,
    pub nat: String,
    pub bastion_group: String,
    pub db_group: String,
    pub bastion: String,
    pub db: String,
    pub stranger: String,
    /// Elastic IP of the bastion.
    pub address: String,
    pub db_ip: String,
    pub stranger_ip: String,
}

#[derive(Clone, Debug)]
pub struct World {
    pub lab: Lab,
    pub one: Site,
    pub other: Site,
    pub keys: Arc<Keys>,
}

pub fn endpoint() -> String {
    format!("http://{BLOCK}.10:5566")
}

fn client(region: &'static str) -> Client {
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint())
        .region(Region::new(region))
        .credentials_provider(Credentials::new("lab", "lab", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

fn keys(lab: &Lab) -> Keys {
    let make = |name: &str| {
        let path = lab.state().join(name);
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path)
            .status()
            .expect("ssh-keygen of package openssh-client");
        assert!(status.success());
        let private = std::fs::read_to_string(&path).unwrap();
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        (path, private, public.trim().to_owned())
    };
    let (operator, _, operator_public) = make("operator");
    let (_, host_private, host_public) = make("host");
    Keys {
        operator,
        host_public,
        host_private,
        operator_public,
    }
}

impl Keys {
    /// User data that hands the host key over.
    fn user_data(&self) -> String {
        let private: String = self
            .host_private
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect();
        let text = format!(
            "#cloud-config\nssh_keys:\n  ed25519_private: |\n{private}  ed25519_public: {}\n\
             runcmd:\n- [touch, /root/user-data-was-here]\n",
            self.host_public
        );
        base64::engine::general_purpose::STANDARD.encode(text)
    }
}

pub fn tcp(port: i32) -> aws_sdk_ec2::types::builders::IpPermissionBuilder {
    IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(port)
        .to_port(port)
}

pub fn from_cidr(port: i32, cidr: &str) -> IpPermission {
    tcp(port)
        .ip_ranges(IpRange::builder().cidr_ip(cidr).build())
        .build()
}

pub fn from_group(port: i32, group: &str) -> IpPermission {
    let pair = UserIdGroupPair::builder().group_id(group).build();
    tcp(port).user_id_group_pairs(pair).build()
}

impl World {
    pub async fn build(lab: &Lab) -> Self {
        let keys = Arc::new(keys(lab));
        let one = Site::build("eu-west-1", 71, &keys).await;
        let other = Site::build("us-east-1", 72, &keys).await;
        let world = Self {
            lab: lab.clone(),
            one,
            other,
            keys,
        };
        for site in [&world.one, &world.other] {
            assert_eq!(
                poll(|| (dial(&site.address, 22) == Seen::Open).then_some(())),
                Some(())
            );
            for host in [&site.bastion, &site.db, &site.stranger] {
                let there = || {
                    let done = "/var/lib/lab/user-data.done";
                    (lab.exec(host, &["test", "-e", done]).0 == 0).then_some(())
                };
                assert_eq!(poll(there), Some(()), "{host} came up");
            }
        }
        world
    }
}

impl Site {
    async fn build(region: &'static str, net: u8, keys: &Keys) -> Self {
        let client = client(region);
        let vpc = client
            .create_vpc()
            .cidr_block(format!("10.{net}.0.0/16"))
            .send()
            .await
            .unwrap();
        let vpc = vpc.vpc.unwrap().vpc_id.unwrap();
        let public_subnet = subnet(&client, &vpc, &format!("10.{net}.1.0/24")).await;
        let private_subnet = subnet(&client, &vpc, &format!("10.{net}.2.0/24")).await;
        let (public_table, private_table, nat) =
            routes(&client, &vpc, &public_subnet, &private_subnet).await;
        let bastion_group = group(&client, &vpc, "bastion").await;
        let db_group = group(&client, &vpc, "db").await;
        let stranger_group = group(&client, &vpc, "stranger").await;
        allow(&client, &bastion_group, from_cidr(22, "0.0.0.0/0")).await;
        allow(&client, &bastion_group, from_cidr(80, "0.0.0.0/0")).await;
        allow(&client, &db_group, from_group(22, &bastion_group)).await;
        allow(&client, &db_group, from_cidr(5432, "10.0.0.0/8")).await;
        let key = Blob::new(keys.operator_public.as_bytes());
        let imported = client
            .import_key_pair()
            .key_name("operator")
            .public_key_material(key);
        imported.send().await.unwrap();

        let mut site = Self {
            client,
            region,
            vpc,
            public_subnet,
            private_table,
            public_table,
            nat,
            bastion_group,
            db_group,
            bastion: String::new(),
            db: String::new(),
            stranger: String::new(),
            address: String::new(),
            db_ip: format!("10.{net}.2.10"),
            stranger_ip: format!("10.{net}.1.20"),
        };
        let data = keys.user_data();
        let public = site.public_subnet.clone();
        let bastion_ip = format!("10.{net}.1.10");
        let bastion_group = site.bastion_group.clone();
        site.bastion = site
            .run("bastion", &public, &bastion_ip, &bastion_group, &data)
            .await;
        site.db = site
            .run("db", &private_subnet, &site.db_ip, &site.db_group, &data)
            .await;
        site.stranger = site
            .run(
                "stranger",
                &public,
                &site.stranger_ip,
                &stranger_group,
                &data,
            )
            .await;
        let (allocation, address) = allocate(&site.client).await;
        site.address = address;
        let associate = site.client.associate_address().allocation_id(allocation);
        associate.instance_id(&site.bastion).send().await.unwrap();
        site
    }

    pub async fn image(&self) -> String {
        let name = Filter::builder()
            .name("name")
            .values("debian-12-amd64-*")
            .build();
        let found = self
            .client
            .describe_images()
            .owners("136693071363")
            .filters(name);
        let images = found.send().await.unwrap().images.unwrap_or_default();
        assert_eq!(images.len(), 1, "{}", self.region);
        images[0].image_id.clone().unwrap()
    }

    async fn run(&self, name: &str, subnet: &str, ip: &str, group: &str, data: &str) -> String {
        let name = Tag::builder()
            .key("Name")
            .value(format!("{}-{name}", self.region))
            .build();
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::Instance)
            .tags(name);
        let answer = self
            .client
            .run_instances()
            .image_id(self.image().await)
            .instance_type(InstanceType::T3Small)
            .min_count(1)
            .max_count(1)
            .key_name("operator")
            .subnet_id(subnet)
            .private_ip_address(ip)
            .security_group_ids(group)
            .user_data(data)
            .tag_specifications(tags.build())
            .send()
            .await
            .unwrap();
        answer.instances.unwrap()[0].instance_id.clone().unwrap()
    }

    pub async fn describe(&self, instance: &str) -> Instance {
        let answer = self
            .client
            .describe_instances()
            .instance_ids(instance)
            .send()
            .await
            .unwrap();
        let reservation = answer
            .reservations
            .unwrap_or_default()
            .into_iter()
            .next()
            .unwrap();
        reservation
            .instances
            .unwrap_or_default()
            .into_iter()
            .next()
            .unwrap()
    }

    pub async fn state(&self, instance: &str) -> String {
        let state = self.describe(instance).await.state.unwrap().name.unwrap();
        state.as_str().to_owned()
    }

    pub async fn allow(&self, group: &str, permission: IpPermission) {
        allow(&self.client, group, permission).await;
    }

    pub async fn revoke(&self, group: &str, permission: IpPermission) {
        let call = self.client.revoke_security_group_ingress().group_id(group);
        call.ip_permissions(permission).send().await.unwrap();
    }
}

async fn subnet(client: &Client, vpc: &str, cidr: &str) -> String {
    let answer = client
        .create_subnet()
        .vpc_id(vpc)
        .cidr_block(cidr)
        .send()
        .await
        .unwrap();
    answer.subnet.unwrap().subnet_id.unwrap()
}

async fn group(client: &Client, vpc: &str, name: &str) -> String {
    let call = client
        .create_security_group()
        .group_name(name)
        .description(name)
        .vpc_id(vpc);
    call.send().await.unwrap().group_id.unwrap()
}

async fn allow(client: &Client, group: &str, permission: IpPermission) {
    let call = client.authorize_security_group_ingress().group_id(group);
    call.ip_permissions(permission).send().await.unwrap();
}

pub async fn allocate(client: &Client) -> (String, String) {
    let answer = client.allocate_address().send().await.unwrap();
    (answer.allocation_id.unwrap(), answer.public_ip.unwrap())
}

/// A table for the public subnet, one for the private, and a NAT gateway.
async fn routes(
    client: &Client,
    vpc: &str,
    public: &str,
    private: &str,
) -> (String, String, String) {
    let gateway = client.create_internet_gateway().send().await.unwrap();
    let gateway = gateway
        .internet_gateway
        .unwrap()
        .internet_gateway_id
        .unwrap();
    let attach = client
        .attach_internet_gateway()
        .internet_gateway_id(&gateway)
        .vpc_id(vpc);
    attach.send().await.unwrap();
    let (allocation, _) = allocate(client).await;
    let nat = client
        .create_nat_gateway()
        .subnet_id(public)
        .allocation_id(allocation);
    let nat = nat
        .send()
        .await
        .unwrap()
        .nat_gateway
        .unwrap()
        .nat_gateway_id
        .unwrap();
    let mut tables = Vec::new();
    for subnet in [public, private] {
        let table = client
            .create_route_table()
            .vpc_id(vpc)
            .send()
            .await
            .unwrap();
        let table = table.route_table.unwrap().route_table_id.unwrap();
        let associate = client
            .associate_route_table()
            .route_table_id(&table)
            .subnet_id(subnet);
        associate.send().await.unwrap();
        tables.push(table);
    }
    let route = |table: &str| {
        client
            .create_route()
            .route_table_id(table)
            .destination_cidr_block("0.0.0.0/0")
    };
    route(&tables[0]).gateway_id(&gateway).send().await.unwrap();
    route(&tables[1]).nat_gateway_id(&nat).send().await.unwrap();
    let private_table = tables.pop().unwrap();
    (tables.pop().unwrap(), private_table, nat)
}
