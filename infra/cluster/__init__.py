"""A real Kubernetes control plane on this machine, whose nodes are simulated: `local.local_cluster`.

API server, admission, controllers and scheduler are what production runs; a pod is only said to be ready, and
nothing runs in it. So this proves what is accepted, where it is placed, evicted and replaced, and nothing about data
or traffic.
"""
