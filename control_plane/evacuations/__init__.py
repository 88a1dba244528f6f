"""Evacuations of zones as pure rules: traffic first, then primaries, then the cordon; and all of it with an end."""
