"""The claims of the paper as data, and how they are judged."""
