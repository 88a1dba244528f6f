"""What cells stand on: the tools that build and test it, and a real Kubernetes control plane on one machine.

Knows nothing of money, wallets or routing, nor the versions of the services.
"""
