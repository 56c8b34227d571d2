//! Holds no code: the manifest states the features of dependencies that several crates share.
#![no_std]
