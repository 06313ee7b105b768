"""Search and answers as tools of other programs' assistants, by the Model Context Protocol."""
