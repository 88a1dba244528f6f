"""What a cell tells about itself: logs, one line per request, figures, traces.

Nothing here decides anything, and nothing here may slow or stop a request: what cannot be told in time is dropped
and counted.
"""

from cell.telemetry.access_log import AccessLine, AccessLog
from cell.telemetry.logs import set_up_logging
from cell.telemetry.metrics import Metrics
from cell.telemetry.requests import Telemetry
from cell.telemetry.tracing import Tracing, start_tracing

__all__ = ["AccessLine", "AccessLog", "Metrics", "Telemetry", "Tracing", "set_up_logging", "start_tracing"]
