"""One file per migration; each is frozen once released."""
