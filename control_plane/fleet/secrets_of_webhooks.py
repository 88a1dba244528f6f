"""The life of a webhook's secrets: one is present; those before it sign as well for a day after their rotation."""

from datetime import datetime, timedelta

from contract.configuration import WebhookSecret
from control_plane.fleet.instants import instant_text

OVERLAP = timedelta(hours=24)
"""How long the secret before a rotation still signs: a vendor changes its own side when it likes, within a day."""
SECRETS_MAX = 4
"""Of many rotations within a day the latest count: each secret costs every delivery a signature."""


def rotated(secrets: tuple[WebhookSecret, ...], new: str, now: datetime) -> tuple[WebhookSecret, ...]:
    """The new secret, and those before it that still sign."""
    present, *former = secrets
    still = [one for one in former if one.until is not None and one.until > instant_text(now)]
    retired = WebhookSecret(secret=present.secret, until=instant_text(now + OVERLAP))
    return (WebhookSecret(secret=new), retired, *still)[:SECRETS_MAX]
