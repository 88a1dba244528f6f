"""Carries rollouts and evacuations out: looks, asks control_plane/rollouts what to do, does it, records it."""
