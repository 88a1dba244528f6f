"""What a `destroy` meets first: a protected resource that depends on all others of its stack, and is nothing itself.

Pulumi deletes what nothing depends on, all at once, and refuses a protected resource only when its turn comes. Without
the seal it would take nodes, routes and policies of a living cell before it met the database.
"""

from collections.abc import Sequence

import pulumi


def seal(everything: Sequence[pulumi.Resource], *, is_retired: bool) -> None:
    """Broken by retiring the stack; it lies in the stack's state alone, and no cloud knows of it."""
    options = pulumi.ResourceOptions(depends_on=list(everything), protect=not is_retired)
    pulumi.Stash("in-use", input="until is_retired is true", opts=options)
