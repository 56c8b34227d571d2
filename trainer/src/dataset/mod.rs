//! Raw datasets, and what is made of them before training.
