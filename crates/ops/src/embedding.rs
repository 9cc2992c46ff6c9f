//! Token embedding: rows of a table, and the sum of gradients per row.
