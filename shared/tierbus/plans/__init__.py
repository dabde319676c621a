"""Plans that are used again: which tasks are alike, which plan is kept for them, and for how long it is trusted."""
