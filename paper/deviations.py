"""What is done otherwise than in the paper or in its authors' release; CLAIMS.md shows it."""

from boxes.baseline import KNOWN
from boxes.completion import MAX_NEW_TOKENS
from boxes.prompting import STATEMENT_HEAD

# What is done otherwise than in the paper or in its authors' release: (what, here, paper, release,
# the switch back).
DEVIATIONS = (
    ("end of the prompt", f"`{STATEMENT_HEAD}`", "the same (Table 2)", "ends at the description's "
     "period, without a line break",
     '`DECODE="--prompt-style released"`'),
    ("token limit", f"{MAX_NEW_TOKENS} new tokens behind the prompt, which ends in the statement's "
     f"head; a statement that "
     "reaches it counts as truncated", "not stated",
     f"100, of which the head `{STATEMENT_HEAD}` is part; it cuts long statements",
     '`DECODE="--max-new-tokens 100"`, with `--prompt-style released` for the head to be counted'),
    ("chat prompts", "Llama 2-Chat: the instruction as system message; DeepSeek-Chat and "
     "DeepSeek-Coder-Instruct: a first user "
     'turn, answered "Okay."; other models: as their template allows', "a system message (Table 5)",
     'the user turn and "Okay." for every name without "Llama" in it', "none; `system_role` of a "
     "row in `boxes/models/table.py`"),
    ("BOS", "one, where the model has one", "`<s>` before every turn (Table 5)",
     "two in the chat rows: template and tokenizer both wrote one", "none: it would change the "
     "prompt"),
    ("weights of the 70B models", "bfloat16, as for all models", "8 bit", "8 bit", "none: nothing "
     "here loads 8-bit weights"),
    ("tokenizer and automaton", "prompts are tokenized here, without chat template in the plain "
     "format; outlines_core, whose "
     "index reads a token as its bytes", "outlines",
     "outlines 0.1.13 (1.3 wraps plain strings in the chat template, adds a second BOS, refuses "
     "Mistral's tokenizer)",
     "none: it would change the prompt"),
    ("tokenizer of FLoat", "the one of huggyllama/llama-7b, for its repository has none",
     "not stated", "not known",
     "none; the row in `boxes/models/table.py` names it"),
    ("test data", "generated anew by the same procedure (`data/README.md`)", "716 descriptions of "
     "the release",
     "`boxes-dataset-v1.zip`", "`DATA=release RELEASE_ZIP=boxes-dataset-v1.zip`"),
    ("seeds", "`SEED` (27) for scenarios and the draw of the evaluated descriptions", "none named",
     "2255, the generator's default, for the scenarios; that of the draw of the 716 is not "
     "published", "the release's files"),
    ("states without operations", "evaluated, as in the release: 0 to 12 operations",
     "“1–12 descriptions of operations”",
     "0 to 12: each scenario gives 13 states", "none"),
    ("`sample_id`", "numbers the scenarios of a split from 0", "not mentioned",
     "a running index over splits and over samples that were skipped", "the release's files are "
     "read as they are"),
    ("decoding", "batches, a shared prompt prefix and verified drafts; in float32 the same tokens "
     "as one prompt at a time",
     "one prompt at a time", "one prompt at a time, outlines",
     '`HARDWARE="--batch-size 1"` for one at a time; `boxes/reference.py` is the paper\'s way, '
     '`make bench` compares the two'),
    ("scorer", "Table 6: `boxes/scoring.py`, by number of the box, which under the expression "
     "agrees with the release's; free "
     "decoding (A.2): the release's, written anew in `boxes/release_scoring.py`, ours beside it",
     "not stated",
     "by position; it reads other joints, comma lists, “is empty”, a cut last clause",
     "none: `constrained.csv` has both"),
    ("end of free decoding", "the first period; what a scorer reads of a statement ends there",
     "not stated",
     "100 tokens, so that a sentence before “Statement:”, which a prompt that ends at the "
     "description allows, is passed over",
     "none"),
    ("error bars", "Wilson, with the design effect of scenarios; for printed counts, whose answers "
     "are not published, binomial",
     "not stated", "Wald, answers taken as independent", "none"),
    ("random baseline", f"its expectation in closed form, mentions drawn with replacement. {KNOWN}",
     "sampled; the text can be read as without replacement", "not published",
     "none; the sampled row stands beside it in `random.csv`"),
    ("base model of Code Llama-Instruct in Table 1", "Code Llama, which it was trained from",
     "“Code Llama 2”, a slip",
     "Code Llama", "none"),
    ("checkpoints", "commits pinned in `boxes/models/table.py`, one of codegemma-7b at its first "
     "download",
     "none named", "not known", "the `revision` of a row in `boxes/models/table.py`"),
)  # fmt: skip
DEVIATION_COLUMNS = ("what", "here", "the paper", "the authors' release", "switch back")
