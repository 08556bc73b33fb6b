"""Telling people: what there is to tell, in which words, and who has been told of what. Pure."""
