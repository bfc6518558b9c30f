"""The account, looked at and acted on from outside hafail.

usage: account.py count DEPLOYMENT       numbers of tagged things, as JSON
       account.py off|on|end DEPLOYMENT HOST  power, or the end, of one instance
       account.py make-zone|remove-zone|records ZONE
"""

import json
import sys

import boto3

REGIONS = ("eu-west-1", "us-east-1", "eu-central-1")


def tagged(deployment):
    return {"Name": "tag:hafail:topology", "Values": [deployment]}


def instances(ec2, *filters):
    states = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[states, *filters])
    return [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]


def count(deployment):
    counts = {}
    for region in REGIONS:
        ec2, mine = boto3.client("ec2", region_name=region), [tagged(deployment)]
        things = {
            "instances": instances(ec2, *mine),
            "vpcs": ec2.describe_vpcs(Filters=mine)["Vpcs"],
            "subnets": ec2.describe_subnets(Filters=mine)["Subnets"],
            "gateways": ec2.describe_internet_gateways(Filters=mine)["InternetGateways"],
            "groups": ec2.describe_security_groups(Filters=mine)["SecurityGroups"],
            "addresses": ec2.describe_addresses(Filters=mine)["Addresses"],
            "keys": ec2.describe_key_pairs(Filters=mine)["KeyPairs"],
        }
        counts |= {f"{region} {kind}": len(found) for kind, found in things.items() if found}
    zones = boto3.client("route53", region_name=REGIONS[0]).list_hosted_zones()["HostedZones"]
    return counts | {"zones": len(zones)}


def power(action, deployment, host):
    name = {"Name": "tag:Name", "Values": [f"{deployment}/*/instance/{host}"]}
    for region in REGIONS:
        ec2 = boto3.client("ec2", region_name=region)
        found = instances(ec2, tagged(deployment), name)
        if found and action == "off":
            ec2.stop_instances(InstanceIds=found, Force=True)
        if found and action == "on":
            ec2.get_waiter("instance_stopped").wait(
                InstanceIds=found, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
            )
            ec2.start_instances(InstanceIds=found)
        if found and action == "end":
            ec2.terminate_instances(InstanceIds=found)
        if found:
            return found
    sys.exit(f"{deployment} has no instance {host}")


def zone(action, name):
    route53 = boto3.client("route53", region_name=REGIONS[0])
    if action == "make-zone":
        return route53.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"]
    found = [z["Id"] for z in route53.list_hosted_zones()["HostedZones"] if z["Name"] == f"{name}."]
    if action == "remove-zone":
        return [route53.delete_hosted_zone(Id=id) and id for id in found]
    sets = route53.list_resource_record_sets(HostedZoneId=found[0])["ResourceRecordSets"]
    return sorted(record["Type"] for record in sets)


def main(action, *rest):
    if action == "count":
        return count(*rest)
    return power(action, *rest) if action in ("off", "on", "end") else zone(action, *rest)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
