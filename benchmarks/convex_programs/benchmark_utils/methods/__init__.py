"""The methods, one module each; a module runs in an interpreter that has what it needs.

Each has ``MODULES`` (what must be installed), ``ladder(problem, options)`` (settings, loosest first),
``prepare(problem, options)`` (the problem in the method's own format, untimed) and
``solve(prepared, setting, options)``, which returns ``{"blocks": (signs, P, d)}``, or
``{"hidden": (d, m), "output": (m,)}`` where it trains a network. ``warm_up(prepared, options)`` is optional.
"""
