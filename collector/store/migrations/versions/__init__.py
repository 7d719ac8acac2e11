"""One module for each step, in order. A step that has been released is never edited."""
