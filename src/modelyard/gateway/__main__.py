"""``python -m modelyard.gateway``"""

import sys

from modelyard.gateway.server import main

sys.exit(main())
