"""Which programs there are, from which package of which Go module, and what is written into them while linking.

Versions stand in the `go.mod` of the family's folder alone. Order is the order of building: what most tests need first.
"""

from contract.values import value


@value
class Tool:
    name: str
    """Also the name of the file."""
    package: str


@value
class Family:
    folder: str
    """Beside this file; holds `go.mod` and `go.sum`."""
    module: str
    """Of the required modules, the one whose version is the family's."""
    tools: tuple[Tool, ...]
    stamps: tuple[str, ...] = ()
    """What the linker writes in, `variable=value`; may name {version} (v1.36.1), {major}, {minor}."""


FAMILIES = (
    Family(
        folder="etcd",
        module="go.etcd.io/etcd/server/v3",
        tools=(Tool(name="etcd", package="go.etcd.io/etcd/server/v3"),),
    ),
    Family(
        folder="kubernetes",
        module="k8s.io/kubernetes",
        tools=(
            Tool(name="kube-apiserver", package="k8s.io/kubernetes/cmd/kube-apiserver"),
            Tool(name="kube-controller-manager", package="k8s.io/kubernetes/cmd/kube-controller-manager"),
            Tool(name="kube-scheduler", package="k8s.io/kubernetes/cmd/kube-scheduler"),
            Tool(name="kubectl", package="k8s.io/kubernetes/cmd/kubectl"),
        ),
        # Unstamped, the server names no version, and whatever asks for one (charts, providers) takes another branch.
        stamps=(
            "k8s.io/component-base/version.gitVersion={version}",
            "k8s.io/component-base/version.gitMajor={major}",
            "k8s.io/component-base/version.gitMinor={minor}",
            "k8s.io/component-base/version.gitTreeState=clean",
            "k8s.io/client-go/pkg/version.gitVersion={version}",
        ),
    ),
    Family(
        folder="kwok",
        module="sigs.k8s.io/kwok",
        tools=(Tool(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok"),),
    ),
    Family(
        folder="helm",
        module="helm.sh/helm/v4",
        tools=(Tool(name="helm", package="helm.sh/helm/v4/cmd/helm"),),
        stamps=("helm.sh/helm/v4/internal/version.version={version}",),
    ),
    Family(
        folder="pulumi",
        module="github.com/pulumi/pulumi/pkg/v3",
        tools=(Tool(name="pulumi", package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"),),
        stamps=("github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={version}",),
    ),
    Family(
        folder="cnpg",
        module="github.com/cloudnative-pg/cloudnative-pg",
        tools=(Tool(name="kubectl-cnpg", package="github.com/cloudnative-pg/cloudnative-pg/cmd/kubectl-cnpg"),),
    ),
)
