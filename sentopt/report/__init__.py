"""What a run found, in words, tables and plots."""
