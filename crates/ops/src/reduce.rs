//! Canonical reductions: the order is fixed, so the bits are.
