"""One cell: wallets, their money and their database, in one failure domain."""
