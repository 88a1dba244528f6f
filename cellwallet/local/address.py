"""The one address by which services reach a cell's primary: a link to the socket folder of whichever it is now.

Without the link nobody reaches anything, which is how services are kept out. Not durable: who keeps it sets it anew.
"""

from cellwallet.local.postgres import Cluster, socket_fits

NAME = "in_use"


class Address:
    """The link lies beside the data of a cluster; where that is too deep for a socket, in its socket folder."""

    def __init__(self, beside: Cluster) -> None:
        wanted = beside.folder / NAME
        self.folder = wanted if socket_fits(wanted) else beside.socket_folder / NAME

    def is_open_to(self, cluster: Cluster) -> bool:
        try:
            return self.folder.readlink() == cluster.socket_folder
        except OSError:
            return False

    def open(self, cluster: Cluster) -> None:
        """At once: there is never a moment in which it is half."""
        draft = self.folder.with_name(f"{NAME}.new")
        draft.unlink(missing_ok=True)
        draft.symlink_to(cluster.socket_folder, target_is_directory=True)
        draft.rename(self.folder)

    def close(self) -> None:
        self.folder.unlink(missing_ok=True)
