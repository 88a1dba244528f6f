"""The parts of a certificate in words, and which of them are routers. Pure."""

from contract.certificate import DataPlane, Part

TITLES: dict[Part, str] = {
    "normal": "normal topology",
    "degraded": "degraded topology",
    "router_python": "through the embedded router",
    "router_haproxy": "through HAProxy",
    "moves": "while units move",
    "failover": "during a failover",
}
ROUTER_PARTS: dict[DataPlane, Part] = {"python": "router_python", "haproxy": "router_haproxy"}
