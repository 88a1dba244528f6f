"""A namespace and the objects of a chart in it, each a resource of its own.

They are registered under the tokens of Pulumi's official provider of Kubernetes, which has a type for every kind; its
package of classes would add nothing to objects that come out of charts, so it is not needed.
"""

from collections.abc import Sequence

import pulumi

from infra.policies import Declared


class KubernetesObject(pulumi.CustomResource):
    def __init__(self, declared: Declared, opts: pulumi.ResourceOptions) -> None:
        super().__init__(declared.type, declared.name, dict(declared.inputs), opts)


class InstalledChart(pulumi.ComponentResource):
    """What comes first (the namespace) is there before the others, and goes after them."""

    token = "cellwallet:index:InstalledChart"  # noqa: S105 - Pulumi's word for the name of a type

    def __init__(
        self,
        name: str,
        plan: Sequence[Declared],
        *,
        provider: pulumi.ProviderResource,
        after: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(self.token, name, None, opts)
        first: list[pulumi.Resource] = list(after)
        for number, one in enumerate(plan):
            options = pulumi.ResourceOptions(
                parent=self, provider=provider, protect=one.is_protected, depends_on=list(first)
            )
            made = KubernetesObject(one, options)
            if number == 0:
                first = [made]
        self.register_outputs({})


class CellPlatform(InstalledChart):
    token = "cellwallet:index:CellPlatform"  # noqa: S105 - as above


class Router(InstalledChart):
    token = "cellwallet:index:Router"  # noqa: S105 - as above


class ControlPlane(InstalledChart):
    token = "cellwallet:index:ControlPlane"  # noqa: S105 - as above


class Storage(InstalledChart):
    """Of no chart: the class of volumes that databases ask for."""

    token = "cellwallet:index:Storage"  # noqa: S105 - as above
