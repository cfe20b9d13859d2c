"""Backbones by source: a file for each, behind the contract of `base`; `registry` finds them."""
