"""The network: temporal modelling (TMM), classifier, and the two modules that exist while training, SFP and DBM."""
