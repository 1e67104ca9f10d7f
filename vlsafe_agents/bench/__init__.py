"""Benchmarks that others can rerun: environments x algorithms x training seeds, from one file.

A suite (:mod:`~vlsafe_agents.bench.suite`) becomes cells (:mod:`~vlsafe_agents.bench.cells`), each
one command of ``vlsafe`` with what it needs done before.  :mod:`~vlsafe_agents.bench.run` runs them
side by side, on this machine or with Ray (:mod:`~vlsafe_agents.bench.engines`), skips what is done
(:mod:`~vlsafe_agents.bench.record`), and :mod:`~vlsafe_agents.bench.page` shows what came of it.
"""
