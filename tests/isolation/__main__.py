"""`python -m tests.isolation` (`make pages`) writes `docs/isolation.md` anew."""

from tests.isolation.page import write

write()
