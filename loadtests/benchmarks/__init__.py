"""What is measured, a module per kind of figure; each gives measurements, and nothing here runs them."""
