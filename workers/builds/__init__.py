"""The life of a build in the workers: deliveries plan it, steps submit it, polling follows it; and side tags."""
