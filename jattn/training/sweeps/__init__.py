"""Many runs as one: named by what they hold, each trained once, their results kept as small JSON."""
