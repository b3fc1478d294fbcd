"""Objects to scan."""

from tests.objects import encode as encode
from tests.objects import make as make
