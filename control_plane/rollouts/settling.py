"""When a deployment has become what it was told to be. Conditions alone are not believed: they may be of before."""

from control_plane.rollouts.model import ZoneSeen


def why_not_settled(seen: ZoneSeen, image: str) -> str | None:
    """None once every process runs the image and is ready, and no other is left."""
    if seen.image != image:
        return f"it is told to run {seen.image}"
    if seen.observed_generation < seen.generation:
        return f"generation {seen.generation} has not been seen by whoever carries it out"
    if seen.updated != seen.wanted:
        return f"{seen.updated} of {seen.wanted} are replaced"
    if seen.total != seen.updated:
        return f"{seen.total - seen.updated} of before are still there"
    if seen.available != seen.updated:
        return f"{seen.available} of {seen.updated} are available"
    others = sum(one.image != image for one in seen.processes)
    if others:
        return f"{others} of {len(seen.processes)} processes run another image"
    ready = sum(one.is_ready for one in seen.processes)
    if ready != seen.wanted or len(seen.processes) != seen.wanted:
        return f"{ready} of {len(seen.processes)} processes are ready, {seen.wanted} are wanted"
    return None


def has_failed(seen: ZoneSeen, image: str) -> bool:
    """Whether the substrate gave up on this image, and not on one of before."""
    return seen.has_given_up and seen.image == image and seen.observed_generation >= seen.generation
