//! Activation functions of the feed-forward network.
