"""How fast it is, each figure beside its floor measured in the same run: `python -m tools.bench [names] [--quick] [--json FILE]`.

One module for each part of a rating's way; each has `rows(effort)`, which alternates ours and the floor again and again, because
a machine that others use as well is only good for ratios. Nothing here is a test: no figure is asserted anywhere.
"""
