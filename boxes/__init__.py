"""Entity tracking in the boxes task: generation, prompting, decoding and scoring."""
