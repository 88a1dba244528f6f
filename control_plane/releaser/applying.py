"""Objects of a cell brought to a cluster by server-side apply: one owner for each field, nothing taken by force.

Everything is tried first (`dryRun=All`), so that what the server refuses, or somebody else owns, is told before
anything is changed. Blocking, as the client is; whoever calls it does so in a thread.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from control_plane.installations.model import (
    Change,
    Contested,
    Document,
    FieldOwner,
    Installation,
    Installed,
    ObjectInstalled,
    RunsAnother,
)
from control_plane.releaser.cluster_calls import APPLY, MANAGER, REQUEST_TIMEOUT_S
from control_plane.releaser.manifests import image_of
from control_plane.releaser.substrate import NotTaken

CONFLICT: Final = "FieldManagerConflict"
POD_MONITORS: Final = {"group": "monitoring.coreos.com", "version": "v1", "plural": "podmonitors"}
SERVERS_OWN: Final = frozenset(
    {"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}
)
"""Of an object's metadata."""
_REFUSED: Final = frozenset({400, 404, 422})
"""By the server, for what was asked: to ask the same again is of no use."""

HOW: Final = {"_preload_content": False, "_request_timeout": REQUEST_TIMEOUT_S}
"""Each call is made: what comes back is read as the JSON that it is."""

Call = Callable[..., Any]


class Applying:
    def __init__(self, api: client.ApiClient) -> None:
        apps, batch, core = client.AppsV1Api(api), client.BatchV1Api(api), client.CoreV1Api(api)
        policy, custom = client.PolicyV1Api(api), client.CustomObjectsApi(api)
        self._read: Mapping[str, Call] = {
            "Deployment": apps.read_namespaced_deployment,
            "Job": batch.read_namespaced_job,
            "Service": core.read_namespaced_service,
            "PodDisruptionBudget": policy.read_namespaced_pod_disruption_budget,
            "PodMonitor": custom.get_namespaced_custom_object,
        }
        self._patch: Mapping[str, Call] = {
            "Deployment": apps.patch_namespaced_deployment,
            "Job": batch.patch_namespaced_job,
            "Service": core.patch_namespaced_service,
            "PodDisruptionBudget": policy.patch_namespaced_pod_disruption_budget,
            "PodMonitor": custom.patch_namespaced_custom_object,
        }

    def install(
        self, installation: Installation, *, namespace: str, is_dry_run: bool, ends_s: float
    ) -> Installed | Contested | RunsAnother | NotTaken:
        """As `Substrate.install`; raises what the client raises for a server that is away or does not let us.

        Nothing is begun after `ends_s` (of `time.monotonic`): whoever asked has been told by then that it was not done.
        """
        objects = [_placed(one, namespace) for one in installation.objects]
        there = [self._found(one) for one in objects]
        others = {image_of(one) for one in there if one is not None and one["kind"] == "Deployment"} - {
            installation.image
        }
        if others:
            return RunsAnother(images=tuple(sorted(others)))
        objects = [_as_it_was(one, before) for one, before in zip(objects, there, strict=True)]
        tried = self._applied(objects, there, is_dry_run=True, ends_s=ends_s)
        if is_dry_run or not isinstance(tried, Installed):
            return tried
        return self._applied(objects, there, is_dry_run=False, ends_s=ends_s)

    def _applied(
        self, objects: list[Document], there: list[Document | None], *, is_dry_run: bool, ends_s: float
    ) -> Installed | Contested | NotTaken:
        done: list[ObjectInstalled] = []
        contested: list[FieldOwner] = []
        for one, before in zip(objects, there, strict=True):
            kind, name = one["kind"], one["metadata"]["name"]
            if time.monotonic() > ends_s:
                raise TimeoutError(f"{kind} {name} was not come to in time")
            try:
                after = self._apply(one, is_dry_run=is_dry_run)
            except ApiException as error:
                owners = _owners(error, one)
                if not owners and error.status not in _REFUSED:
                    raise
                if not owners:
                    return NotTaken(detail=f"{kind} {name}: {_message(error)}")
                contested += owners
            else:
                done.append(ObjectInstalled(kind=kind, name=name, change=_change(before, after)))
        return Contested(fields=tuple(contested)) if contested else Installed(objects=tuple(done))

    def _found(self, one: Document) -> Document | None:
        try:
            answer = self._read[one["kind"]](**_place(one), **HOW)
        except ApiException as error:
            if error.status != 404:
                raise
            return None
        return {**_json(answer), "kind": one["kind"]}

    def _apply(self, one: Document, *, is_dry_run: bool) -> Document:
        answer = self._patch[one["kind"]](
            **_place(one),
            body=one,
            field_manager=MANAGER,
            field_validation="Strict",
            dry_run="All" if is_dry_run else None,
            _content_type=APPLY,
            **HOW,
        )
        return _json(answer)


def _placed(one: Document, namespace: str) -> Document:
    return {**one, "metadata": {**one["metadata"], "namespace": namespace}}


def _as_it_was(one: Document, before: Document | None) -> Document:
    """A Deployment only if nobody has changed it since: a rollout that began meanwhile would be taken back by it."""
    if before is None or one["kind"] != "Deployment":
        return one
    return {**one, "metadata": {**one["metadata"], "resourceVersion": before["metadata"]["resourceVersion"]}}


def _place(one: Document) -> dict[str, str]:
    place = {"name": one["metadata"]["name"], "namespace": one["metadata"]["namespace"]}
    return {**POD_MONITORS, **place} if one["kind"] == "PodMonitor" else place


def _json(answer: Any) -> Document:
    document: Document = json.loads(answer.data)
    return document


def _change(before: Document | None, after: Document) -> Change:
    if before is None:
        return "created"
    return "unchanged" if _content(before) == _content(after) else "changed"


def _content(document: Document) -> tuple[dict[str, Any], Any]:
    """What somebody asked for, without what the server notes about it."""
    metadata = {name: member for name, member in document["metadata"].items() if name not in SERVERS_OWN}
    return metadata, document.get("spec")


def _owners(error: ApiException, one: Document) -> list[FieldOwner]:
    """Of a conflict of apply; a cause reads `conflict with "helm" using apps/v1`."""
    if error.status != 409:
        return []
    causes = (_document(error).get("details") or {}).get("causes") or []
    return [
        FieldOwner(
            kind=one["kind"],
            name=one["metadata"]["name"],
            field=str(cause.get("field", "?")),
            owner=[*str(cause.get("message", "")).split('"'), "?"][1],
        )
        for cause in causes
        if cause.get("reason") == CONFLICT
    ]


def _message(error: ApiException) -> str:
    return str(_document(error).get("message") or f"{error.status} {error.reason}")


def _document(error: ApiException) -> dict[str, Any]:
    try:
        document = json.loads(error.body or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
