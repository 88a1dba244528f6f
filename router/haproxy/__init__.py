"""The agent of a HAProxy: keeps its files and its running maps in step with the router's map."""
