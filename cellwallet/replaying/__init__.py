"""A bank's movements as an outside oracle: post them all, compare every balance with what the bank had."""
