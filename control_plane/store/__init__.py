"""The control plane's own database: the only SQL of the control plane."""
