"""Libraries whose logs repeat what users say, what documents hold, or a key: held back, whatever level is asked for.

The ``openai`` client logs whole requests, SQLAlchemy the rows that it reads, httpcore and multipart what goes over the
wire. Their warnings stay.
"""

import logging

TALKATIVE = ("openai", "httpx", "httpcore", "sqlalchemy", "alembic", "python_multipart", "multipart")


def keep() -> None:
    """Idempotent. Raises the level of loggers that were given one of their own, too."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
        for other in [each for each in logging.root.manager.loggerDict if each.startswith(f"{name}.")]:
            logger = logging.getLogger(other)
            if logger.level:
                logger.setLevel(max(logger.level, logging.WARNING))
