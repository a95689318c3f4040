"""Numbers: tests and intervals, classification scores, calibration of scores, latencies, the machine."""
