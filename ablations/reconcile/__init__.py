"""Running is reconciling: what was asked for is compared with what is known, the rest is trained.

Its modules are imported by name: some load pandas and figures, which a plan does without.
"""
