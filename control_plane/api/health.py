"""`/healthz` (the process runs), `/readyz` (it can do its work), `/metrics`. No token: they tell nothing of vendors."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel

from control_plane.api.answers import described, refused
from control_plane.api.authorisation import StrictRoute
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, problem
from control_plane.api.reasons import PlatformReason
from control_plane.store.database import DatabaseMustBeReadyError
from control_plane.store.fleet import figures
from control_plane.store.migrate import applied_revision

health_routes = APIRouter(route_class=StrictRoute, tags=["health"])

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HealthAnswer(BaseModel):
    status: str


@health_routes.get("/healthz", response_model=None, responses=described(HealthAnswer, 400))
async def healthz() -> HealthAnswer:
    return HealthAnswer(status="ok")


@health_routes.get("/readyz", response_model=None, responses=described(HealthAnswer, 400, 503))
async def readyz(request: Request) -> HealthAnswer | Response:
    parts = parts_of(request)
    async with parts.database.transaction() as connection:
        revision = await applied_revision(connection)
    if revision != parts.schema_revision:
        detail = f"the database is at {revision}, this version needs {parts.schema_revision}"
        return problem(request, Refusal(reason=PlatformReason.SCHEMA_MUST_BE_CURRENT, detail=detail))
    return HealthAnswer(status="ok")


@health_routes.get("/metrics", response_class=PlainTextResponse, responses=refused(400))
async def metrics(request: Request) -> Response:
    parts = parts_of(request)
    try:
        async with parts.database.transaction() as connection:
            parts.metrics.tell_figures(await figures(connection))
    except DatabaseMustBeReadyError:
        parts.metrics.tell_database_gone()
    return Response(parts.metrics.text(), media_type=METRICS_TYPE)
