"""For all tests: the developer's own settings stay outside (the app reads its environment when it is imported)."""

import os

for name in [name for name in os.environ if name.upper().startswith("FLOWGRID_")]:
    del os.environ[name]
