"""Units on their way between cells, in the cell's own database: one module per step, the rules in cell/ledger."""
