//! nnU-Net's default augmentations.
