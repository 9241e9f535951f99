"""Running is reconciling: what was asked is compared with what is known; the rest is trained."""
