"""What holds for every test, whatever started the run."""

import signal

from hypothesis import settings

# A test never asserts a time: a machine's speed decides none.
settings.register_profile("domainqa", deadline=None)
settings.load_profile("domainqa")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that interrupt a program would
# wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
