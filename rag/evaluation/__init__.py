"""Questions with known answers, and how well the answer flow does on them. A consumer of the library."""
