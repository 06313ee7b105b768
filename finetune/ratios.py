"""The field's rules on how much domain data a model is taught beside general data, as gates.

Fine-tuning counts the share of the loss, since answers differ in length by a factor of fifty: one page of an answer
teaches more than fifty short ones. Continued pretraining counts tokens; a weight that lifts domain text above its
tokens counts as the tokens it stands for.
"""

import math
from dataclasses import dataclass
from typing import Literal

Objective = Literal["sft", "cpt"]

SFT_LOSS_SHARE = (0.4, 0.6)
"""Domain to general about 1:1."""
CPT_MOST_DOMAIN = 0.15
CPT_ADVISED_GENERAL = (7.0, 10.0)
"""General tokens for each domain token: 12.5 % to 9 % of the whole is domain."""

DEFAULT_SHARE: dict[Objective, float] = {"sft": 0.5, "cpt": 0.1}


@dataclass(frozen=True, slots=True)
class Mass:
    """What a family brings to a pass: supervised tokens, and these times the examples' weights."""

    supervised_tokens: int
    loss: float


def domain_share(objective: Objective, domain: Mass, general: Mass) -> float:
    """What the rule looks at, between 0 and 1; nothing at all has the share 0."""
    loss = _share(domain.loss, general.loss)
    if objective == "sft":
        return loss
    return max(loss, _share(domain.supervised_tokens, general.supervised_tokens))


def ratio_problem(objective: Objective, domain: Mass, general: Mass) -> str | None:
    """Why the mix breaks its objective's rule and what would mend it, or ``None``."""
    share = domain_share(objective, domain, general)
    if objective == "cpt":
        if share <= CPT_MOST_DOMAIN:
            return None
        counted, there = _counted(domain, general)
        missing = _missing(counted, there, (1 - CPT_MOST_DOMAIN) / CPT_MOST_DOMAIN)
        least, most = (_missing(counted, there, times) for times in CPT_ADVISED_GENERAL)
        return (
            f"domain tokens are {share:.3f} of the mix, above {CPT_MOST_DOMAIN}: {missing:,} more general tokens are "
            f"needed; 9 to 12.5 % domain is advised (100 to 700-1000 general), which takes {least:,} to {most:,} more"
        )
    low, high = SFT_LOSS_SHARE
    if low <= share <= high:
        return None
    wanted = f"outside {low} to {high} (about 1:1)"
    if share < low:
        return f"the domain's share of the loss is {share:.3f}, {wanted}: raise --share"
    missing = math.ceil(domain.loss * (1 - high) / high - general.loss)
    return (
        f"the domain's share of the loss is {share:.3f}, {wanted}: {missing:,} more supervised tokens of general "
        f"examples are needed, {math.ceil(domain.loss - general.loss):,} for 1:1"
    )


def _share(domain: float, general: float) -> float:
    return domain / (domain + general) if domain + general > 0 else 0.0


def _counted(domain: Mass, general: Mass) -> tuple[float, float]:
    """The pair of masses, by tokens or by loss, in which the domain's share is the greater."""
    by_tokens = (float(domain.supervised_tokens), float(general.supervised_tokens))
    by_loss = (domain.loss, general.loss)
    return by_loss if _share(*by_loss) > _share(*by_tokens) else by_tokens


def _missing(domain: float, general: float, times: float) -> int:
    # The ratio of two decimals may come out a hair above a whole number.
    return max(0, math.ceil(domain * times - general - 1e-6))
