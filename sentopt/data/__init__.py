"""Datasets: reading tables, the table of known datasets, and clean splits with named labels."""
