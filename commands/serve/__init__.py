"""`serve`: a model over HTTP; which model it is, what is logged, and how signals end it."""
