"""The apps we compare with, and the agents that talk in all of them alike."""
