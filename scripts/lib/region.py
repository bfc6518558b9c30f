"""Acts on a whole region through the EC2 API, as an outage would.

usage: region.py off|on REGION      power of all instances (off: as a power cut)
       region.py empty REGION…      fails when anything that costs money is left
"""

import sys

import boto3


def instances(ec2, *states):
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": list(states)}]
    )
    return [
        instance["InstanceId"]
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    ]


def power_off(region):
    ec2 = boto3.client("ec2", region_name=region)
    ids = instances(ec2, "pending", "running")
    ec2.stop_instances(InstanceIds=ids, Force=True)
    print(f"{region}: {len(ids)} instances lost power")


def power_on(region):
    ec2 = boto3.client("ec2", region_name=region)
    ec2.get_waiter("instance_stopped").wait(
        InstanceIds=(ids := instances(ec2, "stopping", "stopped")),
        WaiterConfig={"Delay": 1, "MaxAttempts": 60},
    )
    ec2.start_instances(InstanceIds=ids)
    print(f"{region}: {len(ids)} instances started")


def left_in(region):
    ec2 = boto3.client("ec2", region_name=region)
    live = instances(ec2, "pending", "running", "stopping", "stopped")
    vpcs = [v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]]
    addresses = [a["PublicIp"] for a in ec2.describe_addresses()["Addresses"]]
    keys = [k["KeyName"] for k in ec2.describe_key_pairs()["KeyPairs"]]
    peerings = [
        p["VpcPeeringConnectionId"]
        for p in ec2.describe_vpc_peering_connections()["VpcPeeringConnections"]
        if p["Status"]["Code"] in ("active", "pending-acceptance", "provisioning")
    ]
    nats = [
        n["NatGatewayId"]
        for n in ec2.describe_nat_gateways()["NatGateways"]
        if n["State"] != "deleted"
    ]
    return live + vpcs + addresses + keys + peerings + nats


def empty(*regions):
    left = [f"{region}: {name}" for region in regions for name in left_in(region)]
    route53 = boto3.client("route53", region_name="us-east-1")
    zones, checks = route53.list_hosted_zones(), route53.list_health_checks()
    left += [f"health check {check['Id']}" for check in checks["HealthChecks"]]
    left += [f"zone {zone['Name']}" for zone in zones["HostedZones"]]
    if left:
        sys.exit("still there: " + ", ".join(left))
    print("the account is empty")


if __name__ == "__main__":
    {"off": power_off, "on": power_on, "empty": empty}[sys.argv[1]](*sys.argv[2:])
