"""What clouds add to what they are asked for: the fields that other resources are made from.

Shared by the recorder and by the stand-in provider, so that both say the same.
"""

from typing import Any

ACCOUNT = "123456789012"

Inputs = dict[str, Any]


def identity(kind: str, name: str) -> str:
    """Of AWS' style: what it is, and which."""
    return f"{kind.rpartition(':')[2].lower()}-{name}"


def answers(kind: str, name: str, inputs: Inputs) -> Inputs:
    """Everything that was asked for, and what is only known afterwards."""
    return {**inputs, **_more(kind, name, inputs)}


def _more(kind: str, name: str, inputs: Inputs) -> Inputs:
    called = inputs.get("name", name)
    match kind:
        case "aws:iam/role:Role":
            return {"name": called, "arn": f"arn:aws:iam::{ACCOUNT}:role/{called}"}
        case "aws:eks/cluster:Cluster":
            return {
                "name": called,
                "arn": f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/{called}",
                "endpoint": f"https://{called}.eks.example",
                "certificateAuthority": {"data": "Q0E="},
                "status": "ACTIVE",
            }
        case "aws:eks/nodeGroup:NodeGroup":
            return {"arn": f"arn:aws:eks:eu-west-1:{ACCOUNT}:nodegroup/{called}", "status": "ACTIVE"}
        case "aws:ec2/eip:Eip":
            return {"allocationId": identity(kind, name), "publicIp": "198.51.100.7"}
        case _:
            return {}
