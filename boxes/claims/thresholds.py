"""What the adjectives of the paper's sentences mean, in numbers, and beside them why, in words for
people. No claim has a threshold of its own."""

# At 1+, of 3709 queries, where the paper's own words for gains lie between: see SMALL and LITTLE.
MARGINAL = 5.0  # points
MINOR = 10.0  # points
CLOSE = 5.0  # points, in one bucket
SATURATED = 95.0  # per cent, at 0 operations
MOST = 0.5  # a share

# Why a predicate decides as it does, for people.
AHEAD = "the sentence says who is ahead, so point estimates decide"
CLEAR = "the sentence claims an effect, so the 95 % interval must leave out zero"
CONSISTENT = (
    "consistently, in either direction and in every sentence that has the word: at 1+ the 95 % "
    "interval of each pair leaves out zero, and in no single bucket does it lie on the other "
    "side; one answer of the 29 with 7 operations decides nothing"
)
CHANCE = (
    "better than random: the lower end of a model's 95 % interval lies above the expectation of the random baseline"
)
SMALL = (
    f"marginal, narrow: {MARGINAL:g} points at 1+, where the paper calls 1.51 (FLoat) and 2.40 "
    "(Llemma 34B) so, and 5.47 (Code Llama 7B) minor; an interval there spans some 2 points to "
    "either side"
)
LITTLE = (
    f"minor: {MINOR:g} points at 1+, where the paper calls 5.47 (Code Llama 7B) and 6.20 "
    "(CodeGemma) so, and 10.19 (Code Llama 70B) clear evidence"
)
UNTOLD = (
    "marginal in a single bucket: the 95 % interval includes zero, for a number of points is one "
    "thing in a bucket of 1410 queries and another in that of 29, where an answer is 3.45 points"
)
NEAR = (
    f"close: {CLOSE:g} points in a bucket, what the 95 % interval of a difference spans to either "
    "side where 3 operations change the box (651 queries); in the smaller buckets, where it spans"
    " more, point estimates alone decide"
)
FULL = (
    f"saturated: from {SATURATED:g} % on at 0 operations, where the paper calls 99.00 (Llama 2 "
    "70B) so, and what Llama 2 13B gains on 77.05 a boost; less is left than a marginal gain"
)
PRINTED = (
    "the sentence gives a number: the 95 % interval of the distance from it, both taken as measured, must include zero"
)
MAJORITY = "most, tend to: more than half"
CLOSE_CALL = "a close call: the threshold lies within an interval of the number that decides"
