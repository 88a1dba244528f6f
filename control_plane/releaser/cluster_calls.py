"""Calls to one Kubernetes cluster: in threads of their own, bounded in time, and what came of them as a value.

The client is the blocking one of the `kubernetes` package; one client for one cluster. A thread may outlast whoever
waits for it, and may then only look: what nobody waits for any more is not changed. What is read or changed is not
known here.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from control_plane.fleet.model import Unreachable
from control_plane.releaser.substrate import CALL_TIMEOUT_S, NotTaken

REQUEST_TIMEOUT_S: Final = (2.0, 3.0)
"""To connect, and to read. With its retries a call has ended by itself when its caller gives it up, so that a cluster
that is silent holds no threads."""
RETRIES: Final = Retry(
    total=2,
    backoff_factor=0.3,
    backoff_jitter=0.3,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
    respect_retry_after_header=False,
)
"""Also of patches: each tests what it changes, so that a second one changes nothing more. For how long a server would
like to be left alone is not waited in a thread: the next turn asks again."""
THREADS: Final = 8
"""Not the loop's own, which also look names up: whatever a cluster does, cells and databases are reached."""
MANAGER: Final = "cellwallet-control-plane"
"""Of the fields that are changed from here."""
APPLY: Final = "application/apply-patch+yaml"
LOST_RACE: Final = frozenset({409, 412, 422})

_FAILURES = (ApiException, HTTPError, OSError, TimeoutError)

Found = TypeVar("Found")
Work = Callable[[float], Found]
"""Is told until when, on the monotonic clock, somebody waits for it."""


class ClusterCalls:
    def __init__(self, api: client.ApiClient) -> None:
        self.api = api
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="kubernetes")

    async def call(self, work: Work[Found], *, timeout_s: float | None = None) -> Found | NotTaken | Unreachable:
        """In a thread, for `CALL_TIMEOUT_S` unless told otherwise."""
        bound_s = CALL_TIMEOUT_S if timeout_s is None else timeout_s
        until_s = monotonic() + bound_s
        try:
            async with asyncio.timeout(bound_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work, until_s)
        except ApiException as error:
            if error.status in LOST_RACE:
                return NotTaken(detail=f"somebody else changed it meanwhile ({error.status} {error.reason})")
            if error.status in {401, 403}:
                return NotTaken(detail=f"the cluster does not let us ({error.status} {error.reason})")
            return Unreachable(detail=f"the cluster answers {error.status} {error.reason}")
        except _FAILURES as error:
            return Unreachable(detail=f"the cluster does not answer ({type(error).__name__})")

    def plain(self, listed: Any) -> list[dict[str, Any]]:
        """As JSON: what the server says, without the client's models."""
        items: list[dict[str, Any]] = self.api.sanitize_for_serialization(listed)["items"]
        return items

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.api.close)


def must_be_waited_for(until_s: float) -> None:
    """Whoever gave a change up has decided again since, perhaps otherwise.

    Raises:
        TimeoutError: nobody waits for it any more.

    """
    if monotonic() > until_s:
        raise TimeoutError("nobody waits for this change any more")


def cluster_client(kubeconfig: Path | None) -> client.ApiClient:
    """Never the client's global configuration. Connects to nothing yet.

    Raises:
        kubernetes.config.ConfigException: the kubeconfig is unusable, or there is no service account.

    """
    settings = client.Configuration()
    if kubeconfig is None:
        config.load_incluster_config(client_configuration=settings)
    else:
        config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
    settings.retries = RETRIES
    return client.ApiClient(settings)
