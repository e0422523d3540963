"""The embedded default agent: answers from a folder of files, and from what was said in the session."""
