"""Programs that the tests of the infrastructure run, built from Go modules by name and version: `make infra-tools`.

Each folder here is one Go module of ours that requires a family of programs; its `go.mod` holds the version and its
`go.sum` the check of what comes over the network. One module per family, so that none lifts another's dependencies.
"""
