"""Parameters and multiply-adds of networks: counted, compared with a budget, matched, verified."""
