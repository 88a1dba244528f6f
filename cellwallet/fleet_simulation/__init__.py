"""A fleet of many cells over weeks: the control plane's own plan against loads that are drawn, and what it costs."""
