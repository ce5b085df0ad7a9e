"""Names of steps that more than one room speaks of."""

PREVIOUS_STATISTICS = "PreviousStatistics"
LAST_MODEL = "LastModel"
BASELINE_MODEL = "Resolver"
RESOLVERS = (PREVIOUS_STATISTICS, LAST_MODEL, BASELINE_MODEL)
"""They look up what earlier runs left, anew in each run; nothing comes from the cache, and nothing is done."""
