"""Experiments: the only place that reads YAML, draws a figure or talks to a terminal.

cli (commands), config (YAML -> RunConfig), stages and run (one assessment), statistics, card, figures, report.
"""
