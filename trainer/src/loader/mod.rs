//! Patches sampled from the cache and augmented on worker threads.
