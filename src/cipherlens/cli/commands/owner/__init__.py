"""Commands of a data owner: keys, sealed data sets, questions to a service, what images give away."""
