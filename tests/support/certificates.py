"""A capacity certificate as `cellwallet loadtest certify` writes it."""

from typing import Any


def certificate_document(*, cell: str = "cell-1", version: str = "0.1.0", **changed: Any) -> dict[str, Any]:
    def step(rate_per_s: float, *, held: bool) -> dict[str, Any]:
        return {
            "rate_per_s": rate_per_s,
            "duration_s": 5.0,
            "p50_ms": 4.0,
            "p99_ms": 20.0 if held else 400.0,
            "answered": 2_500,
            "errors": 0,
            "late": 3,
            "dropped": 0 if held else 120,
            "others_cores": 0.1,
            "held": held,
            "broke": [] if held else ["p99 of 400 ms is above 50 ms"],
        }

    return {
        "form": 1,
        "made_at": "2026-03-01T12:00:00Z",
        "subject": {"kind": "cell", "id": cell, "software_version": version},
        "versions": {"python": "3.12.3", "postgresql": "18.1"},
        "machine": {"cpu": "A processor", "cores": 2, "memory_mb": 16_000, "kernel": "6.8"},
        "topology": {"api_processes": 2, "standbys": 0},
        "degraded_topology": {"api_processes": 1, "standbys": 0},
        "limit_per_s": 500.0,
        "degraded_loss": 0.2,
        "moves_loss": 0.05,
        "failover_s": 30.0,
        "assumed": ["moves_loss", "failover_s"],
        "routers": [
            {
                "data_plane": "python",
                "limit_per_s": 300.0,
                "rounds": [{"topology": "normal", "limit_per_s": 300.0, "steps": [step(300.0, held=True)]}],
            }
        ],
        "unmeasured": [{"part": "router_haproxy", "why": "haproxy is not installed"}],
        "objective": {"p99_ms_max": 50.0, "error_share_max": 0.001, "late_share_max": 0.05},
        "rounds": [
            {"topology": "normal", "limit_per_s": 500.0, "steps": [step(500.0, held=True), step(625.0, held=False)]},
            {"topology": "degraded", "limit_per_s": 400.0, "steps": [step(400.0, held=True), step(500.0, held=False)]},
        ],
        "checks": [{"name": "conservation", "passed": True, "detail": ""}],
        "is_quick": False,
        "is_noisy": False,
        **changed,
    }
