"""What holds for every test: a machine's speed never decides one, so hypothesis has no deadline."""

from hypothesis import settings

settings.register_profile("domainqa", deadline=None)
settings.load_profile("domainqa")
