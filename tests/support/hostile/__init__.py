"""Hostile trials: `python -m tests.support.hostile [--trials N] [--seed S] [--jobs J] [--group G] [--only N]`.

Each trial spoils a copy of a small world (results, data, an encoder, configuration files) or the command line, runs a
command in a forked process, and judges it by rules: a documented exit code, a message of at most three lines and 600
characters, no traceback, no unforeseen error, nothing changed outside of results_dir and the caches, no control
character on the terminal, and an end within two minutes (more on a slow machine).
"""
