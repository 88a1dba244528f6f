"""The platform API: the only HTTP in. Rules live in control_plane/fleet, SQL in control_plane/store."""
