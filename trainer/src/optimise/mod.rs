//! How weights move.
