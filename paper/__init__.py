"""Tables, figures and the report: they read the CSVs of data/results and write files, and type no
number by hand."""

import os

# Before matplotlib is imported: neither a notebook's backend nor a matplotlibrc of the user changes
# a figure.
os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
