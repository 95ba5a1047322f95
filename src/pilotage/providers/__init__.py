"""Parsl providers over our schedulers: Parsl's settings and life cycle, our script."""
