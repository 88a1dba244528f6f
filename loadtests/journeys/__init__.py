"""Vendor journeys under load: what vendors do, paced, with an exact account of what each of them must have."""
