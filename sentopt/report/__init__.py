"""Results of a run as text, tables and plots."""
