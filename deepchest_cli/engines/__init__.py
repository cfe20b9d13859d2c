"""Engines: independent tasks completed in this process, on local devices or by a cluster."""
