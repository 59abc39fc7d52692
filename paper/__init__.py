"""Tables, figures and the report: they read the CSVs of data/results and write files, and type no number by hand."""
