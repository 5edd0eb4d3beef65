"""What the page carries with it: its own code, the chart library, data; and the policy that allows just these.

The chart library comes from the installed plotly, gzipped: the page is a third of the size, and the browser
unpacks it in a tenth of a second. It becomes an inline script of the page, which the policy allows by the hash
of what was packed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

import plotly.offline
from markupsafe import Markup


def page_code() -> dict[str, Any]:
    """Return the page's styles, scripts and packed library, and the policy that lets exactly these run."""
    folder = resources.files("warmstart.report") / "templates"
    own = "\n".join((folder / name).read_text("utf-8") for name in ("explorer.js", "report.js"))
    # An end tag within a script would end it early; a JavaScript string means the same with the backslash.
    own = own.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    library = plotly.offline.get_plotlyjs()
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in (library, own))
    return {
        "styles": Markup((folder / "report.css").read_text("utf-8")),
        "script": Markup(own),
        "library": Markup(_packed(library)),
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    }


@cache
def _packed(script: str) -> str:
    return base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def json_block(value: object) -> Markup:
    """Return JSON that cannot end the script element it stands in."""
    encoded = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(encoded.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
