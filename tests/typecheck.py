"""The type checker that the suite runs under: shapes in signatures are checked at every call."""

from beartype import BeartypeConf, beartype

# an int where a float is asked for is no mistake
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
