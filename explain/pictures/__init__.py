"""How maps, words, tables and matrices are drawn; `explain.show` chooses."""
