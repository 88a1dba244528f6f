"""A vendor's day, told while it happens: what `cellwallet demo` plays through the router."""
