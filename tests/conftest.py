"""What all tests share: hypothesis measures no time, which a busy machine would turn into failures."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
