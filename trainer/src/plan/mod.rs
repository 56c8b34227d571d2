//! nnU-Net's experiment planner, and a plan as training needs it.
