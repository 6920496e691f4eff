"""Properties are tested on the same inputs in every run."""

from hypothesis import HealthCheck, settings

settings.register_profile("pack", max_examples=60, deadline=None, derandomize=True,
                          suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
settings.load_profile("pack")
